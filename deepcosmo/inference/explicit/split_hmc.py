"""Hamiltonian Monte Carlo for densities that are nearly standard normal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from deepcosmo._types import Seed, TensorLike

__all__ = ["SplitHMC"]


class SplitHMCResults(NamedTuple):
    """Of a transition: ln p and its gradient in excess of a normal density, and the acceptance ratio (chains,)."""

    excess: tf.Tensor
    gradients: list
    log_accept_ratio: tf.Tensor


class SplitHMC(tfp.mcmc.TransitionKernel):
    """A `tfp.mcmc` kernel that follows the motion of a standard normal density exactly, as a rotation, and is kicked by
    what the density has in excess of it (Beskos et al. 2011, Stoch. Proc. Appl. 121, 2201; Shahbaba et al. 2014,
    arXiv:1106.5941).

    Its error is that excess's alone: the number of dimensions does not shorten the steps as it does a leapfrog's.

    Args:
        log_prob: function of the parts of a state, each (chains, ...), nats (chains,).
        step_size: angle of the rotation, a scalar; a quarter turn, pi / 2, forgets where it began.
        steps: per transition.
    """

    def __init__(self, log_prob: Callable[..., tf.Tensor], step_size: TensorLike, steps: TensorLike) -> None:
        self._log_prob, self._angle, self._steps = log_prob, step_size, steps

    @property
    def is_calibrated(self) -> bool:
        return True

    def _excess(self, state):
        def excess(*state):
            return self._log_prob(*state) + 0.5 * _square(state)

        return tfp.math.value_and_gradient(excess, state)

    def bootstrap_results(self, state: Sequence[tf.Tensor]) -> SplitHMCResults:
        excess, gradients = self._excess(state)
        return SplitHMCResults(excess, gradients, tf.zeros_like(excess))

    def one_step(
        self, current_state: Sequence[tf.Tensor], previous_kernel_results: SplitHMCResults, seed: Seed | None = None
    ) -> tuple[list[tf.Tensor], SplitHMCResults]:
        *seeds, to_accept = tf.unstack(tf.random.split(tfp.random.sanitize_seed(seed), len(current_state) + 1))
        momentum = [
            tf.random.stateless_normal(tf.shape(part), s, dtype=part.dtype)
            for part, s in zip(current_state, seeds, strict=True)
        ]
        cosine, sine = tf.cos(self._angle), tf.sin(self._angle)

        def step(state, momentum, _, gradients):
            momentum = [p + 0.5 * self._angle * g for p, g in zip(momentum, gradients, strict=True)]
            turned = [(cosine * q + sine * p, cosine * p - sine * q) for q, p in zip(state, momentum, strict=True)]
            state, momentum = (list(part) for part in zip(*turned, strict=True))
            excess, gradients = self._excess(state)
            momentum = [p + 0.5 * self._angle * g for p, g in zip(momentum, gradients, strict=True)]
            return state, momentum, excess, gradients

        start, before = list(current_state), previous_kernel_results
        state, end, excess, gradients = tf.while_loop(
            lambda *_: True, step, (start, momentum, before.excess, before.gradients), maximum_iterations=self._steps
        )
        energy = 0.5 * (_square(state) + _square(end) - _square(start) - _square(momentum))
        ratio = excess - before.excess - energy
        ratio = tf.where(tf.math.is_finite(ratio), ratio, -np.inf)
        accepted = tf.math.log(tf.random.stateless_uniform(tf.shape(ratio), to_accept, dtype=ratio.dtype)) < ratio

        def chosen(new, old):
            return tf.where(tf.reshape(accepted, [-1] + [1] * (len(new.shape) - 1)), new, old)

        state = [chosen(new, old) for new, old in zip(state, start, strict=True)]
        gradients = [chosen(new, old) for new, old in zip(gradients, before.gradients, strict=True)]
        return state, SplitHMCResults(chosen(excess, before.excess), gradients, ratio)


def _square(parts):
    return sum(tf.reduce_sum(tf.square(part), list(range(1, len(part.shape)))) for part in parts)
