"""Rounds of simulations, each where the posterior of the last has its mass."""

import warnings

import numpy as np
import tensorflow as tf

from deepcosmo.inference.sbi.estimators import NLE, NPE
from deepcosmo.models.conditional import stateless_seed

__all__ = ["sequential"]

METHODS = {"NPE": NPE, "NLE": NLE}
TRUNCATION = 1e-3  # probability that a posterior may have where its prior is cut off
PROBES = 100_000  # draws of the prior that tell how much of it is left


def sequential(simulator, prior, x_obs, *, method="NPE", rounds=4, simulations_per_round=1000, seed=0, settings=None,
               **options):  # fmt: skip
    """The posterior for one observation, from simulations that are spent near it.

    NPE simulates from the prior, truncated to where the last posterior had all but 0.1% of its mass (Deistler,
    Goncalves & Macke 2022, arXiv:2210.04815): within it the loss needs no correction. NLE simulates from the last
    posterior, and trains on all rounds (Papamakarios et al. 2019, arXiv:1805.07226).

    Args:
        simulator: function (theta (n, dim), seed int32[2]) -> data (n, ...).
        prior: `tfd.Distribution` of parameter vectors (dim,).
        x_obs: the observation, of the shape of one simulation.
        method: "NPE" or "NLE".
        rounds, simulations_per_round: how often, and how many.
        seed: int.
        settings: dict of what `Estimator.fit` takes, such as `invalid` and `progress`.
        options: of the estimator, such as `density`.

    Returns:
        The posterior of the last round.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}")
    if rounds < 1 or simulations_per_round < 20:
        raise ValueError(f"need rounds >= 1 and simulations_per_round >= 20; got {rounds} and {simulations_per_round}")
    propose = _from_truncated_prior if method == "NPE" else _from_posterior
    theta, x, posterior = [], [], None
    for i in range(rounds):
        to_draw, to_simulate = tf.unstack(tf.random.split(tf.random.fold_in(stateless_seed(seed), i), 2))
        if posterior is None:
            new, inside = prior.sample(simulations_per_round, seed=to_draw).numpy(), None
        else:
            new, inside = propose(prior, posterior, simulations_per_round, to_draw)
        theta.append(new)
        x.append(np.asarray(simulator(new, to_simulate)))
        rows = np.concatenate(theta), np.concatenate(x)
        if inside is not None:  # where proposals of all rounds were proportional to the prior
            rows = [v[inside(rows[0])] for v in rows]
        with warnings.catch_warnings():
            if i:
                warnings.filterwarnings("ignore", "column .* of theta is not distributed")  # by design
            estimator = METHODS[method](prior, **options).fit(*rows, seed=seed + i, **(settings or {}))
        posterior = estimator.posterior(x_obs)
    return posterior


def _from_posterior(prior, posterior, n, seed):
    del prior
    return posterior.sample(n, seed=seed), None


def _from_truncated_prior(prior, posterior, n, seed):
    """Draws of the prior where the posterior is not negligible, and the function that tells where that is."""
    to_threshold, to_probe, to_propose, to_choose = tf.unstack(tf.random.split(seed, 4))
    threshold = np.quantile(posterior.log_prob(posterior.sample(10_000, seed=to_threshold)), TRUNCATION)

    def inside(theta):
        return posterior.log_prob(theta) >= threshold

    probes = prior.sample(PROBES, seed=to_probe).numpy()
    probes = probes[inside(probes)]
    if len(probes) >= n:
        return probes[:n], inside
    # a small part of the prior: draws of the posterior, with weights, which never take long
    draws = posterior.sample(50 * n, seed=to_propose)
    log_density = posterior.log_prob(draws)
    log_weight = np.where(log_density >= threshold, prior.log_prob(draws).numpy() - log_density, -np.inf)
    gumbel = np.random.default_rng(to_choose.numpy().view(np.uint32)).gumbel(size=len(draws))
    return draws[np.argsort(-(log_weight + gumbel))[:n]], inside  # without replacement
