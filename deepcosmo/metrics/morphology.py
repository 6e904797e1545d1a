"""Morphology of galaxy stamps: adaptive moments, aperture photometry, and non-parametric shape statistics.

Everything is measured on the image as seen (with its PSF and noise): compare like with like, the same PSF
and noise on both sides. Stamps hold one galaxy near their centre on a background of zero.
"""

import functools

import galsim
import numpy as np
import scipy.fft
import scipy.ndimage
from numpy.typing import ArrayLike

from deepcosmo._parallel import ordered_map
from deepcosmo.metrics import apertures

__all__ = ["FAILED_MOMENTS", "FAILED_PETROSIAN", "STATISTICS", "TRUNCATED", "UNDETECTED", "measure"]

STATISTICS = (
    "flux",
    "magnitude",
    "half_light_radius",
    "size",
    "g1",
    "g2",
    "g",
    "rho4",
    "gini",
    "m20",
    "concentration",
    "asymmetry",
)

# Bits of `flag`.
UNDETECTED = 1  # nothing above the threshold near the centre, or no positive flux: moments only
FAILED_MOMENTS = 2  # HSM did not converge: size, g1, g2, g, rho4 are NaN
FAILED_PETROSIAN = 4  # no half-light or Petrosian radius in the stamp: what needs it is NaN
TRUNCATED = 8  # an aperture leaves the stamp: flux and radii are too low

_SMOOTHING = 2.5  # px, Gaussian sigma of the detection image
_THRESHOLD = 0.6  # detection threshold on the smoothed image, in units of the pixel noise
_PIVOT_SEARCH = 4  # half px, how far the centre of rotation may be from the centroid


