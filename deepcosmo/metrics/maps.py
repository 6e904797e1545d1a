"""Errors of maps and statistics of their peaks."""

import numpy as np
import scipy.ndimage
from numpy.typing import ArrayLike

__all__ = ["map_errors", "peaks", "thirds"]


def map_errors(estimate: ArrayLike, truth: ArrayLike, mask: np.ndarray) -> tuple[float, float]:
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


def thirds(values: np.ndarray) -> np.ndarray:
    """Which third of the values (n,) each belongs to: 0, 1, 2, from the smallest to the largest."""
    return np.searchsorted(np.quantile(values, [1 / 3, 2 / 3]), values)


def peaks(kappa: ArrayLike, edges: ArrayLike, mask: np.ndarray | None = None, *, minima: bool = False) -> np.ndarray:
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
