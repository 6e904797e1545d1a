"""Regression: a network for the conditional mean or median."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from deepcosmo._types import Endpoints, TensorLike
from deepcosmo.models.densities.conditional import ConditionalDensity
from deepcosmo.nn.resnet import MLP

__all__ = ["Regression"]


@keras.saving.register_keras_serializable(package="deepcosmo")
class Regression(ConditionalDensity):
    """A vector of independent columns around a location that depends on the context.

    With `kind="mean"` the noise is normal: maximum likelihood is least squares, and the location tends to the
    conditional mean. With `kind="median"` it is a Laplace distribution: least absolute deviations, and the
    conditional median. The width of the noise is one trained number for each column.

    Args:
      dim: Length of `y`.
      context_dim: Length of the context, at least 1.
      kind: "mean" or "median".
      hidden: Widths of the hidden layers.
      activation: Name of the hidden activation.
      residual: Whether the hidden layers (of equal width) have skip connections.
    """

    def __init__(
        self,
        *,
        dim: int,
        context_dim: int,
        kind: str = "mean",
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
        residual: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(dim=dim, context_dim=context_dim, **kwargs)
        if kind not in ("mean", "median"):
            raise ValueError(f"kind must be 'mean' or 'median', not {kind!r}.")
        if not context_dim:
            raise ValueError("Regression needs a context: context_dim >= 1.")
        self.kind, self.hidden, self.activation, self.residual = kind, tuple(hidden), activation, residual
        self.network = MLP(
            inputs=context_dim, outputs=dim, hidden=self.hidden, activation=activation, residual=residual
        )
        self.network.build()
        self.log_scale = self.add_weight(name="log_scale", shape=(dim,), initializer="zeros")
        self.built = True

    def _distribution(self, features):
        from tensorflow_probability import distributions as tfd

        location = self.standardise_y.invert(self.network(features))
        noise = {"mean": tfd.Normal, "median": tfd.Laplace}[self.kind]
        scale = self.standardise_y.scale * ops.exp(self.log_scale)
        return tfd.Independent(noise(location, scale), 1)

    def location(self, context: TensorLike) -> tf.Tensor:
        """The conditional mean (or median) of `y`, (..., dim), in the units of `y`."""
        return self.standardise_y.invert(self.network(self._features(context)))

    def endpoints(self) -> Endpoints:
        def location(context):
            return {"y": self.location(context)}

        endpoint = location, [tf.TensorSpec((None, self.context_dim), tf.float32, name="context")]
        return {**super().endpoints(), "location": endpoint, "serving_default": endpoint}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kind": self.kind,
            "hidden": self.hidden,
            "activation": self.activation,
            "residual": self.residual,
        }
