"""Posterior mean and scatter of the convergence by the network `KappaUNet`."""

from typing import TYPE_CHECKING

import numpy as np
import scipy.ndimage
import tensorflow as tf

from deepcosmo.inference.mass_mapping import priors
from deepcosmo.inference.mass_mapping.methods import MassMap
from deepcosmo.models.kappa.unet import network_input

if TYPE_CHECKING:
    from deepcosmo.models.kappa.unet import KappaUNet

__all__ = ["estimate"]

# Of the mean precision in windows of 16 pixels: surveys of the training go down to 0.09. With 0.06 in all pixels the
# errors are still below those of the Wiener filter, with 0.045 they are 30% larger, with 0.022 70 times as large.
LEAST_NOISE = 0.065
WINDOW = 16


@tf.function(autograph=False)
def _posterior(model, shear, power, precision):
    """Mean and standard deviation on the grid."""
    posterior = model.distribution(network_input(shear[None], power, precision[None]))
    return posterior.loc[0], posterior.scale[0]


def estimate(
    shear: np.ndarray, precision: np.ndarray, *, pixel_scale: float, model: "KappaUNet | None" = None
) -> MassMap:
    """Mean and scatter of `mass_map`, see there."""
    if model is None:
        _check_depth(precision)
        model = priors.published("unet_kappa")
    grid = priors.network_grid(model, shear.shape[:2], pixel_scale)
    inside = priors.middle(grid, shear.shape[:2])
    power = tf.transpose(model.spectrum.power(grid))
    shear, precision = (tf.constant(priors.embedded(field, grid)) for field in (shear, precision))
    mean, std = _posterior(model, shear, power, precision)
    return MassMap(mean=mean.numpy()[inside], std=std.numpy()[inside])


def _check_depth(precision):
    noise = scipy.ndimage.uniform_filter(precision.mean(-1), WINDOW, mode="constant").max() ** -0.5
    if noise < LEAST_NOISE:
        raise ValueError(
            f"the network unet_kappa takes noise of at least {LEAST_NOISE} per pixel, over {WINDOW} x "
            f"{WINDOW} pixels; got {noise:.2g}: use method 'posterior' or 'wiener'"
        )
