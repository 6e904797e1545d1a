"""Random convergence maps with given angular power spectra: Gaussian and log-normal, correlated between source bins.

Maps are (..., bins, rows, columns) on a flat, periodic sky: rows along declination, columns along right ascension.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from deepcosmo._graphs import shared
from deepcosmo._types import Number, TensorLike
from deepcosmo.physics._arguments import as_numbers, as_tensor

__all__ = ["LognormalField", "gaussian_maps", "lognormal_from_white", "lognormal_maps", "measured_power"]

_LOWEST = -0.9  # correlation of log-normal fields, over the product of their shifts


def _arcmin(pixel_scale):
    return float(as_numbers(pixel_scale, "arcmin", "pixel_scale"))


def _spectra(c_ell, ell):
    """Spectra (..., bins, bins, n_ell) and multipoles (n_ell,), checked."""
    c_ell, ell = as_tensor(c_ell, "sr", "c_ell"), as_numbers(ell, "", "ell")
    if ell.ndim != 1 or len(ell) < 2 or not (ell[0] > 0 and np.all(np.diff(ell) > 0)):
        raise ValueError(f"ell must be two or more increasing, positive multipoles (n_ell,); got {ell}")
    shape = c_ell.shape
    if shape.rank < 3 or shape[-3] != shape[-2] or shape[-1] != len(ell):
        raise ValueError(f"c_ell must be (..., bins, bins, n_ell) at n_ell = {len(ell)} multipoles; got {shape}")
    return c_ell, ell


def multipoles(shape: Sequence[int], pixel_scale: float) -> np.ndarray:
    """|ell| of the modes of `tf.signal.rfft2d`, (rows, columns // 2 + 1); `pixel_scale` in arcmin."""
    rows, columns = shape
    per_radian = 2 * np.pi / np.radians(pixel_scale / 60)
    return per_radian * np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None])


