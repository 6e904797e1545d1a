"""What a linear regression leaves, with unit covariance."""

from typing import Any

import keras
import numpy as np
from keras import ops

from deepcosmo._types import Tensor

__all__ = ["LinearFit"]


@keras.saving.register_keras_serializable(package="deepcosmo")
class LinearFit(keras.layers.Layer):
    """Maps y, given features f, to L^-1 (y - A f - b): zero mean and unit covariance, once `adapt` has seen data.

    A and b are a ridge regression whose penalty is chosen by generalised cross-validation, L is the Cholesky factor of
    the covariance of what it leaves. All are weights. Where the joint distribution is normal nothing is left to learn,
    and a few data are enough for that.

    Args:
        dim: length of y.
        features: length of f.
    """

    def __init__(self, *, dim: int, features: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dim, self.features = dim, features

    def build(self, input_shape: Any = None) -> None:
        add = lambda name, shape, value: self.add_weight(  # noqa: E731
            name=name, shape=shape, initializer=value, trainable=False
        )
        self.matrix = add("matrix", (self.features, self.dim), "zeros")
        self.bias = add("bias", (self.dim,), "zeros")
        self.factor = add("factor", (self.dim, self.dim), "identity")  # L
        self.inverse = add("inverse", (self.dim, self.dim), "identity")

    def adapt(self, y: np.ndarray, features: np.ndarray) -> None:
        """Fits to y (n, dim) and features (n, features), which may be none.

        Raises:
            ValueError: NaN or infinite values.
        """
        from sklearn.linear_model import RidgeCV

        y, features = np.asarray(y, "float64"), np.asarray(features, "float64")
        if not (np.isfinite(y).all() and np.isfinite(features).all()):
            raise ValueError("The data contain NaN or infinite values.")
        mean, scale = y.mean(0), y.std(0)
        scale = np.where(scale > 1e-6 * np.abs(mean) + 1e-30, scale, 1.0)
        y = (y - mean) / scale
        matrix, bias = np.zeros((self.features, self.dim)), np.zeros(self.dim)
        if self.features:
            ridge = RidgeCV(np.logspace(-3, 5, 17) * len(y) / 1000).fit(features, y)
            matrix, bias = ridge.coef_.reshape(self.dim, -1).T, ridge.intercept_
        left = y - features @ matrix - bias
        # a column that is known exactly, or the same as another, keeps some width
        covariance = left.T @ left / len(left) + 1e-8 * np.eye(self.dim)
        factor = scale[:, None] * np.linalg.cholesky(covariance)
        self.matrix.assign(matrix * scale)
        self.bias.assign(bias * scale + mean)
        self.factor.assign(factor)
        self.inverse.assign(np.linalg.inv(factor))

    def call(self, y: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, dim) and (batch, features) -> what is left (batch, dim), and log|det| of the map, a scalar."""
        left = y - ops.matmul(features, self.matrix) - self.bias
        return ops.matmul(left, ops.transpose(self.inverse)), -ops.sum(ops.log(ops.diagonal(self.factor)))

    def invert(self, left: Tensor, features: Tensor) -> Tensor:
        return ops.matmul(left, ops.transpose(self.factor)) + ops.matmul(features, self.matrix) + self.bias

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dim": self.dim, "features": self.features}
