"""Samples of a density that is a prior times a likelihood: sequential Monte Carlo, then No-U-Turn chains."""

import dataclasses
import warnings

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

__all__ = ["CHAINS", "Diagnostics", "Sampler"]

CHAINS = 1000
WARMUP, STEPS = 40, 30  # of each chain, after sequential Monte Carlo has spread them over the posterior
DEPTH = 4  # of trees, that is at most 15 leapfrog steps


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

    Args:
        log_prior, log_likelihood: functions of vectors z (chains, dim), in nats.
    """

    def __init__(self, log_prior, log_likelihood):
        self._log_prior, self._log_likelihood = log_prior, log_likelihood
        self._run = tf.function(self._chains, autograph=False)

    def _chains(self, start, seed):
        to_temper, to_run = tf.unstack(tf.random.split(seed, 2))

        def likelihood(z):
            value = self._log_likelihood(z)
            return tf.where(tf.math.is_finite(value), value, -1e30)

        stages, z, _ = tfp.experimental.mcmc.sample_sequential_monte_carlo(
            self._log_prior, likelihood, start, min_num_steps=5, max_num_steps=20, seed=to_temper
        )
        mean, covariance = tf.reduce_mean(z, 0), tfp.stats.covariance(z)
        floor = tf.linalg.diag(1e-6 * tf.linalg.diag_part(covariance) + 1e-12)
        factor = tf.linalg.cholesky(covariance + floor)
        back = lambda u: mean + tf.linalg.matvec(factor, u)  # noqa: E731
        kernel = tfp.mcmc.NoUTurnSampler(
            lambda u: self._log_prior(back(u)) + likelihood(back(u)), step_size=0.5, max_tree_depth=DEPTH
        )
        kernel = tfp.mcmc.DualAveragingStepSizeAdaptation(kernel, num_adaptation_steps=WARMUP * 3 // 4)
        u = tf.transpose(tf.linalg.triangular_solve(factor, tf.transpose(z - mean)))
        states, acceptance = tfp.mcmc.sample_chain(
            STEPS, u, kernel=kernel, num_burnin_steps=WARMUP, seed=to_run,
            trace_fn=lambda _, results: tf.exp(tf.minimum(results.inner_results.log_accept_ratio, 0.0)),
        )  # fmt: skip
        r_hat = tfp.mcmc.potential_scale_reduction(states)
        ess = tfp.mcmc.effective_sample_size(states, cross_chain_dims=1)
        return back(states), r_hat, ess, tf.reduce_mean(acceptance), stages

    def sample(self, n, start, seed):
        """Draws (n, dim) from chains that start at draws of the prior (chains, dim), and their `Diagnostics`.

        Warns if R-hat is above 1.2.
        """
        states, r_hat, ess, acceptance, stages = self._run(start, seed)
        found = Diagnostics(r_hat=r_hat.numpy(), ess=ess.numpy(), acceptance=float(acceptance), stages=int(stages))
        if not np.all(found.r_hat < 1.2):
            warnings.warn(f"chains have not mixed: R-hat {np.round(found.r_hat, 2).tolist()}; several modes keep each "
                          "its chains, in numbers that sequential Monte Carlo has found", stacklevel=3)
        pool = tf.reshape(states, [-1, states.shape[-1]])
        rng = np.random.default_rng(seed.numpy().view(np.uint32))
        # spread over chains and time; twice the same only where more are asked for than there are
        order = np.concatenate([rng.permutation(len(pool)) for _ in range(-(-n // len(pool)))])[:n]
        return tf.gather(pool, order), found
