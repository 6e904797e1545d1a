"""Stateless augmentation of batches of `cosmos_stamps`: functions of (batch, seed) for `Stage.augment`."""

import numpy as np
import tensorflow as tf

from deepcosmo.physics.galaxies import acs_noise_power, sample_noise

__all__ = ["observe", "signal_to_noise", "subpixel_shift", "symmetries"]


def signal_to_noise(clean, noise_std):
    """Matched-filter signal-to-noise ratio (batch,) of noise-free stamps (batch, n, n) in ACS noise."""
    size = clean.shape[-1]
    modes = np.full(size // 2 + 1, 2.0)
    modes[[0, -1]] = 1.0
    weight = tf.constant(modes / acs_noise_power(size)[:, : size // 2 + 1] / size**2, tf.float32)
    power = tf.abs(tf.signal.rfft2d(clean)) ** 2
    return tf.sqrt(tf.reduce_sum(power * weight, axis=(1, 2))) / noise_std


def observe(batch, seed, *, faintest=10.0, brightest=150.0, deepest=20.0, as_observed=0.4):
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


def symmetries(batch, seed, images=("clean", "image")):
    """One of the eight flips and quarter turns for each batch, of the stamps and of their PSFs.

    A stamp turns about its middle, a PSF about its central pixel [m // 2, m // 2].
    """
    flip_x, flip_y, transpose = tf.unstack(tf.random.stateless_uniform((3,), seed) < 0.5)

    def turned(image, offset):
        for flag, axis in ((flip_x, 2), (flip_y, 1)):
            image = tf.cond(flag, lambda i=image, a=axis: tf.roll(tf.reverse(i, [a]), offset, a), lambda i=image: i)
        return tf.cond(transpose, lambda: tf.transpose(image, (0, 2, 1)), lambda: image)

    return {**batch, "psf": turned(batch["psf"], 1), **{k: turned(batch[k], 0) for k in images if k in batch}}


def subpixel_shift(batch, seed, *, largest=1.0):
    """Moves every `image` by up to `largest` pixels along both axes, by Fourier phases: noise keeps its spectrum."""
    image = batch["image"]
    size = image.shape[-1]
    shift = tf.random.stateless_uniform((2, tf.shape(image)[0], 1, 1), seed, -largest, largest)
    ky = tf.constant(2 * np.pi * np.fft.fftfreq(size)[:, None], tf.float32)
    kx = tf.constant(2 * np.pi * np.fft.rfftfreq(size)[None], tf.float32)
    phase = -(shift[0] * ky + shift[1] * kx)
    moved = tf.signal.rfft2d(image) * tf.complex(tf.cos(phase), tf.sin(phase))
    return {**batch, "image": tf.signal.irfft2d(moved, [size, size])}
