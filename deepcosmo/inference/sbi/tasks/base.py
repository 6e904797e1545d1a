"""What the tasks share."""

import abc
import functools

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from deepcosmo._types import Seed, TensorLike
from deepcosmo.inference.sbi.mcmc import Sampler
from deepcosmo.inference.sbi.support import Support

tfd = tfp.distributions

__all__ = ["Task", "interval"]


class Task(abc.ABC):
    """A simulator with a prior and a likelihood.

    Attributes:
        name: of the task.
        prior: `tfd.Distribution` of theta (dim,).
        dim, data_dim: lengths of theta and x.
    """

    name: str
    dim: int
    data_dim: int

    @functools.cached_property
    @abc.abstractmethod
    def prior(self) -> tfp.distributions.Distribution:
        """Distribution of the parameters."""

    @abc.abstractmethod
    def distribution(self, theta: tf.Tensor) -> tfp.distributions.Distribution:
        """p(x | theta): `tfd.Distribution` with batch shape (n,) and events (data_dim,), for theta (n, dim)."""

    def simulate(self, theta: TensorLike, seed: Seed) -> tf.Tensor:
        """Draws data (n, data_dim) for parameters (n, dim); `seed` is int32[2]."""
        return self.distribution(tf.convert_to_tensor(theta, tf.float32)).sample(seed=seed)

    def log_likelihood(self, theta: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """ln p(x | theta) in nats (n,), for theta (n, dim) and x (n, data_dim), or one for all (data_dim,)."""
        return self.distribution(theta).log_prob(x)

    def reference(self, x: np.ndarray, n: int, seed: Seed) -> np.ndarray:
        """Draws (n, dim) of the posterior given x (data_dim,), exact or by `mcmc.Sampler` on the exact likelihood."""
        return self._by_chains(self.prior, x, n, seed)

    def _by_chains(self, prior, x, n, seed):
        sampler = Sampler(Support(prior), self.log_likelihood)
        return sampler.sample(n, tf.convert_to_tensor(x, tf.float32)[None], seed=seed)[0]

    def observation(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The parameters (dim,) and data (data_dim,) of observation `number`: a draw from prior and simulator."""
        theta = self.prior.sample(1, seed=[2101, number])
        return theta[0].numpy(), self.simulate(theta, seed=[4653, number])[0].numpy()


def interval(low: float, high: float, dim: int) -> tfp.distributions.Distribution:
    return tfd.Independent(tfd.Uniform(tf.fill([dim], float(low)), float(high)), 1)
