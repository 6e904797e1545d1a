"""Training on scores: what a differentiable simulator knows of its likelihood."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from deepcosmo.models.base import ProbabilisticModel

if TYPE_CHECKING:
    from deepcosmo.inference.sbi.networks.ratio import RatioEstimator
    from deepcosmo.models.densities.prepared import PreparedDensity

__all__ = ["Scored"]


class Scored(ProbabilisticModel):
    """Trains a density or a ratio on its logarithm's gradient in the parameters, too.

    The loss is that of `network` plus `weight` times the squared difference between this gradient and the score, the
    gradient of ln p(x, latent variables | parameters), summed over the columns in units of each one's standard
    deviation. Its minimum is the gradient of ln p(x | parameters), which is the mean of the scores given x (Brehmer,
    Louppe, Pavez & Cranmer 2018, arXiv:1805.12244). `fit(x, y)` after `adapt(x, y)`, with y a dict: "targets", those of
    `network`, and "scores" (batch, dim).

    Args:
        network: `PreparedDensity` or `RatioEstimator`.
        log_density: function of it, parameters and data: what has the gradient.
        roles: function of x, the network's targets and features: which of them are parameters, and which data.
        dim: number of parameters.
        weight: of the squared difference.
    """

    def __init__(
        self,
        network: "PreparedDensity | RatioEstimator",
        log_density: Callable[..., tf.Tensor],
        roles: Callable[..., tuple[Any, Any]],
        *,
        dim: int,
        weight: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.network, self.log_density, self.roles, self.weight = network, log_density, roles, weight
        self.scale = self.add_weight(name="scale", shape=(dim,), initializer="ones", trainable=False)
        self.built = True

    @property
    def supports_xla(self) -> bool:
        return self.network.supports_xla

    def adapt(self, x: np.ndarray, y: dict[str, Any]) -> None:
        self.network.adapt(x, y["targets"])
        spread = np.std(y["scores"], 0)
        self.scale.assign(np.where(spread > 0, spread, 1.0))

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.network(x)

    def loss_per_example(self, x: tf.Tensor, y: dict[str, Any], y_pred: Any) -> tf.Tensor:
        parameters, data = self.roles(x, y["targets"], y_pred)
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            value = self.log_density(self.network, parameters, data)
        difference = (tape.gradient(value, parameters) - y["scores"]) / self.scale
        loss = self.network.loss_per_example(x, y["targets"], y_pred)
        return loss + self.weight * tf.reduce_sum(difference**2, -1)
