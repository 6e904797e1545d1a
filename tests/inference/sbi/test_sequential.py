import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from deepcosmo.inference import sbi
from deepcosmo.metrics.two_sample import c2st

PRIOR = tfp.distributions.Independent(tfp.distributions.Uniform([-1.0, -1.0], 1.0), 1)
X, NOISE = np.array([0.4, 0.97], "float32"), 0.03


class Simulator:
    """x = theta + noise; keeps what it was asked for."""

    def __init__(self):
        self.theta = []

    def __call__(self, theta, seed):
        self.theta.append(theta)
        return theta + NOISE * tf.random.stateless_normal(theta.shape, seed)


def check(posterior, simulator):
    draws = posterior.sample(5000, seed=1)
    exact = tfp.distributions.TruncatedNormal(X, NOISE, -1.0, 1.0).sample(20_000, seed=[0, 1]).numpy()
    assert np.all(np.abs(draws) <= 1)
    np.testing.assert_array_less(np.abs(draws.mean(0) - exact.mean(0)), 0.3 * exact.std(0))
    np.testing.assert_allclose(draws.std(0), exact.std(0), rtol=0.25)
    assert [len(theta) for theta in simulator.theta] == [400, 400]
    first, last = (np.mean(np.abs(simulator.theta[i] - X).max(1) < 5 * NOISE) for i in (0, -1))
    assert first < 0.05 and last > 0.3  # simulations go where they are needed


@pytest.mark.slow
@pytest.mark.parametrize("method", ["NPE", "NLE"])
def test_rounds_find_a_narrow_posterior(method):
    simulator, settings = Simulator(), {"progress": False, "max_epochs": 30}
    posterior = sbi.sequential(
        simulator, PRIOR, X, method=method, rounds=2, simulations_per_round=400, settings=settings
    )
    check(posterior, simulator)


@pytest.mark.slow
def test_atomic_rounds_find_two_moons():
    task = sbi.TASKS["two_moons"]
    _, x = task.observation(1)
    posterior = sbi.sequential(
        task.simulate,
        task.prior,
        x,
        method="APT",
        rounds=2,
        simulations_per_round=750,
        seed=1,
        settings={"progress": False, "max_epochs": 60},
        options={"hidden": (32, 32)},
    )
    draws = posterior.sample(3000, seed=1)
    # one crescent of two, or draws of a normal distribution, would be found out three times of four
    assert c2st(draws, task.reference(x, 3000, np.array([0, 5], "int32"))) < 0.7


def test_errors():
    with pytest.raises(ValueError, match="method must be one of NPE, APT, NLE, NRE; got 'ABC'"):
        sbi.sequential(Simulator(), PRIOR, X, method="ABC")
    with pytest.raises(ValueError, match="got 0 and 1000"):
        sbi.sequential(Simulator(), PRIOR, X, rounds=0)
    simulator = Simulator()
    for wrong, match in (([0.4, np.nan], "x_obs holds NaN"), ([0.4, 0.9, 0.1], r"shape \(2,\) .* got \(3,\)")):
        with pytest.raises(ValueError, match=match):
            sbi.sequential(simulator, PRIOR, np.array(wrong))
    assert len(simulator.theta) == 1  # the shape is known after the first round of simulations
