"""Most probable convergence with a small total variation (Rudin, Osher & Fatemi 1992)."""

import numpy as np
import tensorflow as tf

from deepcosmo.inference.mass_mapping import priors
from deepcosmo.inference.mass_mapping.methods import MassMap
from deepcosmo.inference.mass_mapping.primal_dual import most_probable

__all__ = ["estimate"]


def estimate(shear: np.ndarray, precision: np.ndarray, *, pixel_scale: float, weight: float = 1.0) -> MassMap:
    """Total-variation map of `mass_map`, see there.

    The penalty is `weight` / sigma times the sum over pixels of |gradient|, with 1 / sigma^2 the mean precision of the
    observed shear. Of log-normal maps with noise of 0.05 to 0.3 per pixel of 0.29', the error is least for weights of
    0.7 to 1.2.
    """
    if not weight > 0:
        raise ValueError(f"weight must be positive; got {weight}")
    grid = priors.grid_shape(shear.shape[:2], pixel_scale)
    frequencies = np.broadcast_arrays(np.fft.fftfreq(grid[0])[:, None], np.fft.rfftfreq(grid[1])[None])
    differences = np.exp(2j * np.pi * np.stack(frequencies)) - 1
    limits = weight * np.sqrt(precision[precision > 0].mean())
    steps = np.full((2, 1, 1), 10 * precision.max())
    return most_probable(shear, precision, grid, differences, steps, limits, _within)


def _within(dual, radius):
    return dual / tf.maximum(tf.norm(dual, axis=0, keepdims=True) / radius, 1.0)
