"""Weak lensing on the flat sky: convergence and shear, catalogues and maps.

Convention, of every function here: maps are (..., rows, columns); rows run along declination, columns along right
ascension, both ascending. With the wave vector (l1, l2), l1 along columns and l2 along rows,

    gamma1 = (l1^2 - l2^2) / l^2 kappa,    gamma2 = 2 l1 l2 / l^2 kappa

in Fourier space (Kaiser & Squires 1993). Shear maps are (..., rows, columns, 2): gamma1 and gamma2 in the last axis.
On even sizes the Nyquist frequency counts as -1/2 cycles per pixel on both axes.
"""

import functools

import numpy as np
import tensorflow as tf

from deepcosmo._quantities import masked
from deepcosmo._types import TensorLike
from deepcosmo.physics._arguments import as_tensor

__all__ = ["kappa_to_shear", "shear_to_kappa", "spin2"]


@functools.lru_cache(maxsize=16)
def spin2(rows: int, columns: int) -> np.ndarray:
    """(l1 + i l2)^2 / l^2, complex128 (rows, columns), 0 at l = 0."""
    l1, l2 = np.fft.fftfreq(columns)[None], np.fft.fftfreq(rows)[:, None]
    square = l1**2 + l2**2
    square[0, 0] = 1.0
    even, odd = (l1**2 - l2**2) / square, 2 * l1 * l2 / square
    # A frequency and its negative are one at Nyquist, where a real map leaves nothing of an odd function.
    corner = odd[rows // 2, columns // 2]
    if rows % 2 == 0:
        odd[rows // 2] = 0.0
    if columns % 2 == 0:
        odd[:, columns // 2] = 0.0
    if rows % 2 == columns % 2 == 0:
        odd[rows // 2, columns // 2] = corner
    kernel = even + 1j * odd
    kernel.setflags(write=False)
    return kernel


def _padded(field, padding):
    if padding < 0:
        raise ValueError(f"padding must not be negative; got {padding}")
    return tf.pad(field, [[0, 0]] * (len(field.shape) - 2) + [[padding, padding]] * 2) if padding else field


def _cut(field, padding):
    return field[..., padding:-padding, padding:-padding] if padding else field


def _filtered(field, conjugate):
    rows, columns = field.shape[-2:]
    kernel = spin2(rows, columns)
    kernel = (kernel.conj() if conjugate else kernel).astype(field.dtype.as_numpy_dtype)
    return tf.signal.ifft2d(tf.signal.fft2d(field) * kernel)


def kappa_to_shear(kappa: TensorLike, *, padding: int = 0) -> tf.Tensor:
    """Shear of a convergence map: gamma1 = (l1^2 - l2^2) / l^2 kappa, gamma2 = 2 l1 l2 / l^2 kappa in Fourier space,
    l1 along columns (RA ascending), l2 along rows (Dec ascending).

    Args:
        kappa: (..., rows, columns), float32 or float64.
        padding: pixels of zeros that surround the map while it is transformed; 0: the sky is periodic.

    Returns:
        (..., rows, columns, 2)
    """
    kappa = _as_float(kappa, "kappa", 2)
    gamma = _cut(_filtered(_padded(tf.complex(kappa, tf.zeros_like(kappa)), padding), False), padding)
    return tf.stack([tf.math.real(gamma), tf.math.imag(gamma)], -1)


def shear_to_kappa(shear: TensorLike, *, padding: int = 0, modes: str = "E") -> tf.Tensor:
    """Convergence of a shear map (Kaiser-Squires): the adjoint of `kappa_to_shear` and, but for the mean, its inverse.

    In Fourier space kappa = ((l1^2 - l2^2) gamma1 + 2 l1 l2 gamma2) / l^2, l1 along columns (RA ascending), l2 along
    rows (Dec ascending).

    Args:
        shear: (..., rows, columns, 2), float32 or float64.
        padding: as of `kappa_to_shear`.
        modes: "E", or "EB" for both: the B-mode is zero for lensing alone.

    Returns:
        (..., rows, columns); for "EB" (..., rows, columns, 2). The mean of a padless map is 0: shear does not tell it.
    """
    if modes not in ("E", "EB"):
        raise ValueError(f"modes must be 'E' or 'EB'; got {modes!r}")
    shear = _as_float(shear, "shear", 3)
    if shear.shape[-1] != 2:
        raise ValueError(f"shear must have shape (..., rows, columns, 2); got {tuple(shear.shape)}")
    gamma = _padded(tf.complex(shear[..., 0], shear[..., 1]), padding)
    kappa = _cut(_filtered(gamma, True), padding)
    return tf.math.real(kappa) if modes == "E" else tf.stack([tf.math.real(kappa), tf.math.imag(kappa)], -1)


def _as_float(value, name, rank):
    if np.any(masked(value)):
        raise ValueError(f"{name} must be known everywhere; {np.count_nonzero(masked(value))} values are masked")
    value = as_tensor(value, "", name)
    if not value.dtype.is_floating:
        value = tf.cast(value, tf.float32)
    if value.shape.rank is None or value.shape.rank < rank or None in value.shape[-rank:]:
        raise ValueError(f"{name} must be a map of known size; got shape {value.shape}")
    return value
