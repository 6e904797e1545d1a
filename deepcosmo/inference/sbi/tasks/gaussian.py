"""Normal data whose mean is the parameter."""

import functools

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from deepcosmo._types import Seed
from deepcosmo.inference.sbi.tasks.base import Task, interval

tfd = tfp.distributions

__all__ = ["GaussianLinear", "GaussianLinearUniform", "GaussianMixture"]


class GaussianLinear(Task):
    """x = theta + noise of variance 0.1; theta normal with variance 0.1."""

    name, dim, data_dim = "gaussian_linear", 10, 10

    @functools.cached_property
    def prior(self) -> tfp.distributions.Distribution:
        return tfd.MultivariateNormalDiag(tf.zeros(10), tf.fill([10], 0.1**0.5))

    def reference(self, x: np.ndarray, n: int, seed: Seed) -> np.ndarray:
        return (0.5 * x + 0.05**0.5 * tf.random.stateless_normal([n, 10], seed)).numpy()

    def distribution(self, theta: tf.Tensor) -> tfp.distributions.Distribution:
        return tfd.MultivariateNormalDiag(theta, tf.fill([10], 0.1**0.5))


class GaussianLinearUniform(GaussianLinear):
    """The same, with theta uniform in (-1, 1)."""

    name = "gaussian_linear_uniform"

    @functools.cached_property
    def prior(self) -> tfp.distributions.Distribution:
        return interval(-1, 1, 10)

    def reference(self, x: np.ndarray, n: int, seed: Seed) -> np.ndarray:
        return tfd.TruncatedNormal(x, 0.1**0.5, -1.0, 1.0).sample(n, seed=seed).numpy()


class GaussianMixture(Task):
    """x is theta with noise of standard deviation 1 or, as probably, 0.1."""

    name, dim, data_dim = "gaussian_mixture", 2, 2

    @functools.cached_property
    def prior(self) -> tfp.distributions.Distribution:
        return interval(-10, 10, 2)

    def distribution(self, theta: tf.Tensor) -> tfp.distributions.Distribution:
        scales = tf.constant([[1.0, 1.0], [0.1, 0.1]])
        components = tfd.MultivariateNormalDiag(tf.repeat(theta[..., None, :], 2, -2), scales)
        return tfd.MixtureSameFamily(tfd.Categorical(probs=[0.5, 0.5]), components)

    def reference(self, x: np.ndarray, n: int, seed: Seed) -> np.ndarray:
        to_choose, to_draw = tf.unstack(tf.random.split(seed, 2))
        scale = tf.constant([[1.0], [0.1]])
        inside = tfd.Normal(x, scale).cdf(10.0) - tfd.Normal(x, scale).cdf(-10.0)
        chosen = tfd.Categorical(probs=tf.reduce_prod(inside, -1)).sample(n, seed=to_choose)
        draws = tfd.TruncatedNormal(x, scale, -10.0, 10.0).sample(n, seed=to_draw)
        return tf.gather(draws, chosen, batch_dims=1).numpy()
