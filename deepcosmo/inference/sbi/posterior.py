"""Posteriors as objects: samples, densities, modes, pictures."""

import abc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from numpy.typing import ArrayLike

from deepcosmo._types import PathLike, Seed
from deepcosmo.inference.sbi.simulations import floats
from deepcosmo.models._precision import SinglePrecision

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from deepcosmo.inference.sbi.mcmc import Diagnostics, Sampler
    from deepcosmo.inference.sbi.support import Support
    from deepcosmo.models.densities.encoded import EncodedDensity

__all__ = ["AmortizedPosterior", "Posterior", "SampledPosterior"]


class Posterior(SinglePrecision, abc.ABC):
    """Distribution of parameters (dim,) given one observation.

    Attributes:
        support: `Support` of the prior of the parameters.
        dim: length of the parameter vector.
    """

    def __init__(self, support: "Support") -> None:
        self.support, self.dim = support, support.dim

    @abc.abstractmethod
    def sample(self, n: int, *, seed: Seed) -> np.ndarray:
        """Draws (n, dim) in the precision of `Support`; `seed` is an int or int32[2]. None is outside of the prior."""

    @abc.abstractmethod
    def _log_prob(self, z):
        """ln of the density of theta(z) (n,), z being unconstrained (n, dim)."""

    def log_prob(self, theta: ArrayLike) -> np.ndarray:
        """ln p(theta | x) in nats (...), for theta (..., dim); -inf outside of the prior and on its bounds."""
        theta = floats(theta)
        if theta.shape[-1:] != (self.dim,):
            raise ValueError(f"theta must have shape (..., {self.dim}); got {theta.shape}")
        inside, z = self.support.interior(theta.reshape(-1, self.dim))
        return np.reshape(tf.where(inside, self._log_prob(z), -np.inf), theta.shape[:-1])

    def map(self, *, seed: Seed = 0) -> np.ndarray:
        """The parameters of the largest density (dim,): by L-BFGS from the best of 2000 draws."""
        draws = self.sample(2000, seed=seed)
        start = draws[np.argmax(self.log_prob(draws))]
        value_and_gradient = tf.function(
            lambda z: tfp.math.value_and_gradient(lambda z: -self._log_prob(z[None])[0], z), autograph=False
        )
        start_z = self.support.unconstrained(start[None])[0]
        found = tfp.optimizer.lbfgs_minimize(value_and_gradient, start_z, max_iterations=100)
        best = self.support.parameters(found.position).numpy()
        return best if self.log_prob(best) > self.log_prob(start) else start

    def corner(
        self,
        path: PathLike | None = None,
        *,
        n: int = 10_000,
        seed: Seed = 0,
        truth: Sequence[float] | np.ndarray | None = None,
        labels: Sequence[str] | None = None,
    ) -> "Figure":
        """A corner plot of n draws, by the package `corner`; returns the figure, and writes it to `path`.

        Args:
            truth: parameters (dim,) to mark.
            labels: names of the parameters.
        """
        from deepcosmo import plots

        return plots.corner(self.sample(n, seed=seed), path, truth=truth, labels=labels)


class AmortizedPosterior(Posterior):
    """That of NPE: a density with exact draws, normalised."""

    def __init__(self, support: "Support", network: "EncodedDensity", features: tf.Tensor) -> None:
        super().__init__(support)
        self.network, self.features = network, features

    def sample(self, n: int, *, seed: Seed) -> np.ndarray:
        return self.support.parameters(self.network.sample_of_features(n, self.features, seed=seed)).numpy()

    def _log_prob(self, z):
        return self.network.log_prob_of_features(z, self.features) - self.support.log_slope(z)


class SampledPosterior(Posterior):
    """That of NLE and NRE: prior times a learned likelihood or ratio, sampled by Monte Carlo chains.

    Densities are not normalised: `log_prob` is up to a constant.

    Attributes:
        diagnostics: `mcmc.Diagnostics` of the last `sample`: R-hat, effective sample size, acceptance.
    """

    diagnostics: "Diagnostics | None"

    def __init__(self, sampler: "Sampler", data: Any) -> None:
        super().__init__(sampler.support)
        self.sampler, self.data, self.diagnostics = sampler, data, None

    def sample(self, n: int, *, seed: Seed) -> np.ndarray:
        if not n:
            return np.empty((0, self.dim), self.support.dtype)
        draws, self.diagnostics = self.sampler.sample(n, self.data, seed=seed)
        return draws

    def _log_prob(self, z):
        log_likelihood = self.sampler.log_likelihood(z[:, None], self.data)[:, 0]
        return log_likelihood + self.support.log_prior(z)
