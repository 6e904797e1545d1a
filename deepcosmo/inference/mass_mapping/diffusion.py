"""Posterior of the convergence under the prior that a score network has learned: samples, their mean and scatter.

The network knows the mean m(z) of all maps that look like z once white noise is added, and how much they scatter. Shear
with the same noise everywhere is such a z, by `lensing.shear_to_kappa`. Real shear is completed to it: noise is added
where data are too precise, and a map drawn before speaks for them where they are too poor or there are none. (A Gibbs
sampler would draw such a map and the completion in turn, as with the messenger fields of Elsner & Wandelt 2013,
arXiv:1210.4931.) What the completion adds to the data is then taken back as if the prior were Gaussian about m:

    kappa = m + s e,    (S^-1 + 1 / sigma^2 + A^T N^-1 A) e = A^T N^-1 (y - A m) - lambda (z - m) + noise

with the scatter s of the network over that of a Gaussian prior and completed data z of precision lambda. Where data are
uniform there is nothing to take back. A reverse diffusion, whose state x is kappa with noise sigma, adds x to what is
known until it is all that matters. Notation as in `wiener`.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import tensorflow as tf

from deepcosmo._types import Progress
from deepcosmo.inference.mass_mapping import priors, score_hmc
from deepcosmo.inference.mass_mapping.methods import MassMap
from deepcosmo.models.kappa.score import noise_levels, reverse_diffusion
from deepcosmo.physics import lensing, wiener

if TYPE_CHECKING:
    from deepcosmo.models.kappa.score import KappaScore

__all__ = ["estimate"]

SAMPLERS = ("diffusion", "hmc")
UNIFORM = 1.5  # precision of completed data over the mean of the real ones: of 1, 1.5 and 2 the one with the best maps
# The noise per pixel of real data below which completed data do not become more precise. Where nothing is observed,
# taking them back amplifies the network's errors by precision x power, and each step passes them on to the next: at
# 0.035 maps grow without bound. Of 0.07, 0.085, 0.1 and 0.12, 0.1 is the least at which the mean of a map scatters as
# in Wiener samples, on kappaTNG with noise of 0.022 and 0.071.
COMPLETED_NOISE = 0.1
PRECISE = 20.0  # precision of data over that of completed ones beyond which the mean follows the data
LEAST_NOISE = 4e-3  # where the reverse diffusion and the training of the network end
DIVERGED = 10.0  # standard deviation of a sample over that of a Gaussian one that no sky has


class _Data(NamedTuple):
    """On the network's grid (1, rows, columns, ...), as of `wiener`; and the precision of completed data, a scalar."""

    shear: tf.Tensor
    power: tf.Tensor
    precision: tf.Tensor
    uniform: tf.Tensor


def _completed(kappa, data, seed):
    """Convergence with white noise of precision `data.uniform`, from the data and, for what they lack, `kappa`."""
    share = tf.minimum(data.precision / data.uniform, 1.0)
    lacking = tf.maximum(1.0 / data.uniform - tf.math.divide_no_nan(share**2, data.precision), 0.0)  # variance of noise
    noise = tf.sqrt(lacking) * tf.random.stateless_normal(data.shear.shape, seed)
    return lensing.shear_to_kappa(share * data.shear + (1.0 - share) * lensing.kappa_to_shear(kappa) + noise)


def _denoised(model, x, known, kappa, data, seed, residual):
    """Mean and scatter given x, with white noise of precision `known`, and completed data; and -lambda (z - m)."""
    completed = _completed(kappa, data, seed)
    precision = known + data.uniform
    z = (known * x + data.uniform * completed) / precision
    mean, scatter = model.moments(z, tf.fill(tf.shape(z)[:1], precision**-0.5), residual=residual)
    return mean, scatter, data.uniform * (mean - completed)


@tf.function(autograph=False)
def _drawn(model, x, sigma, kappa, data, seed, residual):
    """A map given the data and x, its sum with noise sigma. `kappa` is such a map, too: that of the step before."""
    to_complete, to_draw = tf.unstack(tf.random.split(seed, 2))
    mean, scatter, taken_back = _denoised(model, x, sigma**-2.0, kappa, data, to_complete, residual)
    left = data.power / (1.0 + data.power / sigma**2)
    shear = data.shear - lensing.kappa_to_shear(mean)
    return mean + scatter * wiener.posterior_sample(shear, left, data.precision, seed=to_draw, rhs=taken_back)


@tf.function(autograph=False)
def _mean(model, kappa, data, seed, residual):
    """Mean of the posterior given what a sample `kappa` of it completes the data to."""
    mean, scatter, taken_back = _denoised(model, tf.zeros_like(kappa), 0.0, kappa, data, seed, residual)
    rhs = wiener.information(data.shear - lensing.kappa_to_shear(mean), data.precision) + taken_back
    # where data alone tell what is left, it must not be rescaled
    surplus = tf.reduce_mean(data.precision, -1) / (PRECISE * data.uniform)
    scatter = tf.where(surplus > 1.0, scatter ** (1.0 / tf.maximum(surplus, 1.0)), scatter)
    return mean + scatter * wiener.solve(rhs, data.power, data.precision)


