"""Posterior mean and scatter of the convergence by the network `KappaUNet`."""

import tensorflow as tf

from deepcosmo.inference import prior, wiener
from deepcosmo.inference.mass_mapping import MassMap

__all__ = ["estimate", "network_input"]


@tf.function(autograph=False)
def _posterior(model, shear, power, precision):
    """Mean and standard deviation on the grid."""
    posterior = model.distribution(network_input(shear[None], power, precision[None]))
    return posterior.loc[0], posterior.scale[0]


def network_input(shear, power, precision):
    """What a `KappaUNet` reads of shear maps (batch, rows, columns, 2): arguments as of `wiener`."""
    information = wiener.information(shear, precision)
    filtered = wiener.solve(information, power, precision)
    return {"wiener": filtered, "information": information, "precision": tf.reduce_mean(precision, -1)}


def estimate(shear, precision, *, pixel_scale, model=None):
    """Mean and scatter of `mass_map`, see there."""
    model = model or prior.published("unet_kappa")
    grid = prior.network_grid(model, shear.shape[:2], pixel_scale)
    inside = prior.middle(grid, shear.shape[:2])
    power = tf.transpose(model.spectrum.power(grid))
    shear, precision = (tf.constant(prior.embedded(field, grid)) for field in (shear, precision))
    mean, std = _posterior(model, shear, power, precision)
    return MassMap(mean=mean.numpy()[inside], std=std.numpy()[inside])
