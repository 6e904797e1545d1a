"""Power transformation of single columns, towards a normal distribution."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from deepcosmo._types import Tensor
from deepcosmo.nn.transforms.outliers import far_out

__all__ = ["Power", "tempered"]

_SMALLEST = 1e-3  # exponents nearer to zero count as this: the logarithm, to a relative 1e-3
_FAR = 1e-3  # share of a column beyond its bulk, on each side
_FACTOR = 100.0  # between numbers of one sign, beyond which ratios count, not differences
_REACH = 3.0  # standard deviations, beyond which features grow as a logarithm only


@keras.saving.register_keras_serializable(package="deepcosmo")
class Power(keras.layers.Layer):
    """Maps each of `dim` columns to zero mean, unit variance and little skewness, once `adapt` has seen data.

    The transformation of Yeo & Johnson (2000, Biometrika 87, 954): a power of 1 + |x|, another one on each side of its
    origin, which is the logarithm where data are log-normal and the identity where they are normal. The origin is the
    median, but zero for numbers of one sign over more than two decades, in units of a tenth of the smallest.
    Exponents are not negative, as those would tell large values from larger ones no more. It is smooth and invertible,
    its parameters are weights. Constant columns become zero.
    """

    def __init__(self, *, dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dim = dim

    def build(self, input_shape: Any = None) -> None:
        def add(name, value):
            return self.add_weight(name=name, shape=(self.dim,), initializer=value, trainable=False)

        self.origin, self.unit, self.power = add("origin", "zeros"), add("unit", "ones"), add("power", "ones")
        self.mean, self.scale = add("mean", "zeros"), add("scale", "ones")

    def adapt(self, data: ArrayLike) -> None:
        """Measures the transformation on `data` (n, dim); NaN and what lies far out of a column are left out.

        Raises:
            ValueError: a column has no finite value.
        """
        from sklearn.preprocessing import PowerTransformer

        data = np.asarray(data, "float64")
        data = np.where(np.isfinite(data) & ~far_out(data), data, np.nan)
        if np.isnan(data).all(0).any():
            raise ValueError(f"no finite value in columns {np.flatnonzero(np.isnan(data).all(0)).tolist()}")
        middle, spread = np.nanmedian(data, 0), np.nanstd(data, 0)
        smallest, largest = np.nanquantile(np.abs(data), [_FAR, 1 - _FAR], axis=0)
        varies = spread > 1e-6 * np.abs(middle) + 1e-30
        one_sign = (np.nanmin(data, 0) > 0) | (np.nanmax(data, 0) < 0)
        ratios = varies & one_sign & (largest > _FACTOR * smallest)
        self.origin.assign(np.where(ratios, 0.0, middle))
        self.unit.assign(np.where(ratios, 0.1 * smallest, np.where(varies, spread, 1.0)))
        t = (data - self.origin.numpy()) / self.unit.numpy()
        # outliers would decide on the exponent: the bulk shall
        bounds = np.nanquantile(t, [_FAR, 1 - _FAR], axis=0)
        power = PowerTransformer(standardize=False).fit(np.clip(t, *bounds)[:20000]).lambdas_
        self.power.assign(np.where(varies, np.clip(np.nan_to_num(power, nan=1.0), 0.0, 2.0), 1.0))
        y = np.asarray(self._forward(ops.convert_to_tensor(t, "float32"))[0], "float64")
        self.mean.assign(np.nanmean(y, 0))
        self.scale.assign(np.where(varies, np.maximum(np.nanstd(y, 0), 1e-6), 1.0))

    def _exponents(self, positive):
        exponent = ops.where(positive, self.power, 2.0 - self.power)
        return ops.where(ops.abs(exponent) < _SMALLEST, _SMALLEST, exponent)

    def _forward(self, t):
        positive = t >= 0
        exponent, log = self._exponents(positive), ops.log1p(ops.abs(t))
        y = ops.expm1(exponent * log) / exponent
        return ops.where(positive, y, -y), (exponent - 1.0) * log

    def call(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, dim) -> values (batch, dim) and the logarithms of their derivatives."""
        y, log_slope = self._forward((x - self.origin) / self.unit)
        return (y - self.mean) / self.scale, log_slope - ops.log(self.unit * self.scale)

    def invert(self, y: Tensor) -> Tensor:
        """Values of `call` -> (batch, dim). Beyond the range of the transformation it gives its largest values."""
        y = y * self.scale + self.mean
        positive = y >= 0
        exponent = self._exponents(positive)
        log = ops.log(ops.maximum(1.0 + exponent * ops.abs(y), 1e-6)) / exponent
        t = ops.expm1(ops.minimum(log, 30.0))
        return self.origin + self.unit * ops.where(positive, t, -t)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dim": self.dim}


def tempered(value: Tensor, reach: float = _REACH) -> Tensor:
    """Scaled values as they are within `reach` standard deviations, and beyond as a logarithm, which networks bear."""
    size = ops.abs(value)
    far = reach + ops.log1p(ops.maximum(size - reach, 0.0))
    return ops.where(size < reach, value, ops.sign(value) * far)
