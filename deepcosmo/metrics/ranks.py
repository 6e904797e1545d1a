"""Ranks of the truth among posterior samples, and the coverage that they imply."""

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["coverage", "ranks", "tarp_coverage", "tarp_rank"]


def ranks(truth: ArrayLike, samples: ArrayLike, seed: int = 0) -> np.ndarray:
    """Where the truth (...) lies among samples (n, ...): uniform in (0, 1) if it could be one of them.

    It is the number of smaller samples plus a random share, over n + 1; ties are broken at random.
    """
    truth, samples = np.asarray(truth), np.asarray(samples)
    random = np.random.default_rng(seed)
    equal = (samples == truth).sum(0)
    below = (samples < truth).sum(0) + np.floor(random.uniform(size=truth.shape) * (equal + 1))
    return (below + random.uniform(size=truth.shape)) / (len(samples) + 1)


def coverage(rank: ArrayLike, level: float) -> float:
    """Share of ranks within the central interval of probability `level`: `level` itself if samples are calibrated."""
    return float(np.mean(np.abs(2 * np.asarray(rank) - 1) < level))


def tarp_rank(truth: np.ndarray, samples: np.ndarray, reference: np.ndarray, seed: int = 0) -> float:
    """Where the truth (...) lies among samples (n, ...) by its distance to a reference point (...), as of `ranks`.

    Over many data, references being drawn without knowing the truth, it is uniform if and only if posteriors are
    right (TARP: Lemos et al. 2023, arXiv:2302.03026).
    """
    axes = tuple(range(1, np.ndim(samples)))
    return float(ranks(np.sum((truth - reference) ** 2), np.sum((samples - reference) ** 2, axes), seed))


def tarp_coverage(ranks: ArrayLike, levels: ArrayLike) -> np.ndarray:
    """Expected coverage (levels,) of credible regions of probability `levels`, of `tarp_rank` over many data (n,).

    The scatter of a calibrated one over n data is sqrt(level (1 - level) / n).
    """
    return np.mean(np.asarray(ranks)[:, None] < np.asarray(levels), 0)
