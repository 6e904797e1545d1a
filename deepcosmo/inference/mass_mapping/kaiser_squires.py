"""Kaiser-Squires inversion with Gaussian smoothing (Kaiser & Squires 1993)."""

import functools

import numpy as np
import scipy.fft

from deepcosmo._quantities import in_unit
from deepcosmo._types import Number
from deepcosmo.inference.mass_mapping.methods import MassMap
from deepcosmo.physics import fields
from deepcosmo.physics.shear_modes import response

__all__ = ["estimate"]


@functools.lru_cache(maxsize=4)
def _filters(shape, smoothing, pixel_scale):
    """Of the modes of both shear components: to smoothed convergence, and from variances to its variance."""
    width = np.radians(smoothing / 60)
    inversion = response(*shape, "float32").numpy()
    inversion = inversion * np.exp(-0.5 * (width * fields.multipoles(shape, pixel_scale)) ** 2).astype("float32")
    kernel = scipy.fft.irfft2(inversion, shape)
    return inversion, scipy.fft.rfft2(kernel**2).real  # the kernels are even, so this is all


def _filtered(maps, filters):
    """Sum over the components of maps (n, m, components), each with its filter."""
    modes = sum(filter * scipy.fft.rfft2(maps[..., i], workers=-1) for i, filter in enumerate(filters))
    return scipy.fft.irfft2(modes, maps.shape[:2], workers=-1)


def estimate(shear: np.ndarray, precision: np.ndarray, *, pixel_scale: float, smoothing: Number = 1.0) -> MassMap:
    """Kaiser-Squires of `mass_map`, see there."""
    smoothing = in_unit(smoothing, "arcmin", "smoothing").item()
    if not smoothing >= 0:
        raise ValueError(f"smoothing must be a width in arcmin, 0 or more; got {smoothing}")
    inversion, spread = _filters(shear.shape[:2], smoothing, pixel_scale)
    variance = np.divide(1, precision, out=np.zeros_like(precision), where=precision > 0)
    if variance.shape[-1] == 1:
        spread = spread.sum(0, keepdims=True)
    return MassMap(mean=_filtered(shear, inversion), std=np.sqrt(np.maximum(_filtered(variance, spread), 0)))
