"""Stateless augmentation of batches of convergence maps: functions of (batch, seed) for `Stage.augment`."""

import math

import numpy as np
import tensorflow as tf

from deepcosmo.physics import fields

__all__ = ["cut_out", "denoising", "mean_spectrum"]


def cut_out(maps, seed, size):
    """A random square of each map (batch, rows, columns), turned and mirrored at random: (batch, size, size)."""
    seeds = tf.unstack(tf.random.split(seed, 4))
    batch = tf.shape(maps)[:1]
    for axis in (1, 2):
        first = tf.random.stateless_uniform(batch, seeds[axis], 0, maps.shape[axis] - size + 1, tf.int32)
        maps = tf.gather(maps, first[:, None] + tf.range(size), axis=axis, batch_dims=1)
    transposed, up, across = tf.unstack(tf.random.stateless_uniform([3, batch[0], 1, 1], seeds[3]) < 0.5)
    maps = tf.where(transposed, tf.transpose(maps, (0, 2, 1)), maps)
    maps = tf.where(up, maps[:, ::-1], maps)
    maps = tf.where(across, maps[:, :, ::-1], maps)
    return maps


def denoising(maps, seed, *, size, smallest=4e-3, largest=2.0):
    """Examples of denoising score matching: white noise of a level between `smallest` and `largest`, log-uniform.

    Args:
        maps: convergence (batch, rows, columns).
        seed: int32[2].
        size: pixels on a side of the cut-outs.

    Returns:
        ({"noisy": (batch, size, size), "sigma": (batch,)}, convergence (batch, size, size))
    """
    of_cut, of_level, of_noise = tf.unstack(tf.random.split(seed, 3))
    kappa = cut_out(maps, of_cut, size)
    kappa -= tf.reduce_mean(kappa, [1, 2], keepdims=True)  # the Gaussian part knows no mean
    level = tf.random.stateless_uniform(tf.shape(kappa)[:1], of_level, math.log(smallest), math.log(largest))
    sigma = tf.exp(level)
    noise = tf.random.stateless_normal(tf.shape(kappa), of_noise)
    return {"noisy": kappa + sigma[:, None, None] * noise, "sigma": sigma}, kappa


def mean_spectrum(maps, pixel_scale):
    """Mean angular power spectrum of maps, as `AngularSpectrum.set` takes it.

    Args:
        maps: iterable of convergence maps (rows, columns).
        pixel_scale: arcmin.

    Returns:
        Multipoles from those that a tenth of a map's side resolves to the pixels' corners, and C(ell), (n,) each.
    """
    total, count = 0.0, 0
    for kappa in maps:
        kappa = np.asarray(kappa, np.float32)
        first = 10 * 60 * 360 / (pixel_scale * min(kappa.shape))
        edges = np.geomspace(first, 2**0.5 * 180 * 60 / pixel_scale, 41)
        ell, power = fields.measured_power((kappa - kappa.mean())[None], pixel_scale=pixel_scale, edges=edges)
        total, count = total + power.numpy()[0, 0], count + 1
    return ell, total / count
