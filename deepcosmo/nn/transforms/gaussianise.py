"""Monotonic maps of single columns to normal scores, by their quantiles."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from deepcosmo._types import Tensor

__all__ = ["Gaussianise"]


@keras.saving.register_keras_serializable(package="deepcosmo")
class Gaussianise(keras.layers.Layer):
    """Maps each of `dim` columns to a standard normal distribution, once `adapt` has seen data.

    Quantiles of the data go to the same quantiles of the normal distribution, linearly in between and beyond
    the outer ones. So a flow on top has only the dependence between columns to learn, not their piles and edges.
    The quantiles are weights.

    Args:
      dim: Number of columns.
      knots: Number of quantiles, evenly spaced in the normal score.
      reach: The outer quantiles, in standard deviations.
    """

    def __init__(self, *, dim: int, knots: int = 121, reach: float = 2.8, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dim, self.reach = dim, reach
        self.scores = np.linspace(-reach, reach, knots).astype("float32")

    def build(self, input_shape: Any = None) -> None:
        start = np.tile(self.scores[:, None], self.dim)
        self.quantiles = self.add_weight(
            name="quantiles",
            shape=start.shape,
            initializer=lambda shape, dtype: ops.cast(start, dtype),
            trainable=False,
        )

    def adapt(self, data: ArrayLike) -> None:
        """Measures the quantiles of `data` (n, dim)."""
        from scipy import special

        quantiles = np.quantile(np.asarray(data, "float64"), special.ndtr(self.scores), axis=0)
        # A slope of at most 1000: repeated values must not make the density infinite.
        gap = 1e-3 * (self.scores[1] - self.scores[0])
        for low, high in zip(quantiles, quantiles[1:], strict=False):
            high[:] = np.maximum(high, low + gap)
        self.quantiles.assign(quantiles)

    def call(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, dim) -> normal scores (batch, dim) and the logarithm of their derivative."""
        return self._interpolate(x, self.quantiles, self.scores[:, None] + 0 * self.quantiles)

    def invert(self, z: Tensor) -> Tensor:
        return self._interpolate(z, self.scores[:, None] + 0 * self.quantiles, self.quantiles)[0]

    def _interpolate(self, x, start, end):
        # The outer pieces are those of several knots, which noise does not make steep.
        few = max(1, (len(self.scores) - 1) // 20)
        slope = (end[1:] - end[:-1]) / (start[1:] - start[:-1])
        low = (end[few] - end[0]) / (start[few] - start[0])
        high = (end[-1] - end[-1 - few]) / (start[-1] - start[-1 - few])
        slope = ops.concatenate([low[None], slope, high[None]], 0)
        left = ops.concatenate([start[:1], start], 0)
        bottom = ops.concatenate([end[:1], end], 0)
        piece = ops.sum(ops.cast(x[None] >= start[:, None], "int32"), 0) * self.dim + ops.arange(self.dim)
        slope, left, bottom = (ops.take(ops.reshape(v, (-1,)), piece) for v in (slope, left, bottom))
        return bottom + slope * (x - left), ops.log(slope)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dim": self.dim, "knots": len(self.scores), "reach": self.reach}
