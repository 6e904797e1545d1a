"""Training of a posterior density on parameters that are not drawn from the prior."""

from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from deepcosmo._types import Tensor
from deepcosmo.models.base import ProbabilisticModel

if TYPE_CHECKING:
    from deepcosmo.models.densities.prepared import PreparedDensity

__all__ = ["Atomic"]


class Atomic(ProbabilisticModel):
    """Trains p(y | x) with the atomic loss (APT, or SNPE-C: Greenberg, Nonnenmacher & Macke 2019, arXiv:1905.07488).

    For each x it is the cross-entropy of choosing, among the parameters of `atoms` simulations, those that made x, by
    weights that are posterior over prior density. Whichever distribution the parameters of all simulations have, the
    minimum is the posterior. `fit(x, y)` after `adapt(x, y)`, with y a dict: "targets", those of `network` (batch,
    dim), and "log_prior", the logarithm of their prior density (batch,).

    Args:
        network: `PreparedDensity`.
        atoms: number of parameters to choose from.
    """

    def __init__(self, network: "PreparedDensity", *, atoms: int = 10, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network, self.atoms = network, atoms
        self.built = True

    @property
    def supports_xla(self) -> bool:
        return self.network.supports_xla

    def adapt(self, x: np.ndarray, y: dict[str, np.ndarray]) -> None:
        self.network.adapt(x, y["targets"])

    def call(self, x: Tensor) -> Tensor:
        return self.network(x)

    def loss_per_example(self, x: Tensor, y: dict[str, Tensor], y_pred: Any) -> Tensor:
        # others of the batch are draws of the same distribution: y[i - k]
        atoms, log_prior = (
            ops.concatenate([ops.roll(y[name], k, axis=0) for k in range(self.atoms)], axis=0)
            for name in ("targets", "log_prior")
        )
        features = ops.tile(y_pred, (self.atoms, 1))
        log_weight = self.network.log_prob_of_features(atoms, features) - log_prior
        log_weight = ops.reshape(log_weight, (self.atoms, -1))
        return ops.logsumexp(log_weight, axis=0) - log_weight[0]
