"""Hamiltonian Monte Carlo that knows scores only."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

from deepcosmo.inference.mass_mapping.score_hmc import ScoreHMC


def run(score, start, step, transitions, leapfrogs=4):
    kernel = ScoreHMC(score, step_size=tf.constant(step), num_leapfrog_steps=leapfrogs)

    def sample():
        return tfp.mcmc.sample_chain(
            transitions, start, kernel=kernel, seed=[1, 2], trace_fn=lambda _, results: results.is_accepted
        )

    states, accepted = tf.function(sample, autograph=False)()
    return states[-1].numpy(), float(tf.reduce_mean(tf.cast(accepted, tf.float32)))


def test_the_density_is_invariant():
    """4,000 chains of a skew density, the logarithm of a Gamma variable."""
    shape = 4.0
    start = np.log(stats.gamma(shape).rvs((4000, 1), random_state=1)).astype("f4")
    states, accepted = run(lambda x: shape - tf.exp(x), tf.constant(start), 0.5, 20, leapfrogs=3)
    assert 0.5 < accepted < 0.99
    assert stats.kstest(np.exp(states[:, 0]), stats.gamma(shape).cdf).pvalue > 0.01


def test_chains_find_the_density():
    states, accepted = run(lambda x: -x / tf.constant([1.0, 4.0]), tf.zeros((4000, 2)) + 3.0, 0.5, 20)
    assert accepted > 0.8
    assert abs(states[:, 1].std() - 2) < 5 * 2 / np.sqrt(2 * 4000)
    assert stats.kstest(states[:, 0], "norm").pvalue > 0.01


def test_divergence_is_refused():
    states, accepted = run(lambda x: -(x**5), tf.ones((10, 1)), 100.0, 3)
    assert accepted == 0 and np.all(states == 1)
