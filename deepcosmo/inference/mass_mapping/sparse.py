"""Most probable convergence with sparse starlet coefficients."""

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from deepcosmo.inference.mass_mapping import priors
from deepcosmo.inference.mass_mapping.methods import MassMap
from deepcosmo.inference.mass_mapping.primal_dual import most_probable
from deepcosmo.physics.fields import multiplicity

__all__ = ["estimate", "starlet"]


def starlet(shape: tuple[int, int], scales: int) -> np.ndarray:
    """Starlet transform of periodic maps (Starck et al. 2007): undecimated, isotropic, from cubic B-splines.

    Returns:
        Filters for the modes of `tf.signal.rfft2d`, (scales, rows, columns // 2 + 1), finest first. They and the smooth
        remainder add up to 1.
    """
    rows, columns = shape
    frequencies = np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None]
    smooth = [np.ones((rows, columns // 2 + 1))]
    for scale in range(scales):
        spline = [np.cos(np.pi * 2**scale * f) ** 4 for f in frequencies]  # of the filter (1, 4, 6, 4, 1) / 16
        smooth.append(smooth[-1] * spline[0] * spline[1])
    return -np.diff(smooth, axis=0)


def estimate(
    shear: np.ndarray,
    precision: np.ndarray,
    *,
    pixel_scale: float,
    prior: tuple[ArrayLike, ArrayLike] | None = None,
    weight: float = 0.5,
) -> MassMap:
    """Sparse map of `mass_map`, see there.

    A coefficient whose rms in the prior is s has probability exp(-weight w |coefficient| / s), where w < 1 makes up for
    the redundancy of its scale. Of log-normal maps with noise of 0.05 to 0.3 per pixel of 0.29', the error is least for
    weights of 0.8 to 0.4.
    """
    if not weight > 0:
        raise ValueError(f"weight must be positive; got {weight}")
    grid = priors.grid_shape(shear.shape[:2], pixel_scale)
    filters = starlet(grid, int(np.log2(min(shear.shape[:2]))) - 1)
    power = priors.power_of_modes(prior, shape=grid, pixel_scale=pixel_scale)
    squares = multiplicity(grid[1]) * filters**2 / np.prod(grid)
    independent, variance = (np.sum(squares * p, (1, 2)) for p in (1.0, power))
    # scales without power are kept to 1% of the strongest
    independent, variance = independent[:, None, None], np.maximum(variance, 1e-4 * variance.max())[:, None, None]
    limits = weight * independent / np.sqrt(variance)
    return most_probable(shear, precision, grid, filters, independent / variance, limits, _clipped)


def _clipped(dual, limits):
    return tf.clip_by_value(dual, -limits, limits)
