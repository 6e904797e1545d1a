"""Wiener filter of shear maps, and constrained realisations: the exact posterior of a Gaussian field."""

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from deepcosmo.inference.mass_mapping import priors
from deepcosmo.inference.mass_mapping.methods import MassMap
from deepcosmo.physics import wiener

__all__ = ["estimate"]


def estimate(
    shear: np.ndarray,
    precision: np.ndarray,
    *,
    pixel_scale: float,
    num_samples: int,
    seed: tf.Tensor,
    prior: tuple[ArrayLike, ArrayLike] | None = None,
) -> MassMap:
    """Wiener filter and constrained realisations of `mass_map`, see there."""
    grid = priors.grid_shape(shear.shape[:2], pixel_scale)
    inside = priors.middle(grid, shear.shape[:2])
    power = tf.constant(priors.power_of_modes(prior, shape=grid, pixel_scale=pixel_scale), tf.float32)
    shear, precision = (tf.constant(priors.embedded(field, grid)) for field in (shear, precision))
    mean = wiener.posterior_mean(shear, power, precision).numpy()[inside]
    if not num_samples:
        return MassMap(mean=mean)
    # one at a time: on a CPU batches are slower, and a sample does not depend on how many there are
    seeds = [tf.random.fold_in(seed, k) for k in range(num_samples)]
    samples = [wiener.posterior_sample(shear, power, precision, seed=each) for each in seeds]
    samples = np.stack([sample.numpy()[inside] for sample in samples])
    return MassMap(mean=mean, std=np.sqrt(np.mean((samples - mean) ** 2, 0)), samples=samples)
