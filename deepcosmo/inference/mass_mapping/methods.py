"""Convergence maps from noisy shear maps: one call for every method, one type of result."""

from __future__ import annotations

import importlib
import inspect
import numbers
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from deepcosmo._quantities import in_unit, masked
from deepcosmo._types import Number, Progress, Seed
from deepcosmo.physics.catalog import impossible

__all__ = ["METHODS", "MassMap", "mass_map"]

# The module of each method. Its `estimate(shear, precision, *, pixel_scale, ...)` takes a shear map (n, m, 2) that is 0
# where nothing was observed and 1 / noise variance (n, m, 1 or 2), 0 there, both float32; `num_samples`, `seed`, an
# int32[2], and `progress` if it draws samples and as far as it needs them; and the options of the method.
METHODS = {
    "kaiser_squires": "kaiser_squires",
    "wiener": "wiener",
    "sparse": "sparse",
    "tv": "total_variation",
    "unet": "unet",
    "posterior": "diffusion",
}


class MassMap(NamedTuple):
    """What is known about the convergence; None is what the method does not tell.

    Attributes:
        mean: posterior mean, or the estimate of a method without a prior, (n, m).
        std: standard deviation of the posterior about `mean`, or of the noise in it, (n, m).
        samples: of the posterior, (num_samples, n, m).
        map: most probable convergence, (n, m).
    """

    mean: np.ndarray | None = None
    std: np.ndarray | None = None
    samples: np.ndarray | None = None
    map: np.ndarray | None = None

    @property
    def best(self) -> np.ndarray:
        """The mean, of methods that have one, else the most probable map."""
        return self.map if self.mean is None else self.mean  # type: ignore[return-value]  # all have one of the two


def mass_map(
    shear: ArrayLike,
    noise_std: ArrayLike,
    mask: ArrayLike | None = None,
    *,
    pixel_scale: Number,
    method: str,
    num_samples: int = 16,
    seed: Seed = 0,
    progress: Progress | None = None,
    **options: Any,
) -> MassMap:
    """Convergence of a shear map, on a flat sky whose axes are those of `deepcosmo.physics.lensing`.

    gamma1 = (l1^2 - l2^2) / l^2 kappa and gamma2 = 2 l1 l2 / l^2 kappa, of each Fourier mode with l1 along columns (RA
    ascending) and l2 along rows (Dec ascending). `map_field` starts from a catalogue.

    The methods, with their options:

    - `"kaiser_squires"`: linear inversion with masked pixels set to 0, smoothed by a Gaussian of standard deviation
      `smoothing=1.0` arcmin on a periodic sky. No samples; `std` is that of the noise alone.
    - `"wiener"`: exact posterior of a Gaussian field with the spectrum `prior`. `std` is the scatter of the samples
      about the mean, so it is None for `num_samples=0`.
    - `"sparse"`: most probable map if starlet coefficients have a Laplace distribution. `prior` tells how large they
      are, `weight=0.5` multiplies the penalty. Only `map` is set.
    - `"tv"`: most probable map if the total variation has an exponential distribution, its penalty `weight=1.0` in
      units of the typical noise. Only `map` is set.
    - `"unet"`: mean and standard deviation of the posterior by the published network `unet_kappa`, or `model`, from the
      map before and after a Wiener filter. No samples.
    - `"posterior"`: samples under the prior that the published network `score_kappa`, or `model`, has learned, and
      their scatter about the mean, which is a mean of posterior means and better than that of so few samples.
      `sampler="diffusion"` takes `steps=12` evaluations of the network for each; `"hmc"` anneals Hamiltonian Monte
      Carlo over `steps` noise levels, with some 60 evaluations at each: a check for `residual=False`, too noisy for
      the learned prior.
      `residual=False` switches the network off: the prior is Gaussian then, and the result that of `"wiener"`.

    `prior` is a pair of multipoles and angular power C(ell) of the convergence in steradian; by default that of a
    Planck cosmology for sources at redshifts like those of faint COSMOS galaxies. All methods but the first take the
    map as a part of a larger sky; where nothing was observed the prior alone speaks.

    Args:
        shear: (n, m, 2), gamma1 and gamma2, n and m at least 32.
        noise_std: standard deviation of the noise of each shear component: a number, (n, m) or (n, m, 2).
        mask: (n, m), true (1) where there are data; by default everywhere. Elsewhere `shear` and `noise_std` may hold
            anything. Pixels where one of the three is a masked value, as of `numpy.ma`, count as not observed too.
        pixel_scale: arcmin, or a Quantity.
        method: one of `METHODS`.
        num_samples: samples of the posterior, of methods that draw any.
        seed: an integer or int32[2]. Same seed, same samples; the first are the same for any `num_samples`.
        progress: what to call with the iterable of samples, such as `tqdm.tqdm`, where they take long (`"posterior"`).
        **options: of the method.

    Returns:
        `MassMap` of float32 arrays.

    Raises:
        ValueError: shapes that disagree, data that are not finite or noise that is not positive in observed pixels,
            shear beyond 1 by more than ten times its noise, such as -999 or the UNSEEN of HEALPix, quantities of
            another unit, nothing observed, an unknown method, data that the network of a method does not take: noise
            per pixel below 0.004 (`"posterior"`) or 0.065 (`"unet"`).
        TypeError: an option that the method does not have.
        FloatingPointError: the method diverged or found no finite map.
    """
    from deepcosmo._seeds import stateless_seed  # TensorFlow loads on first use

    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}")
    pixel_scale = in_unit(pixel_scale, "arcmin", "pixel_scale")
    if not (pixel_scale.ndim == 0 and 0 < pixel_scale < np.inf):
        raise ValueError(f"pixel_scale must be positive, in arcmin; got {pixel_scale}")
    if not isinstance(num_samples, numbers.Integral) or num_samples < 0:
        raise ValueError(f"num_samples must be an integer, 0 or more; got {num_samples!r}")
    estimate = importlib.import_module(f"deepcosmo.inference.mass_mapping.{METHODS[method]}").estimate
    drawing = {"num_samples": num_samples, "seed": stateless_seed(seed), "progress": progress}
    accepted = set(inspect.signature(estimate).parameters) - {"shear", "precision", "pixel_scale"}
    if unknown := sorted(set(options) - (accepted - set(drawing))):
        known = ", ".join(sorted(accepted - set(drawing))) or "none"
        raise TypeError(f"method {method!r} has no option {', '.join(unknown)}; its options: {known}")
    drawing = {name: value for name, value in drawing.items() if name in accepted}
    shear, precision = _checked_data(shear, noise_std, mask)
    result = estimate(shear, precision, pixel_scale=float(pixel_scale), **drawing, **options)
    for name, values in result._asdict().items():
        if values is not None and (bad := np.count_nonzero(~np.isfinite(values))):
            raise FloatingPointError(
                f"method {method!r} diverged: {bad} of {values.size} values of its {name} are not "
                "finite; check shear and noise_std, or take another method, such as 'wiener'"
            )
    return result


