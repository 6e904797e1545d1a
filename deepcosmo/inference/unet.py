"""Posterior mean and scatter of the convergence by the network `KappaUNet`, from the Wiener-filtered map."""

import tensorflow as tf

from deepcosmo.inference import prior, wiener
from deepcosmo.inference.mass_mapping import MassMap

__all__ = ["estimate", "network_input"]


@tf.function(autograph=False)
def _posterior(model, shear, power, precision):
    """Mean and standard deviation on the grid."""
    mean = wiener.posterior_mean(shear, power, precision)
    posterior = model.distribution(network_input(mean[None], precision[None]))
    return posterior.loc[0], posterior.scale[0]


def network_input(wiener_mean, precision):
    """What a `KappaUNet` reads, from Wiener-filtered maps (batch, rows, columns) and (batch, rows, columns, 1 or 2)."""
    return {"wiener": wiener_mean, "precision": tf.reduce_mean(precision, -1)}


def estimate(shear, precision, *, pixel_scale, model=None):
    """Mean and scatter of `mass_map`, see there."""
    model = model or prior.published("unet_kappa")
    grid = prior.network_grid(model, shear.shape[:2], pixel_scale)
    inside = prior.middle(grid, shear.shape[:2])
    power = tf.transpose(model.spectrum.power(grid))
    shear, precision = (tf.constant(prior.embedded(field, grid)) for field in (shear, precision))
    mean, std = _posterior(model, shear, power, precision)
    return MassMap(mean=mean.numpy()[inside], std=std.numpy()[inside])
