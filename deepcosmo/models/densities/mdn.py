"""Mixture density networks."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from deepcosmo.models.densities.conditional import ConditionalDensity
from deepcosmo.nn.resnet import MLP

__all__ = ["MDN"]


@keras.saving.register_keras_serializable(package="deepcosmo")
class MDN(ConditionalDensity):
    """Mixture of normal distributions whose parameters depend on the context (Bishop 1994).

    Args:
      dim: Length of `y`.
      context_dim: Length of the context, at least 1.
      components: Number of normal distributions.
      full_covariance: Whether columns correlate within a component.
      hidden: Widths of the hidden layers.
      activation: Name of the hidden activation.
      residual: Whether the hidden layers (of equal width) have skip connections.
    """

    def __init__(
        self,
        *,
        dim: int,
        context_dim: int,
        components: int = 8,
        full_covariance: bool = False,
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
        residual: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(dim=dim, context_dim=context_dim, **kwargs)
        if not context_dim or components < 1:
            raise ValueError("An MDN needs context_dim >= 1 and components >= 1.")
        self.components, self.full_covariance = components, full_covariance
        self.hidden, self.activation, self.residual = tuple(hidden), activation, residual
        self._correlations = dim * (dim - 1) // 2 if full_covariance else 0
        self.network = MLP(
            inputs=context_dim,
            outputs=components * (1 + 2 * dim + self._correlations),
            hidden=self.hidden,
            activation=activation,
            residual=residual,
        )
        self.network.build()
        # Spread over the standardised data, so that no two components start as one.
        spread = np.linspace(-1, 1, components + 2)[1:-1, None] * np.ones(dim)
        self.centres = self.add_weight(
            name="centres", shape=(components, dim), initializer=lambda shape, dtype: ops.cast(spread, dtype)
        )
        self.built = True

    def _distribution(self, features):
        import tensorflow_probability as tfp

        tfd = tfp.distributions
        sizes = [1, self.dim, self.dim, self._correlations]
        shape = tf.concat([tf.shape(features)[:-1], [self.components, sum(sizes)]], 0)
        logits, loc, log_scale, lower = tf.split(tf.reshape(self.network(features), shape), sizes, axis=-1)
        mean, scale = self.standardise_y.mean, self.standardise_y.scale
        loc = mean + scale * tf.add(self.centres, loc)  # Keras's addition fails for no rows
        # Between e^-7 and e^7: a component cannot collapse onto one example.
        width = ops.exp(log_scale / (1 + ops.abs(log_scale) / 7.0))
        if self._correlations:
            # Below the diagonal: a triangle of dim - 1 rows, one further down.
            corner = [[0, 0]] * (lower.shape.rank - 1) + [[1, 0], [0, 1]]
            unit = tf.eye(self.dim) + tf.pad(tfp.math.fill_triangular(lower), corner)
            components = tfd.MultivariateNormalTriL(loc, (scale * width)[..., None] * unit)
        else:
            components = tfd.MultivariateNormalDiag(loc, scale * width)
        return tfd.MixtureSameFamily(tfd.Categorical(logits=logits[..., 0]), components)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "components": self.components,
            "full_covariance": self.full_covariance,
            "hidden": self.hidden,
            "activation": self.activation,
            "residual": self.residual,
        }
