"""Convergence maps to train on, and their augmentation: stateless functions of (batch, seed) for `Stage.augment`."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from numpy.typing import ArrayLike

import tfds_builders  # noqa: F401  (registers the data sets)
from deepcosmo._types import TensorLike
from deepcosmo.models.kappa.unet import network_input
from deepcosmo.physics import fields
from deepcosmo.physics.catalog import PIXEL_SCALE
from tfds_builders.lensing_pairs import survey

__all__ = ["cut_out", "denoising", "lightcones", "lightcone_spectrum", "mean_spectrum", "observing"]


def lightcones(split: str) -> tf.data.Dataset:
    """Maps of a split of `kappa_maps/lightcone`, a `tf.data.Dataset`."""
    dataset = tfds.load(
        "kappa_maps/lightcone",
        split=split,
        decoders=tfds.decode.PartialDecoding({"kappa": True}),
        read_config=tfds.ReadConfig(try_autocache=False),
    )
    return dataset.map(lambda example: example["kappa"])


@functools.cache
def lightcone_spectrum() -> tuple[np.ndarray, np.ndarray]:
    """The `mean_spectrum` of the light-cones of the training split."""
    return mean_spectrum(tfds.as_numpy(lightcones("train")), PIXEL_SCALE)


def cut_out(maps: tf.Tensor, seed: tf.Tensor, size: int) -> tf.Tensor:
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


def denoising(
    maps: tf.Tensor, seed: tf.Tensor, *, size: int, smallest: float = 4e-3, largest: float = 2.0
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
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


def observing(
    maps: tf.Tensor, seed: tf.Tensor, *, size: int, frame: int, power: TensorLike, surveys: Sequence[survey.Survey]
) -> tuple[Any, tf.Tensor]:
    """Examples of mass mapping for a `KappaUNet`: Wiener-filtered maps of what surveys see.

    Each survey sees a part of the batch, from half to twice its depth. Cut-outs are periodic, and nothing is observed
    near their edges, so that the sky goes on beyond the data.

    Args:
        maps: convergence (batch, rows, columns); the batch is a multiple of the number of surveys.
        seed: int32[2].
        size: pixels on a side of the cut-outs.
        frame: pixels around them where nothing is observed.
        power: prior of the Wiener filter, as of `prior.power_of_modes`, (size, size // 2 + 1).
        surveys: sequence of `survey.Survey`.

    Returns:
        (what `network_input` makes of the shear, convergence (batch, size, size))
    """
    of_cut, of_depth, of_survey, of_noise = tf.unstack(tf.random.split(seed, 4))
    kappa = cut_out(maps, of_cut, size)
    kappa -= tf.reduce_mean(kappa, [1, 2], keepdims=True)  # shear does not tell it
    batch = maps.shape[0]
    noise_std = tf.concat(
        [
            survey.draw_noise_std(each, (size, size), tf.random.fold_in(of_survey, i), count=batch // len(surveys))
            for i, each in enumerate(surveys)
        ],
        0,
    )
    depth = tf.random.stateless_uniform([batch, 1, 1], of_depth, -math.log(2.0), math.log(2.0))
    inside = (np.minimum(np.arange(size), np.arange(size)[::-1]) >= frame).astype("f4")
    noise_std *= tf.exp(0.5 * depth) * inside * inside[:, None]
    observed = survey.observe(kappa, noise_std, of_noise)
    precision = tf.math.divide_no_nan(1.0, noise_std[..., None] ** 2)
    return network_input(observed["shear"], power, precision), kappa


def mean_spectrum(maps: Iterable[ArrayLike], pixel_scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean angular power spectrum of maps, as `AngularSpectrum.set` takes it.

    Args:
        maps: iterable of convergence maps (rows, columns). Their edges add some 3% to the power of light-cones.
        pixel_scale: arcmin.

    Returns:
        Multipoles from twice that of a wave as long as the map to the pixels' corners, and C(ell), (n,) each.
    """
    spectra = []
    for kappa in maps:
        kappa = np.asarray(kappa, np.float32)
        first = 2 * 60 * 360 / (pixel_scale * min(kappa.shape))
        edges = np.geomspace(first, 2**0.5 * 180 * 60 / pixel_scale, 41)
        ell, power = fields.measured_power((kappa - kappa.mean())[None], pixel_scale=pixel_scale, edges=edges)
        spectra.append(power.numpy()[0, 0])
    filled = ell > 0
    return ell[filled], np.mean(spectra, 0)[filled]
