"""Residuals of a model of images, against the noise: calibration and chi^2."""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["Residuals", "calibration", "chi2_per_pixel"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Residuals:
    """Residuals (data less model) in units of the noise, over all pixels that count.

    Attributes:
      within1, within2: fraction of pixels within 1 and 2 standard deviations; 0.683 and 0.954 for pure noise.
      within1_error, within2_error: their errors from the scatter among stamps.
      chi2: (n,) chi^2 per pixel of each stamp, pixel by pixel.
      size: number of stamps.
    """

    within1: float
    within1_error: float
    within2: float
    within2_error: float
    chi2: np.ndarray
    size: int


def calibration(
    images: ArrayLike, models: ArrayLike, noise_std: ArrayLike, *, mask: ArrayLike | None = None
) -> Residuals:
    """Shares of pixels within 1 and 2 standard deviations, and chi^2 pixel by pixel.

    Args:
      images, models: (n, h, w), or (n, h, w, 1).
      noise_std: scalar or (n,), positive.
      mask: (n, h, w) bool, True where pixels count; all by default. On the blank sky of a stamp any model
        does well: give the galaxy's footprint to test the galaxy.

    Returns:
      `Residuals`.
    """
    scaled, mask = _scaled_residuals(images, models, noise_std, mask)
    counts = mask.sum(axis=(1, 2))
    shares = [np.sum((np.abs(scaled) < k) & mask, axis=(1, 2)) / counts for k in (1, 2)]
    # Errors of a ratio of sums: stamps count by their number of pixels.
    weights = counts / counts.sum()
    values = [float(weights @ share) for share in shares]
    errors = [float(np.sqrt(np.sum((weights * (s - v)) ** 2))) for s, v in zip(shares, values, strict=True)]
    return Residuals(
        within1=values[0],
        within1_error=errors[0],
        within2=values[1],
        within2_error=errors[1],
        chi2=np.sum(scaled**2, axis=(1, 2)) / counts,
        size=len(scaled),
    )


def chi2_per_pixel(
    images: ArrayLike,
    models: ArrayLike,
    noise_std: ArrayLike,
    *,
    noise_power: ArrayLike | None = None,
    mask: ArrayLike | None = None,
) -> np.ndarray:
    """chi^2 per pixel of each stamp, (n,): near 1 where the model is right.

    With `noise_power`, noise is correlated but stationary, its covariance diagonal in Fourier space:
    chi^2 = sum over modes of |FFT(residual)|^2 / (h w noise_std^2 noise_power).

    Args:
      images, models, noise_std, mask: as in `calibration`; with `noise_power`, no mask.
      noise_power: (h, w) power spectrum of the noise in the order of `np.fft.fft2`, with mean 1.
    """
    scaled, mask = _scaled_residuals(images, models, noise_std, mask)
    if noise_power is None:
        return np.sum(scaled**2, axis=(1, 2)) / mask.sum(axis=(1, 2))
    if not mask.all():
        raise ValueError("noise_power takes whole stamps: no mask")
    noise_power = np.asarray(noise_power, np.float64)
    if noise_power.shape != scaled.shape[1:] or not (noise_power > 0).all():
        raise ValueError(f"noise_power must be positive, of shape {scaled.shape[1:]}, not {noise_power.shape}")
    power = np.abs(np.fft.fft2(scaled)) ** 2 / (noise_power * noise_power.size)
    return power.mean(axis=(1, 2))


def _scaled_residuals(images, models, noise_std, mask):
    images, models = (np.asarray(a, np.float64) for a in (images, models))
    if images.shape != models.shape:
        raise ValueError(f"images and models must have one shape, not {images.shape} and {models.shape}")
    if images.ndim == 4 and images.shape[-1] == 1:
        images, models = images[..., 0], models[..., 0]
    if images.ndim != 3:
        raise ValueError(f"images must have shape (n, h, w) or (n, h, w, 1), not {images.shape}")
    noise_std = np.asarray(noise_std, np.float64)
    if noise_std.shape not in ((), (len(images),)) or not (noise_std > 0).all():
        raise ValueError(f"noise_std must be positive, a scalar or of shape ({len(images)},)")
    mask = np.broadcast_to(True if mask is None else np.asarray(mask, bool), images.shape)
    if not mask.any(axis=(1, 2)).all():
        raise ValueError("mask leaves no pixel of some stamps")
    scaled = np.where(mask, images - models, 0) / noise_std.reshape(-1, 1, 1)
    if not np.isfinite(scaled).all():
        raise ValueError("images or models have NaN or infinite pixels")
    return scaled, mask
