"""Shear of the modes of a real convergence map, for iterations that live in Fourier space."""

import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from deepcosmo.physics import lensing

__all__ = ["ShearOfModes", "as_complex", "components_first", "response"]


@functools.lru_cache(maxsize=8)
def response(rows: int, columns: int, dtype: tf.DType) -> tf.Tensor:
    """Shear per convergence of the modes of `tf.signal.rfft2d`, real, (2, rows, columns // 2 + 1)."""
    kernel = lensing.spin2(rows, columns)[:, : columns // 2 + 1]
    with tf.init_scope():  # graphs capture it: as a constant in each of them it would take a second to trace
        return tf.constant(np.stack([kernel.real, kernel.imag]), dtype)


def components_first(maps: tf.Tensor) -> tf.Tensor:
    """(..., rows, columns, components) as (..., components, rows, columns), which the transforms need."""
    rank = len(maps.shape)
    return tf.transpose(maps, [*range(rank - 3), rank - 1, rank - 3, rank - 2])


class ShearOfModes:
    """From modes (..., rows, half) of maps of `shape` to shear (..., 2, rows, columns).

    On the way modes are multiplied by a real `filter` (..., rows, half).
    """

    def __init__(self, shape: Sequence[int], dtype: tf.DType, filter: tf.Tensor | None = None) -> None:
        self.shape = list(shape)
        self.gain = as_complex(response(*shape, dtype))
        if filter is not None:
            self.gain *= as_complex(filter)[..., None, :, :]

    def __call__(self, modes: tf.Tensor) -> tf.Tensor:
        return tf.signal.irfft2d(self.gain * modes[..., None, :, :], self.shape)

    def transpose(self, shear: tf.Tensor) -> tf.Tensor:
        """Modes of the transposed map, (..., rows, half)."""
        return tf.reduce_sum(self.gain * tf.signal.rfft2d(shear), -3)


def as_complex(real: tf.Tensor) -> tf.Tensor:
    return tf.complex(real, tf.zeros_like(real))