def _checked_data(shear, noise_std, mask):
    hidden, unknown = masked(shear), masked(noise_std)
    shear, noise_std = in_unit(shear, "", "shear"), in_unit(noise_std, "", "noise_std")
    if shear.ndim != 3 or shear.shape[-1] != 2 or min(shear.shape[:2]) < 32:
        raise ValueError(f"shear must have shape (n, m, 2) with n and m at least 32; got {shear.shape}")
    shape = shear.shape[:2]
    if noise_std.shape not in ((), shape, (*shape, 2)):
        raise ValueError(f"noise_std must be a number or have shape {shape} or {(*shape, 2)}; got {noise_std.shape}")
    mask = np.ones(shape, bool) if mask is None else np.where(masked(mask), 0, in_unit(mask, "", "mask"))
    if mask.shape != shape:
        raise ValueError(f"mask must have the shape {shape} of the shear map; got {mask.shape}")
    if not np.all((mask == 0) | (mask == 1)):
        raise ValueError("mask must hold 0 (nothing observed) and 1 (observed) only")
    if noise_std.ndim < 3:
        noise_std, unknown = (np.broadcast_to(values, shape)[..., None] for values in (noise_std, unknown))
    hidden = (mask == 0) | hidden.any(-1) | unknown.any(-1)
    if hidden.all():
        raise ValueError("mask leaves no pixel: nothing was observed")
    shear = np.array(shear, np.float32)
    shear[hidden] = 0
    if bad := shear.size - np.count_nonzero(np.isfinite(shear)):
        raise ValueError(f"shear is not finite in {bad} observed values: mask these pixels")
    noise_std = np.array(noise_std, np.float32)
    noise_std[hidden] = 1
    if bad := noise_std.size - np.count_nonzero((noise_std > 0) & (noise_std < np.inf)):
        raise ValueError(f"noise_std is not positive and finite in {bad} observed values: mask these pixels")
    if bad := np.count_nonzero(wild := impossible(shear, noise_std)):
        raise ValueError(
            f"shear is beyond 1 by more than ten times noise_std in {bad} observed values, such as "
            f"{shear[wild][0]:.6g}: mask these pixels"
        )
    precision = 1 / noise_std**2
    precision[hidden] = 0
    return shear, precision
