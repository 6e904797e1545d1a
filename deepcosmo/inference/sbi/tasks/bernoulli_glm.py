"""A generalised linear model of spikes."""

import functools

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from deepcosmo._types import Seed, TensorLike
from deepcosmo.inference.sbi.tasks.base import Task

tfd = tfp.distributions

__all__ = ["BernoulliGLM"]


class BernoulliGLM(Task):
    """Spikes of a neuron that filters white noise: their number and the stimulus that precedes them."""

    name, dim, data_dim = "bernoulli_glm", 10, 10
    BINS = 100

    @functools.cached_property
    def _stimulus(self):
        """A constant and the last nine values of the stimulus, in each bin: (bins, dim)."""
        noise = np.random.default_rng(2101).normal(size=self.BINS).astype("f4")
        lagged = [np.r_[np.zeros(lag, "f4"), noise[: self.BINS - lag]] for lag in range(self.dim - 1)]
        return tf.constant(np.stack([np.ones(self.BINS, "f4"), *lagged], -1))

    @functools.cached_property
    def prior(self) -> tfp.distributions.Distribution:
        difference = np.eye(9) - np.eye(9, k=-1)
        smooth = difference @ difference + np.diag(np.sqrt(np.arange(9) / 9))
        precision = np.zeros((10, 10))
        precision[0, 0], precision[1:, 1:] = 0.5, smooth.T @ smooth
        covariance = np.linalg.inv(precision).astype("f4")
        return tfd.MultivariateNormalTriL(tf.zeros(10), np.linalg.cholesky(covariance))

    def distribution(self, theta: tf.Tensor) -> tfp.distributions.Distribution:
        raise NotImplementedError("only simulate and log_likelihood")

    def simulate(self, theta: TensorLike, seed: Seed) -> tf.Tensor:
        spikes = tfd.Bernoulli(logits=tf.convert_to_tensor(theta) @ tf.transpose(self._stimulus), dtype=tf.float32)
        return spikes.sample(seed=seed) @ self._stimulus

    def log_likelihood(self, theta: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """Up to a constant: the number of trains of spikes with these statistics."""
        logits = theta @ tf.transpose(self._stimulus)
        return tf.reduce_sum(theta * x, -1) - tf.reduce_sum(tf.math.softplus(logits), -1)
