"""Where the summaries of simulations lie, to tell what is unlike all of them."""

import dataclasses

import numpy as np

from deepcosmo.nn.transforms.linear_fit import LinearFit

__all__ = ["Typical"]


@dataclasses.dataclass(frozen=True)
class Typical:
    """Mahalanobis distances of summaries (n, dim) from the mean of those of simulations.

    Attributes:
        bias: the mean (dim,).
        inverse: of a root of the covariance (dim, dim).
        largest: distance of the farthest simulation.
    """

    bias: np.ndarray
    inverse: np.ndarray
    largest: float = 0.0

    @classmethod
    def of(cls, summaries: np.ndarray) -> "Typical":
        fit = LinearFit(dim=summaries.shape[1], features=0)
        fit.build()
        fit.adapt(summaries, summaries[:, :0])
        found = cls(bias=fit.bias.numpy(), inverse=fit.inverse.numpy())
        return dataclasses.replace(found, largest=float(found.distances(summaries).max()))

    def distances(self, summaries: np.ndarray) -> np.ndarray:
        """Of summaries (n, dim): (n,)."""
        return np.linalg.norm((summaries - self.bias) @ self.inverse.T, axis=-1)
