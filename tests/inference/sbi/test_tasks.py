import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from deepcosmo.inference import sbi
from deepcosmo.inference.sbi.support import unconstraining
from deepcosmo.metrics.two_sample import c2st

SEED = np.array([0, 5], "int32")


@pytest.fixture(params=sorted(sbi.TASKS))
def task(request):
    return sbi.TASKS[request.param]


@pytest.mark.slow
def test_simulations_and_likelihood(task):
    theta = task.prior.sample(50, seed=[0, 1])
    x = task.simulate(theta, SEED)
    assert theta.shape == (50, task.dim) and x.shape == (50, task.data_dim)
    assert np.isfinite(x).all()
    np.testing.assert_array_equal(x, task.simulate(theta, SEED))
    # data are more probable under the parameters that made them than, on average, under others
    own = [float(task.log_likelihood(theta[i : i + 1], x[i])[0]) for i in range(50)]
    others = [float(task.log_likelihood(tf.roll(theta, 1, 0)[i : i + 1], x[i])[0]) for i in range(50)]
    np.testing.assert_allclose(task.log_likelihood(theta, x), own, rtol=1e-4, atol=1e-3)
    assert np.all(np.isfinite(own)) and np.mean(own) > np.mean(np.maximum(others, -1e6))
    again, data = task.observation(3)
    np.testing.assert_array_equal(again, task.observation(3)[0])
    assert data.shape == (task.data_dim,)


def test_prior_has_a_bijector_onto_its_support(task):
    bijector = unconstraining(task.prior)
    theta = bijector.forward(3.0 * tf.random.stateless_normal([500, task.dim], SEED))
    assert np.isfinite(task.prior.log_prob(theta)).all()


def test_two_moons_reference_is_the_likelihood_inside_the_prior():
    task = sbi.TASKS["two_moons"]
    _, x = task.observation(1)
    exact = task.reference(x, 2000, SEED)
    # by brute force: draws of the prior near the crescents, weighted
    rng = np.random.default_rng(0)
    theta = rng.uniform(-1, 1, (2_000_000, 2)).astype("float32")
    weight = np.exp(task.log_likelihood(theta, x))
    brute = theta[rng.choice(len(theta), 2000, p=weight / weight.sum())]
    assert abs(c2st(brute, exact) - 0.5) < 0.03  # 2.7 sigma of 4000 right answers
    assert abs(np.mean(exact.sum(1) > 0) - np.mean(brute.sum(1) > 0)) < 0.05


@pytest.mark.parametrize("name", ["gaussian_linear", "gaussian_linear_uniform", "gaussian_mixture"])
def test_exact_references_are_those_of_chains(name):
    task = sbi.TASKS[name]
    _, x = task.observation(2)
    exact = task.reference(x, 20_000, SEED)
    chains = super(type(task), task).reference(x, 20_000, SEED) if name == "gaussian_mixture" else None
    theta = task.prior.sample(400_000, seed=[1, 2]).numpy() if chains is None else None
    if chains is None:  # columns are independent: weights of one do for it alone
        weight = np.exp(-5.0 * (theta[:, 0] - x[0]) ** 2)
        mean = np.average(theta[:, 0], weights=weight)
        std = np.sqrt(np.average((theta[:, 0] - mean) ** 2, weights=weight))
        np.testing.assert_allclose([exact[:, 0].mean(), exact[:, 0].std()], [mean, std], atol=0.01)
    else:
        np.testing.assert_allclose(chains.mean(0), exact.mean(0), atol=0.05)
        np.testing.assert_allclose(chains.std(0), exact.std(0), rtol=0.06)


def test_bernoulli_glm_reference_is_the_posterior():
    """By importance weights of a normal distribution with the moments of the reference and 1.5 times their variance."""
    task = sbi.TASKS["bernoulli_glm"]
    _, x = task.observation(1)
    theta = task.reference(x, 10_000, SEED)
    wide = tfd.MultivariateNormalTriL(theta.mean(0), np.linalg.cholesky(1.5 * np.cov(theta.T)).astype("f4"))
    draws = wide.sample(200_000, seed=[1, 2])
    log_weight = task.log_likelihood(draws, x) + task.prior.log_prob(draws) - wide.log_prob(draws)
    weight = tf.nn.softmax(log_weight).numpy().astype(float)
    assert 1 / np.sum(weight**2) > 20_000
    mean = np.average(draws, weights=weight, axis=0)
    std = np.sqrt(np.average((draws - mean) ** 2, weights=weight, axis=0))
    # both have some 10^4 effective draws
    np.testing.assert_allclose((theta.mean(0) - mean) / std, 0.0, atol=0.06)
    np.testing.assert_allclose(theta.std(0) / std, 1.0, atol=0.05)


@pytest.mark.slow
def test_slcp_reference_has_four_equal_modes():
    task = sbi.TASKS["slcp"]
    truth, x = task.observation(1)
    theta = task.reference(x, 8000, SEED)
    assert np.isfinite(task.prior.log_prob(theta)).all()
    for columns in ([2], [3], [2, 3]):
        share = np.mean(np.prod(theta[:, columns], 1) > 0)
        assert abs(share - 0.5) < 0.02  # 3.5 sigma
    # by importance weights of draws of the prior
    draws = task.prior.sample(1_000_000, seed=[1, 2])
    log_weight = task.log_likelihood(draws, x).numpy().astype(float)
    weight = np.exp(log_weight - log_weight.max())
    mean = np.average(np.abs(draws), weights=weight, axis=0)
    error = np.sqrt(np.sum((weight[:, None] * (np.abs(draws) - mean)) ** 2, 0)) / weight.sum()
    np.testing.assert_array_less(np.abs(np.abs(theta).mean(0) - mean), 5 * error + 0.05)
    assert truth.shape == (5,)
