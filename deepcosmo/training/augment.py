"""Stateless augmentation of images, most of it of `cosmos_stamps`: functions of (batch, seed) for `Stage.augment`."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import tensorflow as tf

from deepcosmo.physics.fields import multiplicity
from deepcosmo.physics.galaxies import acs_noise_power, sample_noise

__all__ = [
    "fainter",
    "irregular",
    "noisier",
    "observe",
    "signal_to_noise",
    "subpixel_shift",
    "symmetries",
    "torus_symmetries",
]

Batch: TypeAlias = dict[str, tf.Tensor]


def signal_to_noise(clean: tf.Tensor, noise_std: tf.Tensor) -> tf.Tensor:
    """Matched-filter signal-to-noise ratio (batch,) of noise-free stamps (batch, n, n) in ACS noise."""
    size = clean.shape[-1]
    weight = multiplicity(size) / acs_noise_power(size)[:, : size // 2 + 1] / size**2
    power = tf.abs(tf.signal.rfft2d(clean)) ** 2
    return tf.sqrt(tf.reduce_sum(power * weight.astype("f4"), axis=(1, 2))) / noise_std


def observe(
    batch: Batch,
    seed: tf.Tensor,
    *,
    faintest: float = 10.0,
    brightest: float = 150.0,
    deepest: float = 20.0,
    as_observed: float = 0.4,
) -> Batch:
    """Turns noise-free stamps into observations of random depth.

    A stamp keeps its own noise level with probability `as_observed`. Otherwise its signal-to-noise ratio is drawn
    log-uniformly between `faintest` and `brightest`, but never below its own nor above `deepest` times its own.
    Where the ratio still exceeds `brightest`, noise is raised until it does not: the likelihood of one bright
    galaxy would outweigh all others of its batch.

    Args:
        batch: dict with `clean` (batch, n, n), `psf` and `noise_std` (batch,).
        seed: int32[2].

    Returns:
        dict with `image`, `psf`, `noise_std`.
    """
    seeds = tf.unstack(tf.random.split(seed, 3))
    clean, noise_std = batch["clean"], batch["noise_std"]
    own = signal_to_noise(clean, noise_std)
    drawn = faintest * (brightest / faintest) ** tf.random.stateless_uniform(tf.shape(own), seeds[0])
    drawn = tf.clip_by_value(drawn, own, deepest * own)
    keep = tf.random.stateless_uniform(tf.shape(own), seeds[1]) < as_observed
    noise_std = noise_std * own / tf.minimum(tf.where(keep, own, drawn), brightest)
    return {"image": clean + sample_noise(seeds[2], noise_std), "psf": batch["psf"], "noise_std": noise_std}


def fainter(batch: Batch, seed: tf.Tensor, *, most: float = 1.0) -> Batch:
    """Dims half of the noise-free stamps, each by up to `most` magnitudes, and leaves their noise as it is."""
    clean = batch["clean"]
    magnitudes = most * tf.nn.relu(tf.random.stateless_uniform((tf.shape(clean)[0], 1, 1), seed, -1.0, 1.0))
    return {**batch, "clean": clean * 10.0 ** (-0.4 * magnitudes)}


def noisier(batch: Batch, seed: tf.Tensor, *, most: float = 1.0, brightest: float = 150.0) -> Batch:
    """Adds ACS noise to every `image`, for half of them up to `most` times what it has; none stays above `brightest`.

    The signal-to-noise ratio is that of the noisy image, which bounds the galaxy's from above.
    """
    first, second = tf.unstack(tf.random.split(seed, 2))
    image, noise_std = batch["image"], batch["noise_std"]
    extra = most * tf.nn.relu(tf.random.stateless_uniform(tf.shape(noise_std), first, -1.0, 1.0))
    needed = tf.sqrt(tf.nn.relu((signal_to_noise(image, noise_std) / brightest) ** 2 - 1.0))
    extra = noise_std * tf.maximum(extra, needed)
    total = tf.sqrt(noise_std**2 + extra**2)
    return {**batch, "image": image + sample_noise(second, extra), "noise_std": total}


def irregular(
    batch: Batch, seed: tf.Tensor, *, largest: float = 0.6, scales: tuple[float, float] = (2.5, 16.0)
) -> Batch:
    """Makes half of the noise-free stamps irregular: `clean` times a log-normal random field, its flux kept.

    The field is smooth on a scale drawn log-uniformly from `scales`, in pixels, above the width of the ACS PSF, so
    that the product is again a galaxy seen through the PSF; its logarithm's standard deviation is up to `largest`.
    """
    seeds = tf.unstack(tf.random.split(seed, 3))
    clean = batch["clean"]
    count, size = tf.shape(clean)[0], clean.shape[-1]
    amplitude = largest * tf.nn.relu(tf.random.stateless_uniform((count, 1, 1), seeds[0], -1.0, 1.0))
    scale = scales[0] * (scales[1] / scales[0]) ** tf.random.stateless_uniform((count, 1, 1), seeds[1])
    ky = tf.constant(2 * np.pi * np.fft.fftfreq(size)[:, None], tf.float32)
    kx = tf.constant(2 * np.pi * np.fft.rfftfreq(size)[None], tf.float32)
    # white noise smoothed by a Gaussian of `scale`, which leaves the variance 1 / (4 pi scale^2)
    smooth = tf.exp(-0.5 * (kx**2 + ky**2) * scale**2) * scale * np.float32(np.sqrt(4 * np.pi))
    white = tf.random.stateless_normal(tf.shape(clean), seeds[2])
    field = tf.signal.irfft2d(tf.signal.rfft2d(white) * tf.cast(smooth, tf.complex64), [size, size])
    changed = clean * tf.exp(amplitude * field)
    ratio = tf.reduce_sum(clean, (1, 2), True) / tf.reduce_sum(changed, (1, 2), True)
    return {**batch, "clean": changed * ratio}


def symmetries(batch: Batch, seed: tf.Tensor, images: Sequence[str] = ("clean", "image")) -> Batch:
    """One of the eight flips and quarter turns for each batch, of the stamps and of their PSFs.

    A stamp turns about its middle, a PSF about its central pixel [m // 2, m // 2].
    """
    flip_x, flip_y, transpose = tf.unstack(tf.random.stateless_uniform((3,), seed) < 0.5)

    def turned(image, offset):
        for flag, axis in ((flip_x, 2), (flip_y, 1)):
            image = tf.cond(flag, lambda i=image, a=axis: tf.roll(tf.reverse(i, [a]), offset, a), lambda i=image: i)
        return tf.cond(transpose, lambda: tf.transpose(image, (0, 2, 1)), lambda: image)

    return {**batch, "psf": turned(batch["psf"], 1), **{k: turned(batch[k], 0) for k in images if k in batch}}


def subpixel_shift(
    batch: Batch, seed: tf.Tensor, *, largest: float = 1.0, images: Sequence[str] = ("clean", "image")
) -> Batch:
    """Moves every stamp by up to `largest` pixels along both axes, by Fourier phases: noise keeps its spectrum."""
    images = [name for name in images if name in batch]
    count, size = tf.shape(batch[images[0]])[0], batch[images[0]].shape[-1]
    shift = tf.random.stateless_uniform((2, count, 1, 1), seed, -largest, largest)
    ky = tf.constant(2 * np.pi * np.fft.fftfreq(size)[:, None], tf.float32)
    kx = tf.constant(2 * np.pi * np.fft.rfftfreq(size)[None], tf.float32)
    phase = -(shift[0] * ky + shift[1] * kx)
    rotation = tf.complex(tf.cos(phase), tf.sin(phase))
    moved = {name: tf.signal.irfft2d(tf.signal.rfft2d(batch[name]) * rotation, [size, size]) for name in images}
    return {**batch, **moved}


def torus_symmetries(batch: tuple[tf.Tensor, ...], seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Periodic maps, moved by whole pixels, flipped and turned, the whole batch in one way: the sky has no corner.

    Args:
        batch: (maps (batch, n, n, channels), ...), such as (maps, parameters).
        seed: int32[2].
    """
    maps, *others = batch
    to_turn, to_move = tf.unstack(tf.random.split(seed, 2))
    up, across, transpose = tf.unstack(tf.random.stateless_uniform((3,), to_turn) < 0.5)
    maps = tf.roll(maps, tf.random.stateless_uniform((2,), to_move, 0, maps.shape[1], tf.int32), [1, 2])
    for flag, axis in ((up, 1), (across, 2)):
        maps = tf.cond(flag, lambda m=maps, a=axis: tf.reverse(m, [a]), lambda m=maps: m)
    maps = tf.cond(transpose, lambda: tf.transpose(maps, (0, 2, 1, 3)), lambda: maps)
    return maps, *others
