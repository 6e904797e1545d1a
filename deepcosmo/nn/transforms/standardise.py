"""Standardisation whose statistics are weights."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from deepcosmo._types import Tensor

__all__ = ["Standardise"]


@keras.saving.register_keras_serializable(package="deepcosmo")
class Standardise(keras.layers.Layer):
    """Maps each of `dim` columns to zero mean and unit variance, once `adapt` has seen data.

    Unlike `keras.layers.Normalization`, the statistics are weights that every compiled function reads,
    and they exist from the start: loading weights needs no care.
    """

    def __init__(self, *, dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dim = dim

    def build(self, input_shape: Any = None) -> None:
        self.mean = self.add_weight(name="mean", shape=(self.dim,), initializer="zeros", trainable=False)
        self.scale = self.add_weight(name="scale", shape=(self.dim,), initializer="ones", trainable=False)

    def adapt(self, batches: Iterable[ArrayLike]) -> None:
        """Measures the statistics over an iterable of (batch, dim) arrays. Constant columns keep scale 1."""
        n, total, square = 0, 0.0, 0.0
        for batch in batches:
            batch = np.asarray(batch, "float64").reshape(-1, self.dim)
            if not n:
                origin = batch.mean(0)  # keeps the sum of squares accurate far from zero
            n, total = n + len(batch), total + (batch - origin).sum(0)
            square = square + np.square(batch - origin).sum(0)
        if not n:
            raise ValueError("No data to measure the mean and the scale of.")
        mean = total / n
        scale = np.sqrt(np.maximum(square / n - mean**2, 0.0))
        if not np.all(np.isfinite(scale)):
            raise ValueError("The data contain NaN or infinite values.")
        self.mean.assign(mean + origin)
        self.scale.assign(np.where(scale > 1e-6 * np.abs(origin) + 1e-30, scale, 1.0))

    def call(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.scale

    def invert(self, x: Tensor) -> Tensor:
        return x * self.scale + self.mean

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dim": self.dim}
