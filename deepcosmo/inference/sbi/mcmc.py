"""Samples of a density that is a prior times a likelihood: sequential Monte Carlo, then No-U-Turn chains."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from deepcosmo._seeds import stateless_seed
from deepcosmo._types import Seed
from deepcosmo._warnings import warn

if TYPE_CHECKING:
    from deepcosmo.inference.sbi.support import Support

__all__ = ["Diagnostics", "Sampler"]

CHAINS = 1000
WARMUP, STEPS = 40, 30  # of each chain, after sequential Monte Carlo has spread them over the posterior
DEPTH = 4  # of trees, that is at most 15 leapfrog steps
FEW, MANY, CHAINS_OF_MANY = 5, 50, 100  # posteriors that are sampled at once, and chains of each


@dataclasses.dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """Of chains.

    Attributes:
        r_hat: potential scale reduction of each parameter (dim,): 1 if all chains have seen the same, 1.05 is usual
            for chains as short as these.
        ess: effective sample size of each parameter (dim,), over all chains.
        acceptance: mean acceptance probability.
        stages: tempering stages that led from prior to posterior.
    """

    r_hat: np.ndarray
    ess: np.ndarray
    acceptance: float
    stages: int


class Sampler:
    """Chains start as draws of the prior, which sequential Monte Carlo (Del Moral, Doucet & Jasra 2006) tempers into
    the posterior, so that modes have the right weights. Then each runs the No-U-Turn sampler.

    Posteriors of several data are sampled side by side. Data are arguments of what is compiled: other data of as many
    rows cost no compilation.

    Args:
        support: `Support` of the prior; chains live in its real vectors.
        log_likelihood: function of parameters (n, dim) and data (n, ...), tensors or a structure of them: nats (n,).
    """

    def __init__(self, support: "Support", log_likelihood: Callable[[tf.Tensor, Any], tf.Tensor]) -> None:
        self.support, self._of_rows = support, log_likelihood
        self._run = tf.function(self._chains, autograph=False)

    def log_prior(self, z: tf.Tensor) -> tf.Tensor:
        """ln of the density of unconstrained vectors z (..., dim)."""
        return self.support.log_prior(z) + self.support.log_slope(z)

    def log_likelihood(self, z: tf.Tensor, data: Any) -> tf.Tensor:
        """ln p(x_j | theta(z_ij)) (n, m), for unconstrained vectors z (n, m, dim) and data (m, ...)."""
        n, m, dim = tf.unstack(tf.shape(z))
        theta = self.support.parameters(tf.reshape(z, [-1, z.shape[-1]]))
        rows = tf.nest.map_structure(lambda v: tf.tile(v, tf.concat([[n], tf.ones_like(tf.shape(v)[1:])], 0)), data)
        return tf.reshape(self._of_rows(theta, rows), [n, m])

    def _chains(self, start, data, seed):
        to_temper, to_run = tf.unstack(tf.random.split(seed, 2))

        def likelihood(z):
            value = self.log_likelihood(z, data)
            return tf.where(tf.math.is_finite(value), value, -1e30)

        stages, z, _ = tfp.experimental.mcmc.sample_sequential_monte_carlo(
            self.log_prior, likelihood, start, min_num_steps=5, max_num_steps=20, seed=to_temper
        )
        mean, covariance = tf.reduce_mean(z, 0), tfp.stats.covariance(z)
        floor = tf.linalg.diag(1e-6 * tf.linalg.diag_part(covariance) + 1e-12)
        factor = tf.linalg.cholesky(covariance + floor)
        back = lambda u: mean + tf.linalg.matvec(factor, u)  # noqa: E731
        kernel = tfp.mcmc.NoUTurnSampler(
            lambda u: self.log_prior(back(u)) + likelihood(back(u)),
            step_size=tf.fill([1, tf.shape(z)[1], 1], 0.5),
            max_tree_depth=DEPTH,
        )
        kernel = tfp.mcmc.DualAveragingStepSizeAdaptation(kernel, num_adaptation_steps=WARMUP * 3 // 4)
        inverse = tf.linalg.triangular_solve(factor, tf.eye(z.shape[-1], batch_shape=tf.shape(z)[1:2]))
        states, acceptance = tfp.mcmc.sample_chain(
            STEPS,
            tf.linalg.matvec(inverse, z - mean),
            kernel=kernel,
            num_burnin_steps=WARMUP,
            seed=to_run,
            trace_fn=lambda _, results: tf.exp(tf.minimum(results.inner_results.log_accept_ratio, 0.0)),
        )
        r_hat = tfp.mcmc.potential_scale_reduction(states)
        ess = tfp.mcmc.effective_sample_size(states, cross_chain_dims=1)
        return back(states), r_hat, ess, tf.reduce_mean(acceptance, [0, 1]), stages

    def _draws(self, n, data, chains, seed):
        """Parameters (n, m, dim), R-hat (m, dim), effective sample sizes (m, dim), acceptance (m,) and stages."""
        m = tf.nest.flatten(data)[0].shape[0]
        to_start, to_run = tf.unstack(tf.random.split(seed, 2))
        start = self.support.unconstrained(self.support.prior.sample(chains * m, seed=to_start))
        states, *found = self._run(tf.reshape(start, [chains, m, -1]), data, to_run)
        pool = tf.reshape(states, [-1, *states.shape[2:]])
        rng = np.random.default_rng(to_run.numpy().view(np.uint32))
        # spread over chains and time; twice the same only where more are asked for than there are
        order = np.concatenate([rng.permutation(len(pool)) for _ in range(max(1, -(-n // len(pool))))])[:n]
        return self.support.parameters(tf.gather(pool, order)).numpy(), *(value.numpy() for value in found)

    def sample(self, n: int, data: Any, *, seed: Seed) -> tuple[np.ndarray, Diagnostics]:
        """Draws (n, dim) of the posterior given data (1, ...), and their `Diagnostics`. Warns if R-hat is above 1.2."""
        theta, r_hat, ess, acceptance, stages = self._draws(n, data, CHAINS, stateless_seed(seed))
        if not np.all(r_hat < 1.2):
            warn(
                f"chains have not mixed: R-hat {np.round(r_hat[0], 2).tolist()}; several modes keep each "
                "its chains, in numbers that sequential Monte Carlo has found"
            )
        return theta[:, 0], Diagnostics(r_hat=r_hat[0], ess=ess[0], acceptance=float(acceptance[0]), stages=int(stages))

    def sample_many(self, n: int, data: Any, *, seed: Seed) -> np.ndarray:
        """Draws (n, m, dim) of the posteriors given data (m, ...). Warns if R-hat is above 1.2 for some."""
        m = tf.nest.flatten(data)[0].shape[0]
        if not n * m:
            return np.empty((n, m, self.support.dim), self.support.dtype)
        theta, r_hat, size = [], [], FEW if m <= FEW else MANY
        for i, own in zip(range(0, m, size), tf.random.split(stateless_seed(seed), -(-m // size)), strict=True):
            rows = np.minimum(np.arange(i, i + size), m - 1)  # always as many, for what is compiled
            some = self._draws(n, tf.nest.map_structure(lambda v: tf.gather(v, rows), data), CHAINS_OF_MANY, own)  # noqa: B023
            theta.append(some[0])
            r_hat.append(some[1])
        bad = np.sum(~np.all(np.concatenate(r_hat)[:m] < 1.2, -1))
        if bad:
            warn(f"chains have not mixed for {bad} of {m} data: R-hat is above 1.2")
        return np.concatenate(theta, 1)[:, :m]
