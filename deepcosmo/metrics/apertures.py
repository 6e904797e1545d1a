"""Aperture photometry of one stamp: growth curves, Kron fluxes, Petrosian radii. Lengths in pixels.

Positions are (row, column), the first pixel's centre is (0, 0). Pixels on the edge of an aperture count in
part.
"""

import functools
import typing
from collections.abc import Sequence

import numpy as np

__all__ = [
    "Growth",
    "box",
    "circular_growth",
    "elliptical_growth",
    "elliptical_radius",
    "kron_flux",
    "petrosian_radius",
    "pixels",
    "radius_of",
]

_STEP = 0.25  # px, step of the growth curve
_CORE = 6  # px, half width of the core where the growth curve splits pixels, as SExtractor does
_SUBPIXELS = 5  # a side
_PETROSIAN_RATIO = 0.2  # surface brightness at the Petrosian radius over the mean within it


@functools.lru_cache(maxsize=64)
def pixels(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Row (h, 1) and column (1, w) numbers."""
    return np.arange(shape[0], dtype=np.float32)[:, None], np.arange(shape[1], dtype=np.float32)[None]


def box(shape: Sequence[int], centre: Sequence[float], extent: float) -> tuple[slice, ...]:
    """Slices of the square about the centre, clipped to the stamp."""
    return tuple(
        slice(max(int(c - extent), 0), min(int(c + extent) + 2, size)) for c, size in zip(centre, shape, strict=True)
    )


def elliptical_radius(shape: tuple[int, int], centre: Sequence[float], covariance: np.ndarray) -> np.ndarray:
    """Radius of each pixel in units of the standard ellipse of the covariance, (h, w)."""
    y, x = pixels(shape)
    (a, b), (_, d) = np.linalg.inv(covariance).astype(np.float32)
    dy, dx = y - np.float32(centre[0]), x - np.float32(centre[1])
    return np.sqrt(a * dy * dy + d * dx * dx + (2 * b * dy) * dx)


def kron_flux(image: np.ndarray, ellipse: np.ndarray, centre: Sequence[float], major: float) -> tuple[float, float]:
    """Flux in the Kron aperture and that aperture's semi-major axis, px.

    The aperture of SExtractor's MAG_AUTO: 2.5 times the first moment of the light within 6 standard ellipses,
    at least 3.5 of them. `ellipse` is from `elliptical_radius`, `major` the standard one's semi-major axis.
    """
    near = box(image.shape, centre, 6 * major)
    inside = ellipse[near] < 6
    light, distance = image[near][inside], ellipse[near][inside]
    total, first_moment = light.sum(), (distance * light).sum()
    radius = 3.5
    if total > 0 and first_moment > 0:
        radius = max(2.5 * min(float(first_moment / total), 6.0), radius)
    near = box(image.shape, centre, radius * major + 1)
    overlap = np.clip((radius - ellipse[near]) * major + 0.5, 0, 1)
    return float((overlap * image[near]).sum(dtype=np.float64)), radius * major


class Growth(typing.NamedTuple):
    """Light and area within circles, on a grid of radii in px."""

    radius: np.ndarray
    flux: np.ndarray
    area: np.ndarray


def _cumulate(radius, light, extent):
    """Light and area within circles up to `extent`: clip(j - r + 1/2, 0, 1) of a pixel at r is in j."""
    size = int(extent) + 3
    position = np.minimum(radius.ravel() + np.float32(0.5), np.float32(size - 2))
    first = position.astype(np.intp)
    fraction = position - first
    grid = np.arange(0, size - 1, _STEP)

    def sums(whole, part):
        counts = whole - part
        counts[1:] += part[:-1]
        return np.interp(grid, np.arange(size), np.cumsum(counts))

    light = light.ravel()
    flux = sums(np.bincount(first, light, size), np.bincount(first, light * fraction, size))
    area = sums(np.bincount(first, minlength=size), np.bincount(first, fraction, size))
    return Growth(grid, flux, area)


def elliptical_growth(image: np.ndarray, radius: np.ndarray) -> Growth:
    """Growth curve in ellipses; `radius` (h, w) is circularised, px."""
    return _cumulate(radius, image, np.hypot(*image.shape))


def circular_growth(image: np.ndarray, centre: Sequence[float]) -> Growth:
    """Growth curve in circles about the centre, with the pixels of the core split into sub-pixels."""
    extent = np.hypot(*image.shape)
    y, x = pixels(image.shape)
    radius = np.sqrt((y - np.float32(centre[0])) ** 2 + (x - np.float32(centre[1])) ** 2)
    top, left = (max(round(c) - _CORE, 0) for c in centre)
    core = np.s_[top : top + 2 * _CORE, left : left + 2 * _CORE]
    grid, flux, area = _cumulate(radius, image, extent)
    _, coarse_flux, coarse_area = _cumulate(radius[core], image[core], extent)

    fine = (np.arange(_SUBPIXELS, dtype=np.float32) + 0.5) / _SUBPIXELS - 0.5
    sub_y = (y[core[0], 0, None] + fine - np.float32(centre[0])).ravel()
    sub_x = (x[0, core[1], None] + fine - np.float32(centre[1])).ravel()
    index = np.ceil(np.sqrt(sub_y[:, None] ** 2 + sub_x**2) / _STEP).astype(np.intp).ravel()
    split = image[core].repeat(_SUBPIXELS, axis=0).repeat(_SUBPIXELS, axis=1).ravel() / _SUBPIXELS**2
    flux += np.cumsum(np.bincount(index, split, len(grid))) - coarse_flux
    area += np.cumsum(np.bincount(index, minlength=len(grid))) / _SUBPIXELS**2 - coarse_area
    return Growth(grid, flux, area)


def radius_of(growth: Growth, flux: float) -> float:
    """Smallest radius whose circle holds the flux, NaN if none does."""
    i = int(np.argmax(growth.flux >= flux))
    if i == 0:
        return np.nan
    low, high = growth.flux[i - 1], growth.flux[i]
    return growth.radius[i] - _STEP * (high - flux) / (high - low)


def petrosian_radius(growth: Growth) -> float:
    """Smallest radius whose surface brightness (in 0.8 to 1.25 r) is a fifth of the mean within, or NaN."""
    radius = growth.radius[growth.radius >= 2]
    radius = radius[radius * 1.25 <= growth.radius[-1]]

    def within(factor):
        return (
            np.interp(radius * factor, growth.radius, growth.flux),
            np.interp(radius * factor, growth.radius, growth.area),
        )

    (inner_flux, inner_area), (flux, area), (outer_flux, outer_area) = map(within, (0.8, 1.0, 1.25))
    excess = (outer_flux - inner_flux) * area - _PETROSIAN_RATIO * flux * (outer_area - inner_area)
    i = int(np.argmax(excess < 0))
    if i == 0:  # never, or already at the smallest radius
        return np.nan
    return radius[i] - _STEP * excess[i] / (excess[i] - excess[i - 1])
