"""Posterior of the convergence under the prior that a score network has learned: samples, their mean and scatter."""

import numpy as np
import tensorflow as tf

from deepcosmo.inference import prior, score_hmc, wiener
from deepcosmo.inference.mass_mapping import MassMap
from deepcosmo.models.score import noise_levels
from deepcosmo.physics import lensing

__all__ = ["estimate"]

SAMPLERS = ("diffusion", "hmc")


@tf.function(autograph=False)
def _drawn(mean, scatter, shear, power, precision, variance, seed):
    """A map given its denoised version and the data: a constrained realisation about `mean`.

    What noise of `variance` per pixel leaves open is taken as Gaussian, with the covariance of the Gaussian prior times
    `scatter` (1, rows, columns); None stands for 1.
    """
    left = power / (1.0 + power / variance)
    shear = shear - lensing.kappa_to_shear(mean)
    away = wiener.posterior_sample(shear, left, precision, scale=scatter, seed=seed)
    return mean + (away if scatter is None else scatter * away)


def estimate(shear, precision, *, pixel_scale, num_samples, seed, model=None, sampler="diffusion", steps=12,
             residual=True, progress=None):
    """Samples of the posterior of `mass_map`, see there."""
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}; got {sampler!r}")
    if num_samples < 1:
        raise ValueError("method 'posterior' needs num_samples of at least 1")
    model = model or prior.published("score_kappa")
    grid = prior.network_grid(model, shear.shape[:2], pixel_scale)
    inside = prior.middle(grid, shear.shape[:2])
    power = tf.transpose(model.spectrum.power(grid))
    shear, precision = (tf.constant(prior.embedded(field, grid))[None] for field in (shear, precision))
    draw = _by_diffusion if sampler == "diffusion" else _by_hmc

    def sample(k, residual):
        first, *seeds = tf.unstack(tf.random.split(tf.random.fold_in(seed, k), 4))
        start = _drawn(tf.zeros((1, *grid)), None, shear, power, precision, tf.constant(np.inf, tf.float32), first)
        return draw(model, start, shear, power, precision, seeds, steps, residual)[0].numpy()[inside]

    samples, gaussian = [], []
    for k in (progress or iter)(range(num_samples)):
        samples.append(sample(k, residual))
        if residual and sampler == "diffusion":
            gaussian.append(sample(k, False))
    samples = np.stack(samples)
    mean = samples.mean(0)
    if gaussian:
        # the same draws without the network scatter about a mean that is known, and most of the scatter is common
        exact = wiener.posterior_mean(shear, power, precision)[0].numpy()[inside]
        mean += exact - np.mean(gaussian, 0)
    return MassMap(mean=mean, std=samples.std(0, ddof=int(num_samples > 1)), samples=samples)


def _by_diffusion(model, start, shear, power, precision, seeds, steps, residual):
    """Reverse diffusion in which every step draws a map that fits the data as well as the diffused one.

    If all is Gaussian the draws have the exact posterior given both, and so has the result, however few the steps. For
    light-cones with the noise of COSMOS error, peak counts and third moments of the samples are the same, within a few
    per cent, for 8 to 32 steps.
    """
    levels = noise_levels(steps, largest=0.5)

    def draw(mean, scatter, sigma, seed):
        variance = tf.constant(sigma**2, tf.float32)
        return _drawn(mean, scatter if residual else None, shear, power, precision, variance, seed)

    start += levels[0] * tf.random.stateless_normal(start.shape, seeds[0])
    return model.reverse(start, levels, seeds[1], draw, residual=residual)


def _by_hmc(model, start, shear, power, precision, seeds, steps, residual):
    """Annealed Hamiltonian Monte Carlo, and a last draw of what the smallest noise level leaves open."""
    levels = noise_levels(steps, largest=0.3, smallest=0.01)
    start += levels[0] * tf.random.stateless_normal(start.shape, seeds[0])
    x, _ = score_hmc.annealed(model, start, shear, power, precision, levels, seeds[1], residual=residual)
    mean, scatter = model.moments(x, tf.fill([x.shape[0]], levels[-1]), residual=residual)
    left = power / (1.0 + power / levels[-1] ** 2)
    return mean + scatter * wiener.prior_sample(left, x.shape, seeds[2])
