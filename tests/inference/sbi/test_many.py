"""Posteriors of many data at once, by chains."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from deepcosmo.inference import sbi
from deepcosmo.inference.sbi.mcmc import MANY, Sampler
from deepcosmo.inference.sbi.support import Support
from deepcosmo.metrics.calibration import calibration

PRIOR = tfp.distributions.MultivariateNormalDiag([0.0, 0.0], [1.0, 1.0])
WIDTH = np.array([0.5, 0.2], "float32")


def simulate(n, seed):
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=(n, 2)).astype("float32")
    return theta, theta + WIDTH * rng.normal(size=(n, 2)).astype("float32")


def log_likelihood(theta, x):
    return -0.5 * tf.reduce_sum(((x - theta) / WIDTH) ** 2, -1)


@pytest.mark.slow
def test_chains_of_a_known_likelihood_are_calibrated_and_compiled_once():
    sampler = Sampler(Support(PRIOR), log_likelihood)
    theta, x = simulate(60, 1)  # more than are sampled at once
    assert len(x) > MANY
    draws = sampler.sample_many(1000, tf.constant(x), seed=2)
    assert draws.shape == (1000, 60, 2)
    variance = 1 / (1 + 1 / WIDTH**2)
    z = (draws.mean(0) - x * variance / WIDTH**2) / np.sqrt(variance)
    # 1000 draws of 100 chains: as good as 200 independent ones at least, and the largest of 120
    assert np.abs(z).max() < 4.5 / np.sqrt(200)
    assert np.abs(draws.std(0) / np.sqrt(variance) - 1).max() < 4.5 / np.sqrt(400)
    found = calibration(theta, draws).p_values()
    assert found["ranks"].min() > 1e-3 and found["tarp"] > 1e-3
    np.testing.assert_array_equal(draws[:, :9], sampler.sample_many(1000, tf.constant(x), seed=2)[:, :9])
    sampler.sample_many(10, tf.constant(x[:7]), seed=2)
    assert sampler._run.experimental_get_tracing_count() == 1
    for i in range(3):
        sampler.sample(10, tf.constant(x[i : i + 1]), seed=0)
    assert sampler._run.experimental_get_tracing_count() == 2


@pytest.mark.slow
def test_ratio_is_calibrated():
    estimator = sbi.NRE(PRIOR).fit(*simulate(3000, 0), seed=1, progress=False, max_epochs=20)
    theta, x = simulate(50, 1)
    found = calibration(theta, estimator.sample(500, x, seed=2)).p_values()
    assert found["ranks"].min() > 1e-3 and found["tarp"] > 1e-3
    one, other = estimator.posterior(x[0]), estimator.posterior(x[1])
    assert one.sampler is other.sampler
    with pytest.raises(ValueError, match=r"shape \(m, 2\); got \(50, 1\)"):
        estimator.sample(10, x[:, :1], seed=0)


def test_ensemble_of_likelihoods_has_the_mean_likelihood():
    theta, x = simulate(300, 0)
    members = [sbi.NLE(PRIOR, density="mdn", options={"hidden": (16, 16), "components": 1}) for _ in range(2)]
    ensemble = sbi.Ensemble(members).fit(theta, x, progress=False, max_epochs=3)
    values = [member.posterior(x[0]).log_prob(theta) for member in members]
    np.testing.assert_allclose(ensemble.posterior(x[0]).log_prob(theta), np.logaddexp(*values) - np.log(2), atol=1e-4)
