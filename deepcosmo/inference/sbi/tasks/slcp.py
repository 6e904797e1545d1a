"""Simple likelihood, complex posterior."""

import functools

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from deepcosmo._types import Seed
from deepcosmo.inference.sbi.tasks.base import Task, interval

tfd = tfp.distributions

__all__ = ["SLCP"]


class SLCP(Task):
    """Simple likelihood, complex posterior: four draws from a normal distribution in the plane."""

    name, dim, data_dim = "slcp", 5, 8

    @functools.cached_property
    def prior(self) -> tfp.distributions.Distribution:
        return interval(-3, 3, 5)

    def distribution(self, theta: tf.Tensor) -> tfp.distributions.Distribution:
        mean, (s1, s2, t) = theta[..., :2], tf.unstack(theta[..., 2:], axis=-1)
        s1, s2, rho = s1**2, s2**2, tf.tanh(t)
        # 1 - tanh^2, without cancellation
        scale = tf.stack([tf.stack([s1, tf.zeros_like(s1)], -1), tf.stack([rho * s2, s2 / tf.cosh(t)], -1)], -2)
        points = tfd.MultivariateNormalTriL(mean[..., None, :], scale[..., None, :, :])
        points = tfd.Independent(tfd.BatchBroadcast(points, to_shape=tf.concat([tf.shape(mean)[:-1], [4]], 0)), 1)
        return tfd.TransformedDistribution(points, tfp.bijectors.Reshape([8], event_shape_in=[4, 2]))

    def reference(self, x: np.ndarray, n: int, seed: Seed) -> np.ndarray:
        """Chains for positive scales, whose signs do not matter: they are drawn afterwards."""
        to_run, to_sign = tf.unstack(tf.random.split(seed, 2))
        positive = tfd.Independent(tfd.Uniform([-3.0, -3.0, 0.0, 0.0, -3.0], 3.0), 1)
        signs = 1.0 - 2.0 * tf.cast(tf.random.stateless_uniform([n, 2], to_sign) < 0.5, tf.float32)
        return self._by_chains(positive, x, n, to_run) * tf.pad(signs, [[0, 0], [2, 1]], constant_values=1.0).numpy()
