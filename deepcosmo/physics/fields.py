"""Random convergence maps with given angular power spectra: Gaussian and log-normal, correlated between source bins.

Maps are (..., bins, rows, columns) on a flat, periodic sky: rows along declination, columns along right ascension.
"""

import functools

import numpy as np
import tensorflow as tf

__all__ = ["gaussian_maps", "lognormal_maps", "measured_power"]


def multipoles(shape, pixel_scale):
    """|ell| of the modes of `tf.signal.rfft2d`, (rows, columns // 2 + 1); `pixel_scale` in arcmin."""
    rows, columns = shape
    per_radian = 2 * np.pi / np.radians(pixel_scale / 60)
    return per_radian * np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None])


def multiplicity(columns):
    """How many modes of a real map each column of `tf.signal.rfft2d` stands for, 1 or 2: (columns // 2 + 1,)."""
    count = np.full(columns // 2 + 1, 2.0)
    count[0] = 1.0
    if columns % 2 == 0:
        count[-1] = 1.0
    return count


def on_modes(c_ell, ell, shape, pixel_scale):
    """C(ell) (..., n_ell) at the modes of `tf.signal.rfft2d`, (..., rows, columns // 2 + 1); 0 for the mean.

    ell^2 C(ell) is linear in ln ell, and C(ell) constant outside of the given ell (n_ell,); `pixel_scale` in arcmin.
    """
    ell = np.asarray(ell, float)
    modes = np.clip(multipoles(shape, pixel_scale), ell[0], ell[-1])
    place = np.interp(np.log(modes), np.log(ell), np.arange(len(ell)))
    left = np.minimum(place.astype(int), len(ell) - 2)
    right = tf.cast(place - left, c_ell.dtype)
    scaled = c_ell * tf.cast(ell**2, c_ell.dtype)
    power = (1.0 - right) * tf.gather(scaled, left, axis=-1) + right * tf.gather(scaled, left + 1, axis=-1)
    return power * tf.cast(np.where(multipoles(shape, pixel_scale) > 0, 1.0, 0.0) / modes**2, c_ell.dtype)


def _realised(power, shape, pixel_scale, seed):
    """Gaussian maps whose modes have the covariance `power` (..., bins, bins, rows, half columns)."""
    matrices = tf.einsum("...ijyx->...yxij", power)
    # rounding must not spoil spectra that are nearly dependent, nor the mean, which has no power
    largest = tf.reduce_max(tf.linalg.diag_part(matrices), -1)[..., None, None]
    bins = matrices.shape[-1]
    floor = tf.where(largest > 0, 1e-6 * largest, tf.ones_like(largest))
    root = tf.linalg.cholesky(matrices + floor * tf.eye(bins, dtype=matrices.dtype))
    root = tf.where(largest > 0, root, tf.zeros_like(root))
    pixels = tf.concat([tf.shape(power)[:-4], [bins], shape], 0)
    white = tf.random.stateless_normal(pixels, seed, dtype=power.dtype)
    root = tf.cast(root, _complex(power.dtype))
    modes = tf.einsum("...yxij,...jyx->...iyx", root, tf.signal.rfft2d(white))
    return tf.signal.irfft2d(modes, shape) * np.degrees(60) / pixel_scale


def _complex(dtype):
    return "complex128" if dtype == tf.float64 else "complex64"


def gaussian_maps(c_ell, ell, *, shape, pixel_scale, seed):
    """Gaussian convergence maps.

    Args:
        c_ell: spectra (..., bins, bins, n_ell), as of `cosmology.angular_power`.
        ell: increasing multipoles (n_ell,); power outside of them is that at the ends.
        shape: (rows, columns).
        pixel_scale: arcmin.
        seed: int32[2].

    Returns:
        (..., bins, rows, columns), of mean 0.
    """
    c_ell = tf.convert_to_tensor(c_ell)
    return _realised(on_modes(c_ell, ell, shape, pixel_scale), list(shape), pixel_scale, seed)


def lognormal_maps(c_ell, ell, shift, *, shape, pixel_scale, seed):
    """Log-normal convergence maps (Hilbert et al. 2011, arXiv:1105.3980): kappa + shift is log-normal.

    Args:
        shift: minus the smallest possible convergence, positive, (..., bins): the larger, the more Gaussian.
            Other arguments as of `gaussian_maps`.

    Returns:
        (..., bins, rows, columns). Their two-point function on the pixels is that of `c_ell`, exactly where a
        Gaussian field can give it; skewness is (exp(s) + 2) sqrt(exp(s) - 1), s = ln(1 + var / shift^2).
    """
    c_ell, shape = tf.convert_to_tensor(c_ell), list(shape)
    shift = tf.cast(shift, c_ell.dtype)
    area = np.radians(pixel_scale / 60) ** 2
    power = on_modes(c_ell, ell, shape, pixel_scale) / area  # of unnormalised modes, per pixel
    complex_type = _complex(c_ell.dtype)
    correlation = tf.signal.irfft2d(tf.cast(power, complex_type), shape)
    product = (shift[..., :, None] * shift[..., None, :])[..., None, None]
    gaussian = tf.math.log1p(correlation / product)
    variance = tf.linalg.diag_part(gaussian[..., 0, 0])[..., None, None]
    power = tf.math.real(tf.signal.rfft2d(gaussian)) * area
    maps = _realised(tf.cast(power, c_ell.dtype), shape, pixel_scale, seed)
    return shift[..., None, None] * (tf.exp(maps - 0.5 * variance) - 1.0)


def measured_power(maps, *, pixel_scale, edges):
    """Angular power spectra of maps in bins of ell.

    Args:
        maps: (..., bins, rows, columns).
        pixel_scale: arcmin.
        edges: multipoles (n + 1,).

    Returns:
        mean multipole of each bin (n,), and spectra (..., bins, bins, n), steradian.
    """
    maps = tf.convert_to_tensor(maps)
    rows, columns = maps.shape[-2:]
    select, ell = _selection(rows, columns, float(pixel_scale), tuple(map(float, edges)))
    f = tf.signal.rfft2d(maps)
    f = tf.reshape(f, tf.concat([tf.shape(f)[:-2], [select.shape[1]]], 0))
    products = tf.math.real(f[..., :, None, :] * tf.math.conj(f[..., None, :, :]))
    scale = np.radians(pixel_scale / 60) ** 2 / (rows * columns)
    spectra = tf.einsum("...ijm,nm->...ijn", products, tf.cast(select * scale, products.dtype))
    return ell, spectra


@functools.lru_cache(maxsize=2)
def _selection(rows, columns, pixel_scale, edges):
    """Share of each mode in the mean of each bin, (bins, modes), and the mean multipoles of bins."""
    modes = multipoles((rows, columns), pixel_scale)
    weight = np.broadcast_to(multiplicity(columns), modes.shape)
    label = np.digitize(modes, edges) - 1
    count = len(edges) - 1
    inside = (label >= 0) & (label < count)
    select = np.zeros((count, modes.size))
    select[label[inside], np.flatnonzero(inside)] = weight[inside]
    select /= np.maximum(select.sum(1, keepdims=True), 1e-30)
    return select, select @ modes.ravel()
