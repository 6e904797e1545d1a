"""Kaiser-Squires inversion with Gaussian smoothing (Kaiser & Squires 1993)."""

import functools

import numpy as np
import tensorflow as tf

from deepcosmo.inference.mass_mapping import MassMap
from deepcosmo.inference.operators import ShearOfModes
from deepcosmo.physics import fields

__all__ = ["estimate"]


@functools.lru_cache(maxsize=4)
def _filters(shape, width):
    """The inversion smoothed by `width` pixels, and from variances of the shear to that of its result."""
    # arcmin per pixel are 1: multipoles are then per arcmin, times the arcmin of a radian
    gaussian = np.exp(-0.5 * (fields.multipoles(shape, 1.0) * np.radians(width / 60)) ** 2)
    inversion = ShearOfModes(shape, tf.float32, tf.constant(gaussian, tf.float32))
    kernel = tf.signal.irfft2d(inversion.gain, shape)
    return inversion, tf.signal.rfft2d(kernel**2)


def estimate(shear, precision, *, pixel_scale, smoothing=1.0):
    """Kaiser-Squires of `mass_map`, see there."""
    if not smoothing >= 0:
        raise ValueError(f"smoothing must be a width in arcmin, 0 or more; got {smoothing}")
    shape = shear.shape[:2]
    inversion, spread = _filters(shape, smoothing / pixel_scale)
    variance = np.divide(1, precision, out=np.zeros_like(precision), where=precision > 0)
    modes = tf.signal.rfft2d(np.concatenate([np.moveaxis(field, -1, 0) for field in (shear, variance)]))
    modes = tf.stack([tf.reduce_sum(inversion.gain * modes[:2], 0), tf.reduce_sum(spread * modes[2:], 0)])
    mean, variance = tf.signal.irfft2d(modes, shape).numpy()
    return MassMap(mean=mean, std=np.sqrt(np.maximum(variance, 0)))
