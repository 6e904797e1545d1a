"""A small residual U-Net for maps of any size, conditioned on numbers such as the noise level."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from deepcosmo._types import Tensor

__all__ = ["UNet"]

ITERATIONS = 6  # of the power method, for spectral norms


class _Convolution(keras.layers.Layer):
    """3 x 3 convolution whose kernel, as a matrix, has singular values of at most `norm`.

    Spectral normalisation (Miyato et al. 2018, arXiv:1802.05957) keeps scores smooth between the training noise
    levels. The power method starts from one fixed vector at each call, so that there is no state to keep equal
    between replicas; kernels within the bound are left as they are.
    """

    def __init__(self, filters, norm=None, zeros=False, **kwargs):
        super().__init__(**kwargs)
        self._filters, self._norm = filters, norm
        self._initializer = "zeros" if zeros else "he_normal"

    def build(self, shape):
        self.kernel = self.add_weight(
            name="kernel", shape=(3, 3, shape[-1], self._filters), initializer=self._initializer
        )
        self.bias = self.add_weight(name="bias", shape=(self._filters,), initializer="zeros")

    def call(self, x):
        kernel = self.kernel
        if self._norm is not None:
            matrix = ops.reshape(kernel, (-1, self._filters))
            v = np.cos(np.arange(self._filters) ** 2 + 1.0).astype("float32")[:, None]
            fixed = ops.stop_gradient(matrix)
            for _ in range(ITERATIONS):
                u = ops.normalize(ops.matmul(fixed, v), axis=0)
                v = ops.normalize(ops.matmul(ops.transpose(fixed), u), axis=0)
            largest = ops.sum(u * ops.matmul(matrix, v))
            kernel = kernel / ops.maximum(largest / self._norm, 1.0)
        return ops.conv(x, kernel, padding="same") + self.bias


class _Block(keras.layers.Layer):
    """x + convolution(silu(scale * convolution(silu(x)) + shift)): scale and shift depend on the condition."""

    def __init__(self, filters, norm, **kwargs):
        super().__init__(**kwargs)
        self.first = _Convolution(filters, norm)
        self.second = _Convolution(filters, norm, zeros=True)
        self.modulation = keras.layers.Dense(2 * filters, kernel_initializer="zeros")

    def build(self, x_shape, condition_shape):
        self.first.build(x_shape)
        self.second.build(x_shape)
        self.modulation.build(condition_shape)

    def call(self, x, condition):
        scale, shift = ops.split(self.modulation(condition)[:, None, None, :], 2, axis=-1)
        h = self.first(ops.silu(x)) * (1.0 + scale) + shift
        return x + self.second(ops.silu(h))


class UNet(keras.layers.Layer):
    """Maps (batch, rows, columns, channels) and conditions (batch, n) -> maps (batch, rows, columns, outputs).

    The first level already works on 2 x 2 pixels at once, and further ones halve the resolution again, so rows and
    columns must be multiples of `multiple`. Outside of the map there are zeros: leave a margin that does not count.

    Args:
        widths: channels of the levels, from the finest to the coarsest.
        outputs: channels of the result.
        spectral_norm: bound on the spectral norms of the convolutions, or None.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (24, 48, 64, 64),
        outputs: int = 1,
        spectral_norm: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.multiple = 2 ** len(widths)
        self._widths, self._outputs = tuple(widths), outputs
        self.embedding = [keras.layers.Dense(64, activation="silu") for _ in range(2)]
        self.down = [
            keras.layers.Conv2D(width, 4 if i == 0 else 2, strides=2, padding="same") for i, width in enumerate(widths)
        ]
        self.encoding = [_Block(width, spectral_norm) for width in widths]
        self.decoding = [_Block(width, spectral_norm) for width in widths]
        self.up = [
            keras.layers.Conv2DTranspose(
                outputs if i == 0 else widths[i - 1],
                4 if i == 0 else 2,
                strides=2,
                padding="same",
                kernel_initializer="glorot_uniform" if i else "zeros",
            )
            for i in range(len(widths))
        ]

    def build(self, maps_shape: Sequence[int | None], condition_shape: Sequence[int | None]) -> None:
        shape, size = maps_shape, condition_shape
        for layer in self.embedding:
            layer.build(size)
            size = (*size[:-1], 64)
        for down, encoding, decoding, up, width in zip(
            self.down, self.encoding, self.decoding, self.up, self._widths, strict=True
        ):
            down.build(shape)
            shape = (shape[0], None, None, width)
            for layer in (encoding, decoding):
                layer.build(shape, size)
            up.build(shape)

    def call(self, maps: Tensor, condition: Tensor) -> Tensor:
        if any(n is not None and n % self.multiple for n in maps.shape[1:3]):
            raise ValueError(f"rows and columns must be multiples of {self.multiple}; got {tuple(maps.shape[1:3])}")
        for layer in self.embedding:
            condition = layer(condition)
        x, kept = maps, []
        for down, block in zip(self.down, self.encoding, strict=True):
            x = block(down(x), condition)
            kept.append(x)
        x = 0.0
        for up, block in zip(self.up[::-1], self.decoding[::-1], strict=True):
            x = up(block((x + kept.pop()) * math.sqrt(0.5), condition))
        return x
