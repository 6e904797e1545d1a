"""Galaxy stamps: PSF convolution and the correlated noise of HST/ACS, as in the data set `cosmos_stamps`.

Stamps are arrays (..., height, width) in counts/s per pixel: an image sums to the galaxy's flux. A PSF image
has unit sum and its centre at pixel [height // 2, width // 2]; it includes the response of the detector's
pixels. The noise is Gaussian, stationary and periodic over the stamp, so its covariance is diagonal in the
discrete Fourier transform: `noise_std**2 * acs_noise_power()` is the variance of every mode, per pixel.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from deepcosmo._quantities import in_unit
from deepcosmo._types import Number, TensorLike

if TYPE_CHECKING:
    import galsim
    import tensorflow as tf

__all__ = ["PIXEL_SCALE", "acs_noise_power", "convolve", "sample_noise", "to_galsim"]

PIXEL_SCALE = 0.03  # arcsec


@functools.lru_cache(maxsize=8)
def acs_noise_power(size: int = 128) -> np.ndarray:
    """Power spectrum of unit-variance noise in the COSMOS F814W coadds (Leauthaud et al. 2007).

    It is the discrete Fourier transform of the correlation function that comes with GalSim, at
    0.03"/pixel: `galsim.getCOSMOSNoise` on a stamp of the same size has the same covariance.

    Args:
        size: stamp side, pixels; at least 81, the extent of the measured correlation.

    Returns:
        float64 array (size, size), read-only, in the order of `np.fft.fft2`. Its mean is 1, the variance
        of a pixel; a white spectrum would be 1 everywhere.

    Raises:
        ValueError: `size` is below 81.
    """
    import galsim
    from astropy.io import fits

    file = os.path.join(galsim.meta_data.share_dir, "acs_I_unrot_sci_20_cf.fits")
    correlation = np.asarray(fits.getdata(file), float)
    extent = len(correlation)
    if size < extent:
        raise ValueError(f"size must be at least {extent} px, the extent of the correlation; got {size}")
    padded = np.zeros((size, size))
    padded[:extent, :extent] = correlation
    power = np.fft.fft2(np.roll(padded, (-(extent // 2),) * 2, axis=(0, 1))).real
    power = np.maximum(power, 1e-3 * power.mean())
    power /= power.mean()
    power.setflags(write=False)
    return power


def convolve(galaxies: TensorLike, psf: TensorLike) -> tf.Tensor:
    """Convolves galaxies with PSFs on the pixel grid; differentiable, batched.

    Args:
        galaxies: float tensor (..., height, width); light outside the stamp counts as zero.
        psf: float tensor (..., h, w) with its centre at [h // 2, w // 2]; leading dimensions broadcast
            against those of `galaxies`.

    Returns:
        Tensor of the shape of `galaxies` (broadcast): no shift, no periodic wrap. It is float64 if one of them is.

    Raises:
        ValueError: one of them is no image.
    """
    import tensorflow as tf

    from deepcosmo.physics._arguments import as_tensor

    galaxies, psf = as_tensor(galaxies, None, "galaxies"), as_tensor(psf, "", "psf")
    if min(galaxies.shape.rank, psf.shape.rank) < 2:
        raise ValueError(f"galaxies and psf must be (..., height, width); got {galaxies.shape} and {psf.shape}")
    dtype = np.result_type(galaxies.dtype.as_numpy_dtype, psf.dtype.as_numpy_dtype, np.float32)
    galaxies, psf = tf.cast(galaxies, dtype), tf.cast(psf, dtype)
    size, kernel = galaxies.shape[-2:], psf.shape[-2:]
    # With this period only rows and columns that are cut away are reached by the wrap.
    period = [_fast_length(n + k - 1 - k // 2) for n, k in zip(size, kernel, strict=True)]
    product = tf.signal.rfft2d(galaxies, period) * tf.signal.rfft2d(psf, period)
    full = tf.signal.irfft2d(product, period)
    (top, left), (height, width) = (k // 2 for k in kernel), size
    return full[..., top : top + height, left : left + width]


def sample_noise(
    seed: TensorLike, noise_std: TensorLike, power: TensorLike | None = None, size: int = 128
) -> tf.Tensor:
    """Draws correlated noise stamps; stateless: the same seed gives the same bits.

    Args:
        seed: int32 tensor of shape (2,).
        noise_std: pixel standard deviation, float tensor of any shape.
        power: unit-mean power spectrum (size, size); that of ACS by default.
        size: stamp side where `power` is None, pixels.

    Returns:
        float32 tensor of shape (*noise_std.shape, size, size).
    """
    import tensorflow as tf

    power = acs_noise_power(size) if power is None else power
    power = tf.cast(power, tf.float32)
    size = power.shape[-1]
    noise_std = tf.cast(noise_std, tf.float32)
    shape = tf.concat([tf.shape(noise_std), [size, size]], 0)
    white = tf.random.stateless_normal(shape, seed)
    transfer = tf.cast(tf.sqrt(power[:, : size // 2 + 1]), tf.complex64)
    noise = tf.signal.irfft2d(tf.signal.rfft2d(white) * transfer, [size, size])
    return noise_std[..., tf.newaxis, tf.newaxis] * noise


def to_galsim(image: ArrayLike, pixel_scale: Number = PIXEL_SCALE, **kwargs: Any) -> galsim.InterpolatedImage:
    """A stamp as a GalSim object, to be sheared, convolved and drawn elsewhere.

    The image is taken as it is: if it is convolved with a PSF, so is the object (`galsim.Deconvolve`
    undoes it).

    Args:
        image: array (height, width) or (height, width, 1), counts/s per pixel.
        pixel_scale: arcsec.
        **kwargs: passed to `galsim.InterpolatedImage`.

    Returns:
        `galsim.InterpolatedImage` centred on the middle of the stamp, with the flux of the image.

    Raises:
        ValueError: the image has another shape or is not finite.
    """
    import galsim

    array = np.array(image, np.float64)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 2:
        raise ValueError(f"expected one image (height, width) or (height, width, 1); got shape {array.shape}")
    if not np.all(np.isfinite(array)):
        raise ValueError("the image has values that are not finite")
    scale = float(in_unit(pixel_scale, "arcsec", "pixel_scale"))
    return galsim.InterpolatedImage(galsim.Image(array), scale=scale, **kwargs)


def _fast_length(n):
    """The smallest length >= n with no prime factor above 5."""
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 1
