"""How good maps and their uncertainties are: errors, coverage, and statistics of peaks."""

import numpy as np
import scipy.ndimage

__all__ = ["coverage", "map_errors", "peaks", "ranks", "tarp_coverage", "tarp_rank", "thirds"]


def map_errors(estimate, truth, mask):
    """Root mean square error and Pearson correlation of maps inside the mask, each less its mean there.

    Args:
        estimate, truth: (rows, columns).
        mask: bool (rows, columns).

    Returns:
        (rmse, r)
    """
    estimate, truth = (np.asarray(v, float)[mask] for v in (estimate, truth))
    estimate, truth = estimate - estimate.mean(), truth - truth.mean()
    norm = np.sqrt(np.mean(estimate**2) * np.mean(truth**2))
    return float(np.sqrt(np.mean((estimate - truth) ** 2))), float(np.mean(estimate * truth) / norm) if norm else 0.0


def ranks(truth, samples, seed=0):
    """Where the truth (...) lies among samples (n, ...): uniform in (0, 1) if it could be one of them.

    It is the number of smaller samples plus a random share, over n + 1; ties are broken at random.
    """
    truth, samples = np.asarray(truth), np.asarray(samples)
    random = np.random.default_rng(seed)
    equal = (samples == truth).sum(0)
    below = (samples < truth).sum(0) + np.floor(random.uniform(size=truth.shape) * (equal + 1))
    return (below + random.uniform(size=truth.shape)) / (len(samples) + 1)


def coverage(rank, level):
    """Share of ranks within the central interval of probability `level`: `level` itself if samples are calibrated."""
    return float(np.mean(np.abs(2 * np.asarray(rank) - 1) < level))


def thirds(values):
    """Which third of the values (n,) each belongs to: 0, 1, 2, from the smallest to the largest."""
    return np.searchsorted(np.quantile(values, [1 / 3, 2 / 3]), values)


def tarp_rank(truth, samples, reference, seed=0):
    """Where the truth (...) lies among samples (n, ...) by its distance to a reference point (...), as of `ranks`.

    Over many data, references being drawn without knowing the truth, it is uniform if and only if posteriors are
    right (TARP: Lemos et al. 2023, arXiv:2302.03026).
    """
    axes = tuple(range(1, np.ndim(samples)))
    return float(ranks(np.sum((truth - reference) ** 2), np.sum((samples - reference) ** 2, axes), seed))


def tarp_coverage(ranks, levels):
    """Expected coverage (levels,) of credible regions of probability `levels`, of `tarp_rank` over many data (n,).

    The scatter of a calibrated one over n data is sqrt(level (1 - level) / n).
    """
    return np.mean(np.asarray(ranks)[:, None] < np.asarray(levels), 0)


def peaks(kappa, edges, mask=None, *, minima=False):
    """Numbers of local maxima in bins of height: pixels above their 8 neighbours (n,).

    Args:
        kappa: map (rows, columns); pixels on the edge are no peaks.
        edges: of the bins (n + 1,), in the unit of the map.
        mask: bool (rows, columns): where peaks count.
        minima: count minima instead.
    """
    kappa = np.asarray(kappa)
    extreme = scipy.ndimage.minimum_filter if minima else scipy.ndimage.maximum_filter
    found = kappa == extreme(kappa, 3)
    found[[0, -1]] = found[:, [0, -1]] = False
    if mask is not None:
        found &= mask
    return np.histogram(kappa[found], edges)[0]
