"""Posterior mean and scatter of the convergence by the network `KappaUNet`, from the Wiener-filtered map."""

import tensorflow as tf

from deepcosmo.inference import prior, wiener
from deepcosmo.inference.mass_mapping import MassMap

__all__ = ["estimate", "network_input"]


@tf.function(autograph=False)
def _posterior(model, shear, power, precision, margin):
    """Mean and standard deviation on the grid, whose first `margin` rows and columns come to lie before the map."""
    mean = wiener.posterior_mean(shear, power, precision)
    x = network_input(mean[None], precision[None])
    moved = {name: tf.roll(v, (margin, margin), (1, 2)) for name, v in x.items()}
    posterior = model.distribution(moved)
    return tuple(tf.roll(v, (-margin, -margin), (1, 2))[0] for v in (posterior.loc, posterior.scale))


def network_input(wiener_mean, precision):
    """What a `KappaUNet` reads, from Wiener-filtered maps (batch, rows, columns) and (batch, rows, columns, 1 or 2)."""
    return {"wiener": wiener_mean, "precision": tf.reduce_mean(precision, -1)}


def estimate(shear, precision, *, pixel_scale, model=None):
    """Mean and scatter of `mass_map`, see there."""
    model, rows, columns = model or prior.published("unet_kappa"), *shear.shape[:2]
    grid = prior.network_grid(model, (rows, columns), pixel_scale)
    power = tf.transpose(model.spectrum.power(grid))
    shear, precision = (tf.constant(prior.embedded(field, grid)) for field in (shear, precision))
    mean, std = _posterior(model, shear, power, precision, model.margin)
    return MassMap(mean=mean.numpy()[:rows, :columns], std=std.numpy()[:rows, :columns])
