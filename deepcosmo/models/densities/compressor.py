"""Compressors of data: networks that are trained for the summaries they make."""

from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from deepcosmo._types import Tensor
from deepcosmo.models._precision import SinglePrecision
from deepcosmo.models.base import freeze
from deepcosmo.models.densities.prepared import PreparedDensity

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Compressor", "PointEstimate"]


@keras.saving.register_keras_serializable(package="deepcosmo")
class PointEstimate(PreparedDensity):
    """A `PreparedDensity` of one component that is trained for its mean alone.

    Args:
        power: of the errors, in units of each column's standard deviation, that the loss sums over the columns: 2 makes
            posterior means of the estimates, 1 posterior medians.
    """

    def __init__(self, *, power: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.power = power

    def loss_per_example(self, x: Tensor, y: Tensor, y_pred: Any) -> Tensor:
        error = ops.abs(y - self.mean_of_features(y_pred)) / ops.norm(self.linear.factor, axis=-1)
        return ops.sum(error**self.power, -1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "power": self.power}


@keras.saving.register_keras_serializable(package="deepcosmo")
class Compressor(SinglePrecision, keras.Model):
    """Summaries (batch, n) of data x (batch, ...), by a density p(y | x) that is trained and stays as it is.

    Args:
        density: `PreparedDensity`.
        means: whether summaries are the means of y, in its units, or else the features that the density depends on.
    """

    def __init__(self, *, density: PreparedDensity, means: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.density, self.means = density, means
        freeze(self)
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        features = self.density(x)
        return self.density.mean_of_features(features) if self.means else features

    def get_config(self) -> dict[str, Any]:
        density = keras.saving.serialize_keras_object(self.density)
        return {**super().get_config(), "density": density, "means": self.means}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Self":
        return cls(**{**config, "density": keras.saving.deserialize_keras_object(config["density"])})
