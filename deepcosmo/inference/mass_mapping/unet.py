"""Posterior mean and scatter of the convergence by the network `KappaUNet`."""

import tensorflow as tf

from deepcosmo.inference.mass_mapping import priors
from deepcosmo.inference.mass_mapping.methods import MassMap
from deepcosmo.models.kappa.unet import network_input

__all__ = ["estimate"]


@tf.function(autograph=False)
def _posterior(model, shear, power, precision):
    """Mean and standard deviation on the grid."""
    posterior = model.distribution(network_input(shear[None], power, precision[None]))
    return posterior.loc[0], posterior.scale[0]


def estimate(shear, precision, *, pixel_scale, model=None):
    """Mean and scatter of `mass_map`, see there."""
    model = model or priors.published("unet_kappa")
    grid = priors.network_grid(model, shear.shape[:2], pixel_scale)
    inside = priors.middle(grid, shear.shape[:2])
    power = tf.transpose(model.spectrum.power(grid))
    shear, precision = (tf.constant(priors.embedded(field, grid)) for field in (shear, precision))
    mean, std = _posterior(model, shear, power, precision)
    return MassMap(mean=mean.numpy()[inside], std=std.numpy()[inside])
