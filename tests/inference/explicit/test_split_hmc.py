"""Split Hamiltonian Monte Carlo: exact for normal densities, right for others."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from deepcosmo.inference.explicit.split_hmc import SplitHMC


def log_normal(v, u):
    return -0.5 * (tf.reduce_sum(v**2, -1) + tf.reduce_sum(u**2, [1, 2]))


def test_normal_densities_are_followed_exactly():
    """A quarter turn makes the momentum of the state, whatever the dimension; nothing is rejected."""
    state = [tf.zeros([3, 2]), tf.random.stateless_normal([3, 40, 50], [0, 1])]
    kernel = SplitHMC(log_normal, np.float32(np.pi / 6), 3)
    (v, u), results = kernel.one_step(state, kernel.bootstrap_results(state), seed=[1, 2])
    np.testing.assert_allclose(results.log_accept_ratio, 0.0, atol=2e-3)
    assert np.abs(np.sum(u * state[1], (1, 2)) / np.linalg.norm(u, axis=(1, 2)) / 45).max() < 0.1
    assert v.shape == (3, 2) and np.all(np.var(u, (1, 2)) > 0.9)


def test_other_densities_are_sampled():
    """A skewed density, ln of a gamma variate, beside a shifted normal one: means and variances by their digammas."""
    shape = 4.0

    def log_prob(v, u):
        skewed = tf.reduce_sum(shape * v - tf.exp(v), -1)
        return skewed - 0.5 * tf.reduce_sum((u - 0.5) ** 2, [1, 2])

    @tf.function(autograph=False)
    def run():
        start = [tf.ones([200, 1]), tf.zeros([200, 2, 2])]
        return tfp.mcmc.sample_chain(
            150,
            start,
            kernel=SplitHMC(log_prob, 0.4, 4),
            num_burnin_steps=50,
            seed=[3, 4],
            trace_fn=lambda _, results: results.log_accept_ratio,
        )

    (v, u), ratio = run()
    ess = float(tfp.mcmc.effective_sample_size(v[..., 0], cross_chain_dims=1))
    variance = float(tf.math.polygamma(1.0, shape))
    assert ess > 3000 and 0.5 < np.mean(np.minimum(1.0, np.exp(ratio))) < 1.0
    assert float(tf.reduce_mean(v)) == pytest.approx(float(tf.math.digamma(shape)), abs=4 * np.sqrt(variance / ess))
    assert float(tf.math.reduce_variance(v)) == pytest.approx(variance, rel=6 / np.sqrt(ess))
    assert float(tf.reduce_mean(u)) == pytest.approx(0.5, abs=0.03)


def test_places_of_no_density_are_rejected():
    def log_prob(v):
        return tf.where(v[..., 0] < 0.0, -np.inf, -0.5 * v[..., 0] ** 2)

    kernel = SplitHMC(log_prob, 1.5, 1)
    state = [tf.fill([64, 1], 0.1)]
    (v,), results = kernel.one_step(state, kernel.bootstrap_results(state), seed=[5, 6])
    assert np.all(v >= 0) and np.isneginf(results.log_accept_ratio).any()
