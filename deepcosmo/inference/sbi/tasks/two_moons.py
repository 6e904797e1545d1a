"""Two moons: a posterior of two thin crescents."""

import functools

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from deepcosmo._types import Seed
from deepcosmo.inference.sbi.tasks.base import Task, interval

tfd = tfp.distributions

__all__ = ["TwoMoons"]


class _Crescent(tfp.distributions.Distribution):
    """Points on an arc of radius 0.1 +- 0.01, right of (0.25, 0), moved by `centre` (..., 2)."""

    RADIUS, WIDTH, OFFSET = 0.1, 0.01, 0.25

    def __init__(self, centre, validate_args=False, allow_nan_stats=True, name="Crescent"):
        parameters = dict(locals())
        self._centre = centre
        super().__init__(centre.dtype, tfd.NOT_REPARAMETERIZED, validate_args, allow_nan_stats, parameters, name=name)

    def _batch_shape_tensor(self):
        return tf.shape(self._centre)[:-1]

    def _batch_shape(self):
        return self._centre.shape[:-1]

    def _event_shape(self):
        return tf.TensorShape([2])

    def _event_shape_tensor(self):
        return tf.constant([2])

    def _sample_n(self, n, seed=None):
        to_angle, to_radius = tf.unstack(tf.random.split(tfp.random.sanitize_seed(seed), 2))
        shape = tf.concat([[n], self._batch_shape_tensor()], 0)
        angle = tf.random.stateless_uniform(shape, to_angle, -np.pi / 2, np.pi / 2)
        radius = self.RADIUS + self.WIDTH * tf.random.stateless_normal(shape, to_radius)
        arc = tf.stack([radius * tf.cos(angle) + self.OFFSET, radius * tf.sin(angle)], -1)
        return arc + self._centre

    def _log_prob(self, x):
        x = x - self._centre - [self.OFFSET, 0.0]
        radius = tf.norm(x, axis=-1)
        # a negative radius, which is 10 sigma away, would be on the other side
        log_prob = tfd.Normal(self.RADIUS, self.WIDTH).log_prob(radius) - tf.math.log(np.pi * radius)
        return tf.where(x[..., 0] > 0, log_prob, -np.inf)


class TwoMoons(Task):
    """Two crescents, from the modulus in the mean."""

    name, dim, data_dim = "two_moons", 2, 2

    @functools.cached_property
    def prior(self) -> tfp.distributions.Distribution:
        return interval(-1, 1, 2)

    def distribution(self, theta: tf.Tensor) -> tfp.distributions.Distribution:
        first, second = tf.unstack(theta, axis=-1)
        return _Crescent(tf.stack([-tf.abs(first + second), second - first], -1) / 2**0.5)

    def reference(self, x: np.ndarray, n: int, seed: Seed) -> np.ndarray:
        """Exact: points of the crescent about x, taken back to parameters, those inside of the prior."""
        found: list[np.ndarray] = []
        while sum(map(len, found)) < n:  # at least a quarter of them are, for data of possible parameters
            seed, to_point, to_sign = tf.unstack(tf.random.split(seed, 3))
            moved = x - _Crescent(tf.zeros(2)).sample(4 * n, seed=to_point)
            sign = 1.0 - 2.0 * tf.cast(tf.random.stateless_uniform([4 * n], to_sign) < 0.5, tf.float32)
            total, difference = -moved[:, 0] * sign, moved[:, 1]
            theta = tf.stack([total - difference, total + difference], -1) / 2**0.5
            inside = (moved[:, 0] <= 0) & tf.reduce_all(tf.abs(theta) < 1, -1)
            found.append(theta[inside].numpy())
            if not len(found[-1]):
                raise ValueError(f"no parameters of the prior lead to x = {x}")
        return np.concatenate(found)[:n]
