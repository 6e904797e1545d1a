"""What is believed about a convergence map before the data: its spectrum, and that the sky goes on beyond its edges."""

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft
import tensorflow as tf
from numpy.typing import ArrayLike

from deepcosmo._quantities import in_unit
from deepcosmo.physics import cosmology, fields

if TYPE_CHECKING:
    from deepcosmo.models.kappa.score import KappaScore
    from deepcosmo.models.kappa.unet import KappaUNet

__all__ = [
    "embedded",
    "fiducial_spectrum",
    "grid_shape",
    "middle",
    "network_grid",
    "power_of_modes",
    "published",
    "spectrum",
]

# Arcmin of unobserved sky that separate opposite edges on the periodic grid: there the correlation of the convergence
# is down to 0.7% of its variance. For 360 pixels of 0.29' with COSMOS noise, more padding changes the Wiener mean by
# 0.05 of its scatter, mostly near the edges, and its error by less than 0.1%; without any the error is 2.5% larger.
PADDING = 60.0
# The same for networks, whose time goes with the area of the grid: 0.1% of the error, and edges that are far enough
# from the data for what networks do at them.
NETWORK_PADDING = 20.0


@functools.cache
def fiducial_spectrum() -> tuple[np.ndarray, np.ndarray]:
    """Multipoles and C(ell), steradian, of the convergence for Planck 2018 parameters (arXiv:1807.06209).

    Sources have n(z) proportional to z^2 exp(-(z / 0.9)^1.5), median 1.27: close to the faint galaxies of COSMOS,
    whose spectrum this reproduces within 6%.
    """
    planck = cosmology.Cosmology(omega_c=0.2607, omega_b=0.0490, h=0.6766, n_s=0.9665, sigma_8=0.8102)
    ell, z = np.geomspace(2, 2e5, 256), np.linspace(0, 5, 401)
    # 256 planes, as of all networks that were trained beside this prior
    c_ell = cosmology.angular_power(planck, ell, z, z**2 * np.exp(-((z / 0.9) ** 1.5)), spin=0, planes=256)
    return ell, c_ell.numpy()[0, 0]


def spectrum(prior: tuple[ArrayLike, ArrayLike] | None) -> tuple[np.ndarray, np.ndarray]:
    """`prior`, checked: a pair (ell, c_ell) of arrays (n_ell,); None stands for `fiducial_spectrum`."""
    if prior is None:
        return fiducial_spectrum()
    ell, c_ell = prior
    ell, c_ell = in_unit(ell, "", "ell of the prior"), in_unit(c_ell, "sr", "c_ell of the prior")
    if ell.ndim != 1 or ell.shape != c_ell.shape or len(ell) < 2:
        raise ValueError(f"prior must be (ell, c_ell), two arrays of one length; got shapes {ell.shape}, {c_ell.shape}")
    if not (np.all(np.isfinite([ell, c_ell])) and ell[0] > 0 and np.all(np.diff(ell) > 0) and np.all(c_ell >= 0)):
        raise ValueError("prior must have positive, increasing ell and c_ell that are finite and not negative")
    return ell, c_ell


def power_of_modes(
    prior: tuple[ArrayLike, ArrayLike] | None, *, shape: tuple[int, int], pixel_scale: float
) -> np.ndarray:
    """Prior variance of the modes of a map: C(ell) over the area of a pixel, 0 for the mean.

    The field is that of the pixels' centres. Averaging over pixels lowers the power by less than 1% where it exceeds
    the noise of COSMOS at 0.29', so no window is applied.

    Args:
        prior: as of `spectrum`; ell^2 C(ell) is taken as linear in ln ell, C(ell) as constant outside.
        shape: (rows, columns).
        pixel_scale: arcmin.

    Returns:
        (rows, columns // 2 + 1), the modes of `tf.signal.rfft2d`: white noise of variance v per pixel has power v.
    """
    ell, c_ell = spectrum(prior)
    return fields.on_modes(tf.constant(c_ell), ell, shape, pixel_scale).numpy() / np.radians(pixel_scale / 60) ** 2


def grid_shape(shape: tuple[int, int], pixel_scale: float) -> tuple[int, int]:
    """Shape of the periodic grid around a map of (rows, columns); `pixel_scale` in arcmin."""
    padding = math.ceil(PADDING / pixel_scale)
    return tuple(scipy.fft.next_fast_len(n + padding, real=True) for n in shape)


def network_grid(model: "KappaScore | KappaUNet", shape: tuple[int, int], pixel_scale: float) -> tuple[int, int]:
    """As `grid_shape`, for a network: sides are multiples of `model.multiple`, and padding is `NETWORK_PADDING`.

    Raises:
        ValueError: `pixel_scale` is not that of the maps the network was trained on, to 3%.
    """
    if abs(pixel_scale / model.pixel_scale - 1) > 0.03:
        raise ValueError(f"the network was trained at {model.pixel_scale:.4f} arcmin per pixel; got {pixel_scale}")
    padding = max(math.ceil(NETWORK_PADDING / pixel_scale), 2 * model.margin)
    return tuple(math.ceil((n + padding) / model.multiple) * model.multiple for n in shape)


@functools.cache
def published(name: str) -> Any:
    """A network of the zoo."""
    from deepcosmo import zoo

    return zoo.load(name)


def middle(grid: tuple[int, int], shape: tuple[int, int]) -> tuple[slice, ...]:
    """Where a map of `shape` lies in the middle of a grid: slices of rows and columns."""
    return tuple(slice((whole - n) // 2, (whole + n) // 2) for whole, n in zip(grid, shape, strict=True))


def embedded(field: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """`field` (rows, columns, ...) in the middle of zeros (*grid, ...)."""
    whole = np.zeros((*grid, *field.shape[2:]), field.dtype)
    whole[middle(grid, field.shape[:2])] = field
    return whole