def measure(
    images: ArrayLike, *, noise_std: ArrayLike, pixel_scale: float = 0.03, zero_point: float = 25.94, workers: int = 1
) -> dict[str, np.ndarray]:
    """Measures the morphology of each stamp.

    - `size` (adaptive sigma, arcsec), `g1`, `g2`, `g` = |g| (reduced shear), `rho4`: adaptive moments by
      GalSim's HSM, not corrected for the PSF (Hirata & Seljak 2003, astro-ph/0301054). `rho4` is 2
      for a Gaussian.
    - `flux`, `magnitude`: inside an elliptical aperture of 2.5 Kron radii, at least 3.5 isophotal sigmas: the
      MAG_AUTO of SExtractor (Bertin & Arnouts 1996). It holds about 94% of a galaxy's light.
    - `half_light_radius` (arcsec): circle that holds half of `flux`: the FLUX_RADIUS of SExtractor.
    - `gini`, `m20`: over the pixels above the surface brightness at the (elliptical) Petrosian radius in the
      image smoothed by a fifth of that radius (Lotz, Primack & Madau 2004, astro-ph/0311352).
    - `concentration`: 5 log10(r80 / r20) of the light within 1.5 (circular) Petrosian radii (Conselice
      2003, astro-ph/0303065).
    - `asymmetry`: sum |I - I_180| / sum |I| within 1.5 Petrosian radii, less what noise adds to the sum
      (2 `noise_std` / sqrt(pi) per pixel). The centre of rotation minimises sum (I - I_180)^2: it is where
      the self-convolution peaks, to a fraction of a pixel.

    Args:
      images: (n, h, w) or (n, h, w, 1), counts per pixel.
      noise_std: standard deviation of the pixel noise, scalar or (n,), positive: a small value for images
        without noise. It sets the detection threshold.
      pixel_scale: arcsec per pixel.
      zero_point: AB magnitude of one count.
      workers: number of processes; more than one pay from some thousands of stamps.

    Returns:
      Dict of (n,) arrays: the names in `STATISTICS`, float64 with NaN where a measurement failed, and `flag`,
      int.

    Raises:
      ValueError: images of another shape or with NaN, noise not positive.
    """
    images = np.asarray(images)
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    if images.ndim != 3 or min(images.shape[1:]) < 16:
        raise ValueError(
            f"images must have shape (n, h, w) or (n, h, w, 1), at least 16 pixels a side, not {images.shape}"
        )
    if not np.isfinite(images).all():
        bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2)))
        raise ValueError(f"{len(bad)} images have NaN or infinite pixels, the first is number {bad[0]}")
    noise_std = np.asarray(noise_std, np.float64)
    if noise_std.shape not in ((), (len(images),)):
        raise ValueError(f"noise_std must be a scalar or of shape ({len(images)},), not {noise_std.shape}")
    if not (np.isfinite(noise_std) & (noise_std > 0)).all():
        raise ValueError("noise_std must be positive")
    if not (pixel_scale > 0 and workers >= 1):
        raise ValueError("pixel_scale must be positive and workers at least 1")
    noise_std = np.broadcast_to(noise_std, len(images))
    images = images.astype(np.float32, copy=False)

    chunks = max(workers, len(images) // 256)
    tasks = zip(np.array_split(images, chunks), np.array_split(noise_std, chunks), strict=True)
    rows = np.concatenate(list(ordered_map(_measure_chunk, tasks, workers)))
    out = dict(
        zip(
            (
                "flux",
                "half_light_radius",
                "size",
                "g1",
                "g2",
                "rho4",
                "gini",
                "m20",
                "concentration",
                "asymmetry",
                "flag",
            ),
            rows.T,
            strict=True,
        )
    )
    out["size"] = out["size"] * pixel_scale
    out["half_light_radius"] = out["half_light_radius"] * pixel_scale
    out["magnitude"] = zero_point - 2.5 * np.log10(out["flux"])
    out["g"] = np.hypot(out["g1"], out["g2"])
    return {name: out[name] for name in STATISTICS} | {"flag": out["flag"].astype(int)}


def _measure_chunk(task):
    rows = [_measure_one(image, std) for image, std in zip(*task, strict=True)]
    return np.array(rows).reshape(-1, 11)


def _measure_one(image, noise_std):
    """Flux, half-light radius, size, g1, g2, rho4, gini, m20, concentration, asymmetry (pixels), flag."""
    nan = np.nan
    spectrum = scipy.fft.rfft2(image)
    source = _detect(_smooth(spectrum, image.shape, _SMOOTHING), noise_std)
    centre, shape = (None, None) if source is None else _isophotal_moments(image, source)
    moments = _adaptive_moments(image, centre, shape)
    flag = FAILED_MOMENTS if np.isnan(moments[0]) else 0
    if shape is None:
        return nan, nan, *moments, nan, nan, nan, nan, UNDETECTED | flag

    ellipse = apertures.elliptical_radius(image.shape, centre, shape)
    minor, major = np.sqrt(np.linalg.eigvalsh(shape))
    flux, kron = apertures.kron_flux(image, ellipse, centre, major)
    if not flux > 0:
        return nan, nan, *moments, nan, nan, nan, nan, UNDETECTED | flag
    growth = apertures.circular_growth(image, centre)
    half_light = apertures.radius_of(growth, 0.5 * flux)
    petrosian = apertures.petrosian_radius(growth)
    ellipse *= np.float32(np.sqrt(minor * major))  # from here on circularised, px
    gini, m20 = _gini_m20(image, spectrum, centre, ellipse, np.sqrt(major / minor))
    concentration = asymmetry = nan
    if petrosian > 0:
        total = np.interp(1.5 * petrosian, growth.radius, growth.flux)
        r20, r80 = (apertures.radius_of(growth, fraction * total) for fraction in (0.2, 0.8))
        concentration = 5 * np.log10(r80 / r20)
        asymmetry = _asymmetry(image, centre, 1.5 * petrosian, noise_std)

    edge = min(*centre, image.shape[0] - 1 - centre[0], image.shape[1] - 1 - centre[1]) + 0.5
    if np.isnan([half_light, concentration, gini, m20, asymmetry]).any():
        flag |= FAILED_PETROSIAN
    if kron > edge or 1.5 * petrosian > edge:
        flag |= TRUNCATED
    return flux, half_light, *moments, gini, m20, concentration, asymmetry, flag


# Detection and moments.


@functools.lru_cache(maxsize=64)
def _frequencies(shape):
    """Angular frequencies along rows (h, 1) and columns (1, w // 2 + 1), radians per pixel."""
    return (
        2 * np.pi * np.fft.fftfreq(shape[0]).astype(np.float32)[:, None],
        2 * np.pi * np.fft.rfftfreq(shape[1]).astype(np.float32)[None],
    )


def _smooth(spectrum, shape, sigma):
    """The image convolved with a Gaussian (px)."""
    ky, kx = _frequencies(shape)
    blurred = spectrum * np.exp(-0.5 * (sigma * ky) ** 2)
    blurred *= np.exp(-0.5 * (sigma * kx) ** 2)
    return scipy.fft.irfft2(blurred, shape, overwrite_x=True)


def _detect(smooth, noise_std):
    """Mask of the central source above the threshold, or None."""
    h, w = smooth.shape
    centre = smooth[h // 2 - h // 8 : h // 2 + h // 8, w // 2 - w // 8 : w // 2 + w // 8]
    row, column = np.unravel_index(np.argmax(centre), centre.shape)
    peak = row + h // 2 - h // 8, column + w // 2 - w // 8
    return _connected(smooth > _THRESHOLD * noise_std, peak)


def _connected(mask, pixel):
    """The part of the mask that is connected to a pixel, or None where that pixel is not in it."""
    if not mask[pixel]:
        return None
    labels, _ = scipy.ndimage.label(mask)
    return labels == labels[pixel]


def _isophotal_moments(image, source):
    """Centre (row, column) and covariance matrix (2, 2) of the light in the mask, or None and None."""
    rows, columns = np.nonzero(source)
    weight = image[rows, columns].astype(np.float64)
    total = weight.sum()
    if not total > 0:
        return None, None
    centre = (rows * weight).sum() / total, (columns * weight).sum() / total
    dy, dx = rows - centre[0], columns - centre[1]
    yy, xy, xx = ((first * second * weight).sum() / total for first, second in ((dy, dy), (dy, dx), (dx, dx)))
    shape = np.array([[yy + 1 / 12, xy], [xy, xx + 1 / 12]])  # the pixel itself: keeps the matrix regular
    if not (np.trace(shape) > 0 and np.linalg.det(shape) > 0):
        return None, None
    return centre, shape


def _adaptive_moments(image, centre, shape):
    """Size (px), g1, g2, rho4; NaN where HSM fails."""
    guess = {}
    if shape is not None:  # a good start halves the number of iterations
        guess = {
            "guess_centroid": galsim.PositionD(centre[1], centre[0]),
            "guess_sig": float(np.linalg.det(shape)) ** 0.25,
        }
    result = galsim.hsm.FindAdaptiveMom(galsim.Image(image, xmin=0, ymin=0, scale=1.0), strict=False, **guess)
    if result.moments_status != 0 or not result.moments_amp > 0:
        return (np.nan,) * 4
    g = result.observed_shape
    return result.moments_sigma, g.g1, g.g2, result.moments_rho4


# Non-parametric statistics.


def _gini_m20(image, spectrum, centre, radius, stretch):
    """Gini and M20 over the galaxy's pixels; `radius` is circularised, times `stretch` the semi-major axis.

    The galaxy: connected pixels of the smoothed image above its surface brightness at the Petrosian radius.
    """
    nothing = np.nan, np.nan
    petrosian = apertures.petrosian_radius(apertures.elliptical_growth(image, radius))
    if not petrosian > 0:
        return nothing
    smooth = _smooth(spectrum, image.shape, 0.2 * petrosian * stretch)
    box = apertures.box(image.shape, centre, 1.5 * petrosian * stretch)
    image, smooth, radius = image[box], smooth[box], radius[box]
    annulus = np.abs(radius - petrosian) < 0.5
    if not annulus.any():
        return nothing
    inside = (smooth >= smooth[annulus].mean()) & (radius < 1.5 * petrosian)
    galaxy = _connected(inside, np.unravel_index(np.argmin(radius), radius.shape))
    if galaxy is None:
        return nothing
    rows, columns = np.nonzero(galaxy)
    light = image[galaxy].astype(np.float64)
    n, total = len(light), light.sum()
    if n < 2 or not total > 0:
        return nothing
    magnitude = np.sort(np.abs(light))
    gini = ((2 * np.arange(1, n + 1) - n - 1) * magnitude).sum() / (magnitude.sum() * (n - 1))

    # The second moment is least about the centroid of these pixels.
    y, x = (rows * light).sum() / total, (columns * light).sum() / total
    second = light * ((rows - y) ** 2 + (columns - x) ** 2)
    order = np.argsort(light)[::-1]
    brightest = order[: max(np.searchsorted(np.cumsum(light[order]), 0.2 * total), 1)]
    part, whole = second[brightest].sum(), second.sum()
    return gini, np.log10(part / whole) if part > 0 and whole > 0 else np.nan


def _asymmetry(image, centre, extent, noise_std):
    """Rotational asymmetry within a circle, less the part of the noise, or NaN."""
    box = apertures.box(image.shape, centre, extent + 5)
    image, centre = image[box], np.array([c - edge.start for c, edge in zip(centre, box, strict=True)])
    h, w = image.shape
    y, x = apertures.pixels(image.shape)

    def within(centre):
        return (y - np.float32(centre[0])) ** 2 + (x - np.float32(centre[1])) ** 2 < extent**2

    # sum (I(x) - I(p - x))^2 is least where the self-convolution peaks, at p = twice the centre of rotation.
    # The transforms are periodic, but the box is wider than twice the extent: nothing reaches round to it.
    size = tuple(scipy.fft.next_fast_len(n, real=True) for n in image.shape)
    overlap = scipy.fft.irfft2(scipy.fft.rfft2(np.where(within(centre), image, 0), size) ** 2, size)
    first = np.rint(2 * centre).astype(int) - _PIVOT_SEARCH - 1
    rows, columns = ((start + np.arange(2 * _PIVOT_SEARCH + 3)) % n for start, n in zip(first, size, strict=True))
    overlap = overlap[rows[:, None], columns]
    i, j = np.unravel_index(np.argmax(overlap[1:-1, 1:-1]), (2 * _PIVOT_SEARCH + 1,) * 2)
    pivot = first + (i + 1, j + 1) + _vertex(overlap[i : i + 3, j : j + 3])

    ky, kx = _frequencies(size)
    phase = np.exp(-1j * np.float32(pivot[0]) * ky) * np.exp(-1j * np.float32(pivot[1]) * kx)
    rotated = scipy.fft.irfft2(np.conj(scipy.fft.rfft2(image, size)) * phase, size)[:h, :w]
    compared = within((pivot[0] / 2, pivot[1] / 2))
    compared &= (np.abs(pivot[0] - y - (h - 1) / 2) <= h / 2) & (np.abs(pivot[1] - x - (w - 1) / 2) <= w / 2)
    light = np.abs(image[compared]).sum(dtype=np.float64)
    difference = np.abs(image[compared] - rotated[compared]).sum(dtype=np.float64)
    noise = compared.sum() * 2 * noise_std / np.sqrt(np.pi)  # the mean |difference| of two noise pixels
    return (difference - noise) / light if light > 0 else np.nan


def _vertex(values):
    """Offset of the maximum of the quadratic through 3 by 3 values, at most one step."""
    gradient = 0.5 * np.array([values[2, 1] - values[0, 1], values[1, 2] - values[1, 0]], np.float64)
    yy = values[0, 1] - 2.0 * values[1, 1] + values[2, 1]
    xx = values[1, 0] - 2.0 * values[1, 1] + values[1, 2]
    xy = 0.25 * (values[0, 0] + values[2, 2] - values[0, 2] - values[2, 0])
    determinant = yy * xx - xy * xy
    if not determinant > 0:
        return np.zeros(2)
    y, x = gradient
    return np.clip([xy * x - xx * y, xy * y - yy * x] / determinant, -1, 1)
