"""What users give of an observation, as tensors: stamps, PSFs and noise, checked in Python and in graphs alike."""

from typing import Any

import numpy as np
import tensorflow as tf

from deepcosmo._quantities import in_unit, masked
from deepcosmo._warnings import warn

__all__ = ["centroids", "checked_image", "checked_noise", "checked_psf", "numbers", "refuse"]

OFF_CENTRE = 0.65  # pixels; the PSFs of HST/ACS that models were trained with have their peak on the central pixel and
# their centroid 0.48 to 0.64 from its middle


def numbers(value: Any, unit: str | None, name: str) -> tf.Tensor:
    """A float32 tensor of tensors, arrays or Quantities.

    Args:
        value: numbers, in `unit` where they have none of their own.
        unit: as of `deepcosmo._quantities.in_unit`.
        name: of the value, for messages.

    Raises:
        ValueError: a value is masked, or is in units that do not convert.
    """
    if not tf.is_tensor(value):
        if masked(value).any():
            raise ValueError(
                f"{name} has masked values, and models have no mask for them: leave these stamps out, or "
                "fill what is masked with values like those around it and noise"
            )
        if getattr(value, "unit", None) is not None:
            value = in_unit(value, unit, name)
    return tf.cast(value, tf.float32)


def refuse(bad: tf.Tensor, what: str) -> None:
    """Raises where something is wrong: a ValueError in Python, in a graph an error of TensorFlow's when it runs.

    Args:
        bad: which stamps are wrong, bool (n,).
        what: is wrong with them, such as "image is not finite".
    """
    count, n = tf.reduce_sum(tf.cast(bad, tf.int32)), tf.size(bad)
    first = tf.reduce_min(tf.where(bad, tf.range(n), n))
    words = [f"{what} in", count, "of", n, "stamps, the first being number", first]
    if not tf.executing_eagerly():
        tf.debugging.Assert(tf.equal(count, 0), words)
    elif count > 0:
        raise ValueError(" ".join(word if isinstance(word, str) else str(int(word)) for word in words))


def checked_image(image: Any, size: int) -> tf.Tensor:
    """Stamps (n, size, size), of (n, size, size) or (n, size, size, 1)."""
    image = _without_channel(numbers(image, "ct / s", "image"))
    if image.shape.rank != 3 or any(side not in (size, None) for side in image.shape[1:]):
        side, given = f"{size}, {size}", tuple(image.shape)
        raise ValueError(f"image must have shape (n, {side}) or (n, {side}, 1); got {given}")
    refuse(_not_finite(image), "image has values that are not finite")
    return image


def checked_noise(noise_std: Any, image: tf.Tensor) -> tf.Tensor:
    """Standard deviation of the noise of each stamp (n,), of a number or (n,)."""
    noise_std = numbers(noise_std, "ct / s", "noise_std")
    if noise_std.shape.rank > 1 or (noise_std.shape.rank and noise_std.shape[0] not in (None, 1, image.shape[0])):
        raise ValueError(f"noise_std must be a number or have shape (n,); got {tuple(noise_std.shape)}")
    noise_std = tf.broadcast_to(noise_std, tf.shape(image)[:1])
    refuse(~(tf.math.is_finite(noise_std) & (noise_std > 0)), "noise_std must be positive and finite; it is not")
    return noise_std


def checked_psf(psf: Any, size: int) -> tf.Tensor:
    """PSF images (1 or n, size, size): padded or cut about the central pixel, of unit sum.

    In Python, warns of PSFs that are not, and of PSFs whose light is not centred.
    """
    psf = _without_channel(numbers(psf, None, "psf"))
    if psf.shape.rank == 2:
        psf = psf[None]
    if psf.shape.rank != 3:
        raise ValueError(f"psf must have shape (height, width) or (n, height, width); got {tuple(psf.shape)}")
    refuse(_not_finite(psf), "psf has values that are not finite")
    sides = tf.shape(psf)[1:]
    before = size // 2 - sides // 2
    after = size - sides - before
    kept = psf[
        :,
        -tf.minimum(before[0], 0) : sides[0] + tf.minimum(after[0], 0),
        -tf.minimum(before[1], 0) : sides[1] + tf.minimum(after[1], 0),
    ]
    padding = tf.stack([tf.maximum(before, 0), tf.maximum(after, 0)], -1)
    psf = tf.ensure_shape(tf.pad(kept, tf.concat([[[0, 0]], padding], 0)), (psf.shape[0], size, size))
    total = tf.reduce_sum(psf, (1, 2), keepdims=True)
    refuse(total[:, 0, 0] <= 0, "a PSF must have a positive sum; it has not")
    if tf.executing_eagerly() and psf.shape[0]:
        _warn_of_psf(psf.numpy(), total.numpy())
    return psf / total


def _warn_of_psf(psf, total):
    low, high = total.min(), total.max()
    if max(abs(low - 1), abs(high - 1)) > 1e-2:
        warn(f"PSFs should sum to 1 and were normalised; got sums between {low:g} and {high:g}")
    offset = centroids(psf)
    distance = np.hypot(*offset.T)
    off = distance > OFF_CENTRE
    if off.any():
        rows, columns = offset[np.argmax(np.where(off, distance, 0.0))]
        warn(
            f"the light of {off.sum()} of {len(psf)} PSFs is not centred on pixel [height // 2, width // 2]; that of "
            f"the farthest is off by {rows:+.2f} rows and {columns:+.2f} columns. PSFs are used as they are, and "
            "galaxies found as far off the other way: draw PSFs, or cut them out, with their peak on that pixel"
        )


def centroids(psf: np.ndarray, iterations: int = 5) -> np.ndarray:
    """Where PSF images (n, height, width) have their light, in pixels from [height // 2, width // 2]: (n, 2).

    Noise in the wings would decide on the centroid of an image as it is. So its light counts with a Gaussian window as
    wide as its core, moved to the centroid until both agree (Bertin & Arnouts 1996; SExtractor's XWIN). NaN where an
    image has no peak.
    """
    psf = np.asarray(psf, float)
    axes = [np.arange(side) - side // 2 for side in psf.shape[1:]]
    core = np.where(psf > 0.5 * psf.max((1, 2), keepdims=True), psf, 0.0)
    width = np.sqrt(np.count_nonzero(core, (1, 2)) / (2 * np.pi * np.log(2)))[:, None]  # of a Gaussian with this core
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = [core.sum(2 - i) @ axis / core.sum((1, 2)) for i, axis in enumerate(axes)]
        for _ in range(iterations):
            left = [axis - c[:, None] for axis, c in zip(axes, centre, strict=True)]
            window = [np.exp(-0.5 * (v / width) ** 2) for v in left]
            light = [np.einsum("nyx,nx->ny", psf, window[1]), np.einsum("nyx,ny->nx", psf, window[0])]
            light = [v * w for v, w in zip(light, window, strict=True)]
            centre = [c + 2 * (v * s).sum(1) / v.sum(1) for c, v, s in zip(centre, light, left, strict=True)]
    return np.stack(centre, -1)


def _without_channel(images):
    return images[..., 0] if images.shape.rank == 4 and images.shape[-1] == 1 else images


def _not_finite(images):
    return ~tf.reduce_all(tf.math.is_finite(images), (1, 2))
