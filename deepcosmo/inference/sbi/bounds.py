"""Bounds of parameters, from the density of their prior alone."""

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    import tensorflow_probability as tfp

__all__ = ["bounds_of"]

DRAWS, PROBES = 256, 8  # of the prior: those between which all must be possible, those from which bounds are looked for
FAR = 1e4  # widths of all draws beyond them: who is possible there has no bound
FINEST = 1e-9  # of these widths, to which a bound is found at least


def bounds_of(prior: "tfp.distributions.Distribution") -> list[tuple[float, float]]:
    """(low, high) of each parameter under a `tfd.Distribution` of vectors (dim,), infinite where there is no bound.

    Raises:
        NotImplementedError: what is possible for one parameter depends on the others, or has gaps, or are integers.
    """
    draws = prior.sample(DRAWS, seed=[0, 0]).numpy()
    if np.all(draws == np.rint(draws), 0).any():
        raise NotImplementedError("a parameter has no density")
    density = tf.function(prior.log_prob, autograph=False)
    possible = lambda theta: np.isfinite(density(theta).numpy())  # noqa: E731
    share = np.random.default_rng(0).uniform(size=draws.shape).astype(draws.dtype)
    between = draws + share * (draws[::-1] - draws)  # of two draws, each parameter for itself
    width, probes = np.ptp(draws, 0), draws[:PROBES]
    low, high = (
        _bound(possible, probes, far, FINEST * width)
        for far in (draws.min(0) - FAR * width, draws.max(0) + FAR * width)
    )
    agree = [np.allclose(bound, bound[0], 0.0, 1e-3 * width.min()) for bound in (low, high)]
    if not (all(agree) and possible(between).all()):
        raise NotImplementedError("the support is no box")
    return list(zip(low[0], high[0], strict=True))


def _bound(possible, probes, far, precision):
    """The last possible value (n, dim) of each parameter on the way from probes (n, dim) to far values (dim,)."""
    every = np.arange(probes.shape[1])

    def inside(values):
        points = np.repeat(probes[:, None], len(every), 1)
        points[:, every, every] = values
        return possible(points)

    found, beyond = probes, np.broadcast_to(far.astype(probes.dtype), probes.shape)
    unbounded = inside(beyond)
    found = np.where(unbounded, beyond, found)
    while True:
        middle = found + (beyond - found) / 2
        if np.all((np.abs(beyond - found) <= precision) | (middle == found) | (middle == beyond)):
            return np.where(unbounded, np.copysign(np.inf, far - probes), found)
        within = inside(middle)
        found, beyond = np.where(within, middle, found), np.where(within, beyond, middle)