def multiplicity(columns: int) -> np.ndarray:
    """How many modes of a real map each column of `tf.signal.rfft2d` stands for, 1 or 2: (columns // 2 + 1,)."""
    count = np.full(columns // 2 + 1, 2.0)
    count[0] = 1.0
    if columns % 2 == 0:
        count[-1] = 1.0
    return count


def on_modes(c_ell: tf.Tensor, ell: ArrayLike, shape: Sequence[int], pixel_scale: float) -> tf.Tensor:
    """C(ell) (..., n_ell) at the modes of `tf.signal.rfft2d`, (..., rows, columns // 2 + 1); 0 for the mean.

    ell^2 C(ell) is linear in ln ell, and C(ell) constant outside of the given ell (n_ell,); `pixel_scale` in arcmin.
    """
    return _unfolded(_on_quadrant(c_ell, ell, shape, pixel_scale), shape[0])


# An isotropic spectrum is known from a quarter of its modes, those of wavenumbers (0 to rows // 2, 0 to columns // 2),
# and so is its Fourier transform, which is one of cosines.


def _on_quadrant(c_ell, ell, shape, pixel_scale):
    """C(ell) at the modes of one quadrant, (..., rows // 2 + 1, columns // 2 + 1); 0 for the mean."""
    ell = tuple(map(float, ell))
    left, right, per_mode = _between(ell, tuple(shape), float(pixel_scale), c_ell.dtype)
    scaled = c_ell * tf.cast(np.square(ell), c_ell.dtype)
    power = (1.0 - right) * tf.gather(scaled, left, axis=-1) + right * tf.gather(scaled, left + 1, axis=-1)
    return power * per_mode


@functools.lru_cache(maxsize=4)
def _between(ell, shape, pixel_scale, dtype):
    """Where the modes of a quadrant lie among multipoles: the number of the one below, the share of the one above, and
    1 / ell^2, which is 0 for the mean."""
    exact = multipoles(shape, pixel_scale)[: shape[0] // 2 + 1]
    modes = np.clip(exact, ell[0], ell[-1])
    place = np.interp(np.log(modes), np.log(ell), np.arange(len(ell)))
    left = np.minimum(place.astype("int32"), len(ell) - 2)
    return shared(left), shared(place - left, dtype), shared(np.where(exact > 0, 1.0, 0.0) / modes**2, dtype)


def _unfolded(quadrant, rows):
    """All modes (..., rows, n) of a spectrum (..., rows // 2 + 1, n)."""
    return tf.concat([quadrant, tf.reverse(quadrant[..., 1 : (rows + 1) // 2, :], [-2])], -2)


@functools.lru_cache(maxsize=4)
def _cosines(n, dtype):
    """The transform of symmetric arrays of length n, by their first n // 2 + 1 values: a matrix."""
    k = np.arange(n // 2 + 1)
    return shared(multiplicity(n) * np.cos(2 * np.pi * np.outer(k, k) / n), dtype)


def _transformed(quadrant, shape):
    """Fourier transform of a symmetric array by quadrants of both; its own inverse but for the number of pixels."""
    rows, columns = (_cosines(n, quadrant.dtype) for n in shape)
    return rows @ quadrant @ tf.transpose(columns)


def cholesky(power: tf.Tensor) -> tf.Tensor:
    """Lower triangular factors over the bins of spectra (..., bins, bins, y, x).

    Correlations of logarithms need not be those of any field, nor rounded spectra that are nearly dependent: no bin
    takes more from another than is left of its own variance, so that the variance at least is always right.
    """
    variances = tf.einsum("...iiyx->...iyx", power)
    largest = tf.reduce_max(variances, -3, keepdims=True)
    floor = 1e-6 * tf.where(largest > 0, largest, tf.ones_like(largest))
    columns = []
    for i in range(power.shape[-4]):
        most = tf.sqrt(tf.maximum(variances, floor))
        column = tf.clip_by_value(power[..., i, :, :, :] / most[..., i : i + 1, :, :], -most, most)
        column = tf.concat([tf.zeros_like(column[..., :i, :, :]), column[..., i:, :, :]], -3)
        columns.append(tf.where(largest > 0, column, tf.zeros_like(column)))
        power = power - columns[-1][..., :, None, :, :] * columns[-1][..., None, :, :, :]
        variances = variances - tf.square(columns[-1])
    return tf.stack(columns, -3)


def white_precision(response: tf.Tensor) -> tf.Tensor:
    """Lower triangular roots of 1 + S'S, the precision of white noise given maps that are S = `response` (..., bins,
    bins, y, x) times it, with noise of unit variance."""
    # products of matrices as sums that XLA fuses
    precision = tf.reduce_sum(response[..., :, :, None, :, :] * response[..., :, None, :, :, :], -5)
    return cholesky(precision + tf.eye(response.shape[-3], dtype=response.dtype)[..., None, None])


def inverted(lower: tf.Tensor) -> tf.Tensor:
    """Inverses of lower triangular matrices (..., n, n, y, x), a row after the other."""
    n = lower.shape[-4]
    rows = []
    for i in range(n):
        row = tf.broadcast_to(tf.one_hot(i, n, dtype=lower.dtype)[:, None, None], tf.shape(lower[..., i, :, :, :]))
        for j in range(i):
            row -= lower[..., i, j, None, :, :] * rows[j]
        rows.append(row / lower[..., i, i, None, :, :])
    return tf.stack(rows, -4)


def _coloured(modes, root, shape, pixel_scale):
    """Maps (..., bins, rows, columns) from modes of white noise; the root is that of a quadrant's spectra."""
    maps = tf.signal.irfft2d(mixed(root, modes), shape)
    return maps * tf.cast(np.degrees(60) / pixel_scale, maps.dtype)


def mixed(matrices: tf.Tensor, modes: tf.Tensor) -> tf.Tensor:
    """Products of matrices (..., n, bins, y, x), real and known at the modes of a quadrant, and vectors of modes
    (..., bins, rows, columns // 2 + 1), complex: (..., n, rows, columns // 2 + 1)."""
    matrices = _unfolded(tf.cast(matrices, modes.dtype.real_dtype), modes.shape[-2])
    parts = tf.math.real(modes), tf.math.imag(modes)
    return tf.complex(*(tf.reduce_sum(matrices * part[..., None, :, :, :], -3) for part in parts))


def _white(c_ell, shape, seed):
    pixels = tf.concat([tf.shape(c_ell)[:-2], shape], 0)
    white = tf.random.stateless_normal(pixels, seed, dtype=c_ell.dtype)
    return tf.ensure_shape(white, [*c_ell.shape[:-2], *shape])


def gaussian_maps(
    c_ell: TensorLike, ell: ArrayLike, *, shape: Sequence[int], pixel_scale: Number, seed: TensorLike
) -> tf.Tensor:
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
    (c_ell, ell), pixel_scale = _spectra(c_ell, ell), _arcmin(pixel_scale)
    root = cholesky(_on_quadrant(c_ell, ell, shape, pixel_scale))
    return _coloured(tf.signal.rfft2d(_white(c_ell, shape, seed)), root, shape, pixel_scale)


def lognormal_maps(
    c_ell: TensorLike, ell: ArrayLike, shift: TensorLike, *, shape: Sequence[int], pixel_scale: Number, seed: TensorLike
) -> tf.Tensor:
    """Log-normal convergence maps (Hilbert et al. 2011, arXiv:1105.3980): kappa + shift is log-normal.

    Args:
        shift: minus the smallest possible convergence, positive, (..., bins) or one number for all bins: the larger,
            the more Gaussian. Other arguments as of `gaussian_maps`.

    Returns:
        (..., bins, rows, columns). Their two-point function on the pixels is that of `c_ell`, exactly where a
        Gaussian field can give it; skewness is (exp(s) + 2) sqrt(exp(s) - 1), s = ln(1 + var / shift^2). No field that
        is log-normal has correlations below minus the product of two shifts; those below 0.9 of it count as that.
    """
    c_ell, ell = _spectra(c_ell, ell)
    return lognormal_from_white(_white(c_ell, shape, seed), c_ell, ell, shift, pixel_scale=pixel_scale)


def lognormal_from_white(
    white: tf.Tensor, c_ell: TensorLike, ell: ArrayLike, shift: TensorLike, *, pixel_scale: Number
) -> tf.Tensor:
    """As `lognormal_maps`, from white noise (..., bins, rows, columns): differentiable in it and in all else.

    Maps have the precision of the noise; spectra may be of a higher one.
    """
    field = LognormalField.of(c_ell, ell, shift, shape=list(white.shape[-2:]), pixel_scale=pixel_scale)
    return field.from_modes(tf.signal.rfft2d(white))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LognormalField:
    """Log-normal maps as functions of the modes of the white noise that they are made from.

    Attributes:
        root: of the spectra of logarithms, lower triangular matrices over the bins at the modes of a quadrant,
            (..., bins, bins, rows // 2 + 1, columns // 2 + 1).
        variance: of the logarithms (..., bins).
        shift: of `lognormal_maps`, (..., bins).
        shape: (rows, columns).
        pixel_scale: arcmin.
    """

    root: tf.Tensor
    variance: tf.Tensor
    shift: tf.Tensor
    shape: tuple
    pixel_scale: float

    @classmethod
    def of(
        cls, c_ell: TensorLike, ell: ArrayLike, shift: TensorLike, *, shape: Sequence[int], pixel_scale: Number
    ) -> LognormalField:
        """The field with the spectra and shifts of `lognormal_maps`."""
        (c_ell, ell), pixel_scale = _spectra(c_ell, ell), _arcmin(pixel_scale)
        bins = c_ell.shape[-2]
        shift = tf.cast(as_tensor(shift, "", "shift"), c_ell.dtype)
        if shift.shape.rank and shift.shape[-1] not in (1, bins):
            raise ValueError(f"shift must be a number or (..., bins) of {bins} bins; got {shift.shape}")
        shift = shift * tf.ones([bins], c_ell.dtype)
        area = np.radians(pixel_scale / 60) ** 2
        first, second = np.tril_indices(bins)  # a pair of bins once, not twice
        pair = np.zeros((bins, bins), int)
        pair[first, second] = pair[second, first] = np.arange(len(first))
        flat = tf.reshape(c_ell, tf.concat([tf.shape(c_ell)[:-3], [bins**2, len(ell)]], 0))
        c_ell = tf.gather(flat, first * bins + second, axis=-2)
        correlation = _transformed(_on_quadrant(c_ell, ell, shape, pixel_scale), shape) / (area * np.prod(shape))
        product = tf.gather(shift, first, axis=-1) * tf.gather(shift, second, axis=-1)
        gaussian = tf.math.log1p(tf.maximum(correlation / product[..., None, None], _LOWEST))
        power = tf.gather(_transformed(gaussian, shape) * area, pair, axis=-3)
        variance = tf.gather(gaussian[..., 0, 0], np.diag(pair), axis=-1)
        return cls(root=cholesky(power), variance=variance, shift=shift, shape=tuple(shape), pixel_scale=pixel_scale)

    def from_modes(self, modes: tf.Tensor) -> tf.Tensor:
        """Maps (..., bins, rows, columns) of modes (..., bins, rows, columns // 2 + 1), in their precision."""
        logarithm = _coloured(modes, self.root, list(self.shape), self.pixel_scale)
        variance, shift = (tf.cast(v, logarithm.dtype)[..., None, None] for v in (self.variance, self.shift))
        return shift * (tf.exp(logarithm - 0.5 * variance) - 1.0)

    def response(self) -> tf.Tensor:
        """What maps are of the white noise as far as the logarithm is linear: lower triangular matrices over the bins
        for the modes of a quadrant, (..., bins, bins, rows // 2 + 1, columns // 2 + 1)."""
        return self.root * (self.shift[..., :, None, None, None] * np.degrees(60) / self.pixel_scale)


def measured_power(maps: TensorLike, *, pixel_scale: Number, edges: ArrayLike) -> tuple[np.ndarray, tf.Tensor]:
    """Angular power spectra of maps in bins of ell.

    Args:
        maps: (..., bins, rows, columns).
        pixel_scale: arcmin.
        edges: multipoles (n + 1,).

    Returns:
        mean multipole of each bin (n,), and spectra (..., bins, bins, n), steradian.
    """
    maps, pixel_scale, edges = as_tensor(maps, "", "maps"), _arcmin(pixel_scale), as_numbers(edges, "", "edges")
    if maps.shape.rank < 3:
        raise ValueError(f"maps must be (..., bins, rows, columns); got {maps.shape}")
    if edges.ndim != 1 or len(edges) < 2 or not np.all(np.diff(edges) > 0):
        raise ValueError(f"edges must be increasing multipoles (n + 1,); got {edges}")
    rows, columns = maps.shape[-2:]
    select, ell = _selection(rows, columns, pixel_scale, tuple(edges.tolist()))
    f = _flat(tf.signal.rfft2d(maps))
    products = tf.math.real(f[..., :, None, :] * tf.math.conj(f[..., None, :, :]))
    scale = np.radians(pixel_scale / 60) ** 2 / (rows * columns)
    spectra = tf.einsum("...ijm,nm->...ijn", products, tf.cast(select * scale, products.dtype))
    return ell, spectra


def mean_in_bands(modes: tf.Tensor, shape: Sequence[int], pixel_scale: float, edges: Iterable[float]) -> tf.Tensor:
    """Means (..., n) of an array of modes (..., rows, columns // 2 + 1) over the bins of `measured_power`."""
    select, _ = _selection(*shape, float(pixel_scale), tuple(map(float, edges)))
    return tf.linalg.matmul(_flat(modes), tf.cast(select, modes.dtype), transpose_b=True)


def band_matrix(
    ell: Sequence[float] | np.ndarray, shape: Sequence[int], pixel_scale: float, edges: Iterable[float]
) -> tf.Tensor:
    """Matrix (n_ell, n) from spectra at multipoles ell to their means over the bins of `measured_power`."""
    modes = on_modes(tf.eye(len(ell), dtype=tf.float64), ell, shape, pixel_scale)
    return mean_in_bands(modes, shape, pixel_scale, edges)


def _flat(modes):
    return tf.reshape(modes, tf.concat([tf.shape(modes)[:-2], [modes.shape[-2] * modes.shape[-1]]], 0))


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
