"""Half-plane Fourier transforms of real maps, and filters of them, in `keras.ops`."""

import numpy as np
from keras import ops

from deepcosmo._types import Tensor

__all__ = ["filtered", "fourier", "frequency", "inverse_fourier"]


def fourier(images: Tensor) -> tuple[Tensor, Tensor]:
    """Half-plane Fourier transform of real images (batch, n, m): (real, imaginary), each (batch, m // 2 + 1, n).

    The axes are (k_x, k_y): the real transform runs along the rows, and leaving them transposed saves a copy.
    """
    real, imaginary = ops.rfft(images)
    return ops.fft((ops.transpose(real, (0, 2, 1)), ops.transpose(imaginary, (0, 2, 1))))


def inverse_fourier(spectrum: tuple[Tensor, Tensor], columns: int | None = None) -> Tensor:
    """Images (batch, n, columns) of half-plane transforms as from `fourier`; `columns` is n by default."""
    real, imaginary = spectrum
    n = real.shape[-1]
    # the inverse of a complex transform is the conjugate of the transform of the conjugate
    real, imaginary = ops.fft((real, -imaginary))
    spectrum = ops.transpose(real, (0, 2, 1)) / n, -ops.transpose(imaginary, (0, 2, 1)) / n
    return ops.irfft(spectrum, fft_length=columns or n)


def frequency(shape: tuple[int, int]) -> np.ndarray:
    """Cycles per pixel, without sign, of the modes of `fourier`, (columns // 2 + 1, rows), of (rows, columns)."""
    rows, columns = shape
    return np.hypot(np.fft.rfftfreq(columns)[:, None], np.fft.fftfreq(rows)[None])


def filtered(images: Tensor, transfer: Tensor) -> Tensor:
    """Images (batch, n, m) with their Fourier modes multiplied by real factors (batch or 1, m // 2 + 1, n)."""
    real, imaginary = fourier(images)
    return inverse_fourier((real * transfer, imaginary * transfer), images.shape[-1])
