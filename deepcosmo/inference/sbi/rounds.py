"""Rounds of simulations, each where the posterior of the last has its mass."""

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from deepcosmo._seeds import stateless_seed
from deepcosmo._types import Prior, Seed, TensorLike
from deepcosmo.inference.sbi.estimators import METHODS
from deepcosmo.inference.sbi.simulations import floats
from deepcosmo.inference.sbi.support import Support

if TYPE_CHECKING:
    from deepcosmo.inference.sbi.posterior import Posterior

__all__ = ["sequential"]

TRUNCATED = "NPE", "NRE"
TRUNCATION = 1e-3  # probability that a posterior may have where its prior is cut off
PROBES = 100_000  # draws of the prior that tell how much of it is left


def sequential(
    simulator: Callable[[np.ndarray, tf.Tensor], ArrayLike],
    prior: Prior,
    x_obs: ArrayLike,
    *,
    method: str = "NPE",
    rounds: int = 4,
    simulations_per_round: int = 1000,
    seed: int = 0,
    settings: dict[str, Any] | None = None,
    **options: Any,
) -> "Posterior":
    """The posterior for one observation, from simulations that are spent near it.

    NPE and NRE simulate from the prior, truncated to where the last posterior had all but 0.1% of its mass (Deistler,
    Goncalves & Macke 2022, arXiv:2210.04815; Miller et al. 2021, arXiv:2107.01214): within it the losses need no
    correction. APT is NPE that simulates from the last posterior and trains on all rounds with a loss that corrects for
    that (Greenberg, Nonnenmacher & Macke 2019, arXiv:1905.07488); so does NLE, which needs none (Papamakarios et al.
    2019, arXiv:1805.07226).

    Args:
        simulator: function (theta (n, dim), seed int32[2]) -> data (n, ...).
        prior: `tfd.Distribution` of parameter vectors (dim,), or another that `Estimator` takes.
        x_obs: the observation, of the shape of one simulation.
        method: "NPE", "APT", "NLE" or "NRE".
        rounds, simulations_per_round: how often, and how many.
        seed: int.
        settings: dict of what `Estimator.fit` takes, such as `invalid` and `progress`.
        options: of the estimator, such as `density`.

    Returns:
        The posterior of the last round. That of NRE is zero where the prior was cut off, as no ratio is known there.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}")
    if rounds < 1 or simulations_per_round < 20:
        raise ValueError(f"need rounds >= 1 and simulations_per_round >= 20; got {rounds} and {simulations_per_round}")
    x_obs, prior = floats(x_obs), Support(prior).prior
    if np.isinf(x_obs).any() or (np.isnan(x_obs).any() and (settings or {}).get("invalid") != "gaps"):
        raise ValueError(
            'x_obs holds NaN or infinite values; NaN may mean "not measured" with settings={"invalid": "gaps"}'
        )
    theta, x, proposal = [], [], prior
    for i in range(rounds):
        to_draw, to_simulate = tf.unstack(tf.random.split(tf.random.fold_in(stateless_seed(seed), i), 2))
        theta.append(np.asarray(proposal.sample(simulations_per_round, seed=to_draw)))
        x.append(floats(simulator(theta[-1], to_simulate)))
        if x_obs.shape not in (x[0].shape[1:], (1, *x[0].shape[1:])):
            raise ValueError(f"x_obs must have the shape {x[0].shape[1:]} of a simulation; got {x_obs.shape}")
        rows = np.concatenate(theta), np.concatenate(x)
        if isinstance(proposal, Truncated):  # proposals of all rounds were proportional to the prior in there
            rows = [v[proposal.contains(rows[0]).numpy()] for v in rows]
        with warnings.catch_warnings():
            if i:
                warnings.filterwarnings("ignore", "column .* of theta is not distributed")  # by design
            # a ratio is known, and has a meaning, within the truncated prior only
            estimator = METHODS[method](proposal if method == "NRE" else prior, **options)
            estimator.fit(*rows, seed=seed + i, **(settings or {}))
        posterior = estimator.posterior(x_obs)
        if i < rounds - 1:
            truncate = tf.random.fold_in(to_draw, 1)
            proposal = Truncated(proposal, posterior, seed=truncate) if method in TRUNCATED else posterior
    return posterior


class Truncated:
    """A prior where a posterior is not negligible, which may have been truncated before.

    It does what `Estimator` wants of a prior; densities are not normalised.

    Args:
        prior: `tfd.Distribution` or `Truncated`.
        posterior: `Posterior` under it, normalised or not.
        seed: int32[2], of the draws that find the threshold.
    """

    def __init__(self, prior: Any, posterior: "Posterior", *, seed: tf.Tensor) -> None:
        self.prior, self.posterior = prior, posterior
        self.event_shape, self.batch_shape, self.dtype = prior.event_shape, prior.batch_shape, prior.dtype
        self.name, self.bijector = f"truncated_{prior.name}", posterior.support.bijector
        self._threshold = np.quantile(posterior.log_prob(posterior.sample(10_000, seed=seed)), TRUNCATION)

    def experimental_default_event_space_bijector(self) -> Any:
        return self.bijector

    def contains(self, theta: tf.Tensor) -> tf.Tensor:
        """Whether parameters (..., dim) are inside (...)."""
        rows = tf.reshape(theta, [-1, theta.shape[-1]])
        inside = self.posterior._log_prob(tf.cast(self.bijector.inverse(rows), tf.float32)) >= self._threshold
        inside = tf.reshape(inside, tf.shape(theta)[:-1])
        return inside & self.prior.contains(theta) if isinstance(self.prior, Truncated) else inside

    def log_prob(self, theta: TensorLike) -> tf.Tensor:
        theta = tf.cast(theta, self.dtype)
        return tf.where(self.contains(theta), self.prior.log_prob(theta), tf.cast(-np.inf, self.dtype))

    def sample(self, n: int, *, seed: Seed) -> tf.Tensor:
        to_probe, to_propose, to_choose = tf.unstack(tf.random.split(stateless_seed(seed), 3))
        root = self.prior
        while isinstance(root, Truncated):
            root = root.prior
        probes = root.sample(PROBES, seed=to_probe)
        probes = tf.boolean_mask(probes, self.contains(probes))
        if len(probes) >= n:
            return probes[:n]
        # a small part of the prior: draws of the posterior, with weights, which never take long
        draws = np.unique(self.posterior.sample(50 * n, seed=to_propose), axis=0)  # chains may give some twice
        log_weight = self.log_prob(draws).numpy() - self.posterior.log_prob(draws)
        gumbel = np.random.default_rng(to_choose.numpy().view(np.uint32)).gumbel(size=len(draws))
        return tf.gather(draws, np.argsort(-(log_weight + gumbel))[:n])  # without replacement