def estimate(
    shear: np.ndarray,
    precision: np.ndarray,
    *,
    pixel_scale: float,
    num_samples: int,
    seed: tf.Tensor,
    model: "KappaScore | None" = None,
    sampler: str = "diffusion",
    steps: int = 12,
    residual: bool = True,
    progress: Progress | None = None,
) -> MassMap:
    """Samples of the posterior of `mass_map`, see there."""
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}; got {sampler!r}")
    if num_samples < 1:
        raise ValueError("method 'posterior' needs num_samples of at least 1")
    typical = precision[precision > 0].mean()
    if (noise := typical**-0.5) < LEAST_NOISE:
        raise ValueError(
            f"method 'posterior' takes noise of at least {LEAST_NOISE} per pixel; got {noise:.2g}; use method 'wiener'"
        )
    model = model or priors.published("score_kappa")
    grid = priors.network_grid(model, shear.shape[:2], pixel_scale)
    inside = priors.middle(grid, shear.shape[:2])
    uniform = tf.constant(UNIFORM * min(typical, COMPLETED_NOISE**-2), tf.float32)
    shear, precision = (tf.constant(priors.embedded(field, grid))[None] for field in (shear, precision))
    data = _Data(shear, tf.transpose(model.spectrum.power(grid)), precision, uniform)
    draw = _by_diffusion if sampler == "diffusion" else _by_hmc
    samples, means = [], []
    for k in (progress or iter)(range(num_samples)):
        to_start, to_draw, to_complete = tf.unstack(tf.random.split(tf.random.fold_in(seed, k), 3))
        gaussian = wiener.posterior_sample(data.shear, data.power, data.precision, seed=to_start)
        sample = draw(model, gaussian, data, steps, to_draw, residual)
        _check(sample, gaussian)
        samples.append(sample[0].numpy()[inside])
        means.append(_mean(model, sample, data, to_complete, residual)[0].numpy()[inside])
    samples, mean = np.stack(samples), np.mean(means, 0)
    return MassMap(mean=mean, std=np.sqrt(np.mean((samples - mean) ** 2, 0)), samples=samples)


def _check(sample, gaussian):
    spread, expected = (float(tf.math.reduce_std(maps)) for maps in (sample, gaussian))
    if not spread < DIVERGED * expected:  # NaN, too
        raise FloatingPointError(
            f"method 'posterior' diverged: a sample has a standard deviation of {spread:.3g}, one "
            f"of a Gaussian prior {expected:.3g}; use method 'wiener'"
        )


def _by_diffusion(model, gaussian, data, steps, seed, residual):
    """Reverse diffusion from a Gaussian sample. If all is Gaussian it is exact, however few the steps.

    For light-cones with the noise of COSMOS, 16 steps from a first noise level of 1 give the errors, peak counts and
    third moments of 12. These depend on that level: from 0.3 on, third moments are a sixth too small, from 2 on right.
    """

    def draw(x, kappa, sigma, seed):
        return _drawn(model, x, tf.constant(sigma, tf.float32), kappa, data, seed, residual)

    to_start, to_reverse = tf.unstack(tf.random.split(seed, 2))
    levels = noise_levels(steps, largest=2.0)
    x = gaussian + levels[0] * tf.random.stateless_normal(gaussian.shape, to_start)
    return reverse_diffusion(x, levels, to_reverse, draw, gaussian)


def _by_hmc(model, gaussian, data, steps, seed, residual):
    """Annealed Hamiltonian Monte Carlo, and a last draw of what the smallest noise level leaves open.

    It checks the diffusion where the prior is Gaussian. Under the learned prior nearly all proposals are rejected below
    noise levels of 0.04: on four fields with the noise of COSMOS maps keep three times the variance they should have.
    With shorter steps they are accepted, and the chain hardly moves.
    """
    to_start, to_move, to_draw = tf.unstack(tf.random.split(seed, 3))
    levels = noise_levels(steps, largest=0.3, smallest=0.01)
    x = gaussian + levels[0] * tf.random.stateless_normal(gaussian.shape, to_start)
    x, _ = score_hmc.annealed(model, x, data.shear, data.power, data.precision, levels, to_move, residual=residual)
    mean, scatter = model.moments(x, tf.fill([x.shape[0]], levels[-1]), residual=residual)
    left = data.power / (1.0 + data.power / levels[-1] ** 2)
    return mean + scatter * wiener.prior_sample(left, x.shape, to_draw)
