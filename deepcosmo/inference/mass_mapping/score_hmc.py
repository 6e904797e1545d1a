"""Hamiltonian Monte Carlo with a score in place of a density, annealed over noise levels (Remy et al. 2023)."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from deepcosmo._types import Seed, TensorLike
from deepcosmo.physics import lensing, wiener
from deepcosmo.physics.shear_modes import as_complex

if TYPE_CHECKING:
    from deepcosmo.models.kappa.score import KappaScore

__all__ = ["ScoreHMC", "annealed"]

ACCEPTANCE = 0.8  # that the step size is adapted to
# Gauss-Lobatto rule on [0, 1], without the ends, whose weight is 1/20
INTERIOR = ((0.5 - (3 / 28) ** 0.5, 49 / 180), (0.5, 16 / 45), (0.5 + (3 / 28) ** 0.5, 49 / 180))


class ScoreHMCResults(NamedTuple):
    """Of a transition: the score at the new state, how probable acceptance was, whether it was accepted (chains,)."""

    score: tf.Tensor
    log_accept_ratio: tf.Tensor
    is_accepted: tf.Tensor


class ScoreHMC(tfp.mcmc.TransitionKernel):
    """A `tfp.mcmc` kernel for densities of which only the gradient of the logarithm is known.

    The Metropolis step needs the difference of ln p between both ends of the trajectory. It is the integral of the
    score along the straight line between them, by the Gauss-Lobatto rule of five points, both ends among them. (Along
    the trajectory itself the trapezoidal rule gives no more than the leapfrog's own error.)

    Args:
        score: state (chains, ...) -> gradient of ln p, of the same shape.
        step_size: of the leapfrog, a scalar.
        num_leapfrog_steps: per transition.
    """

    def __init__(
        self, score: Callable[[tf.Tensor], tf.Tensor], *, step_size: TensorLike, num_leapfrog_steps: int
    ) -> None:
        self._score, self._step, self._count = score, step_size, num_leapfrog_steps

    @property
    def is_calibrated(self) -> bool:
        return True

    def bootstrap_results(self, state: tf.Tensor) -> ScoreHMCResults:
        chains = tf.shape(state)[:1]
        return ScoreHMCResults(self._score(state), tf.zeros(chains, state.dtype), tf.ones(chains, tf.bool))

    def one_step(
        self, current_state: tf.Tensor, previous_kernel_results: ScoreHMCResults, seed: "Seed | None" = None
    ) -> tuple[tf.Tensor, ScoreHMCResults]:
        seeds = tf.unstack(tf.random.split(tfp.random.sanitize_seed(seed), 2))
        momentum = tf.random.stateless_normal(tf.shape(current_state), seeds[0], dtype=current_state.dtype)
        axes = list(range(1, len(current_state.shape)))

        def leap(state, momentum, score):
            momentum += 0.5 * self._step * score
            state += self._step * momentum
            score = self._score(state)
            return state, momentum + 0.5 * self._step * score, score

        start = previous_kernel_results.score
        state, end, score = tf.while_loop(
            lambda *_: True, leap, (current_state, momentum, start), maximum_iterations=self._count
        )
        way = state - current_state
        mean = (start + score) / 20 + sum(w * self._score(current_state + t * way) for t, w in INTERIOR)
        log_ratio = tf.reduce_sum(mean * way + 0.5 * (momentum**2 - end**2), axes)
        log_ratio = tf.where(tf.math.is_finite(log_ratio), log_ratio, -float("inf"))
        uniform = tf.random.stateless_uniform(tf.shape(log_ratio), seeds[1], dtype=log_ratio.dtype)
        accepted = tf.math.log(uniform) < log_ratio
        where = tf.reshape(accepted, [-1] + [1] * len(axes))
        state = tf.where(where, state, current_state)
        score = tf.where(where, score, previous_kernel_results.score)
        return state, ScoreHMCResults(score, log_ratio, accepted)


@tf.function(autograph=False)
def _transitions(model, x, shear, power, precision, sigma, step, seed, count, leapfrogs, residual):
    """`count` transitions at noise level sigma; returns the maps and the acceptance rate.

    The state is the map in units of the scatter that a Gaussian posterior would have in each Fourier mode.
    """
    tempered = tf.math.divide_no_nan(1.0, 1.0 / precision + sigma**2)
    known = tf.reduce_mean(tempered)
    scatter = tf.sqrt((power + sigma**2) / (1.0 + (power + sigma**2) * known))

    def scaled(maps):
        modes = tf.signal.rfft2d(maps)
        return tf.signal.irfft2d(as_complex(scatter) * modes, maps.shape[-2:])

    def score(state):
        x = scaled(state)
        of_data = wiener.information(shear - lensing.kappa_to_shear(x), tempered)
        return scaled(of_data + model.score(x, tf.fill(tf.shape(x)[:1], sigma), residual=residual))

    modes = tf.signal.rfft2d(x) / as_complex(scatter)
    kernel = ScoreHMC(score, step_size=step, num_leapfrog_steps=leapfrogs)
    state, accepted = tfp.mcmc.sample_chain(
        count,
        tf.signal.irfft2d(modes, x.shape[-2:]),
        kernel=kernel,
        seed=seed,
        trace_fn=lambda _, results: tf.exp(tf.minimum(results.log_accept_ratio, 0.0)),
    )
    return scaled(state[-1]), tf.reduce_mean(accepted)


def annealed(
    model: "KappaScore",
    x: tf.Tensor,
    shear: tf.Tensor,
    power: tf.Tensor,
    precision: tf.Tensor,
    levels: Sequence[float],
    seed: tf.Tensor,
    *,
    transitions: int = 4,
    leapfrogs: int = 12,
    residual: bool = True,
) -> tuple[tf.Tensor, list[float]]:
    """Takes maps x through tempered posteriors at decreasing noise levels.

    At level sigma the prior is smoothed by white noise of that standard deviation and the variance of the shear's
    noise is larger by sigma^2. Trajectories are about half a period long; the step adapts to the acceptance.

    Args:
        model: `KappaScore`.
        x: maps (chains, rows, columns), near the posterior of the first level.
        shear: (1 or chains, rows, columns, 2).
        power, precision: prior spectrum and 1 / noise variance, as of `wiener`.
        levels: decreasing noise levels.
        seed: int32[2].
        transitions: at each level.
        leapfrogs: steps of a trajectory.

    Returns:
        Maps at the last level (chains, rows, columns), and the acceptance rate at each level.
    """
    step, rates = tf.constant(1.5 / leapfrogs), []
    for i, sigma in enumerate(levels):
        x, rate = _transitions(
            model,
            x,
            shear,
            power,
            precision,
            tf.constant(sigma, tf.float32),
            step,
            tf.random.fold_in(seed, i),
            transitions,
            leapfrogs,
            residual,
        )
        rates.append(float(rate))
        step *= 1.15 if rate > ACCEPTANCE else 0.8
        step = tf.minimum(step, 1.8 / leapfrogs)
    return x, rates
