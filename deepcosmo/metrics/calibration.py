"""Whether posteriors are right on average: simulation-based calibration, expected coverage, TARP."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

from deepcosmo._types import PathLike
from deepcosmo.metrics.ranks import ranks, tarp_coverage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Calibration", "calibration"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """Ranks of the truth among draws of its posterior, over m simulations; all are uniform in (0, 1) if calibrated.

    Attributes:
        ranks: of each parameter (m, dim): simulation-based calibration (Talts et al. 2018, arXiv:1804.06788).
        tarp: of the distance to a random point (m,): TARP (Lemos et al. 2023, arXiv:2302.03026).
        density: of the posterior density at the truth (m,), or None: one less the probability of the smallest highest-
            density region that holds the truth.
    """

    ranks: np.ndarray
    tarp: np.ndarray
    density: np.ndarray | None

    def p_values(self) -> dict[str, Any]:
        """Dict of p-values (Kolmogorov-Smirnov) that the ranks are uniform: "ranks" (dim,), "tarp", "density"."""
        found = {"ranks": np.array([_p_value(column) for column in self.ranks.T]), "tarp": _p_value(self.tarp)}
        return found if self.density is None else {**found, "density": _p_value(self.density)}

    def coverage(self, levels: ArrayLike) -> dict[str, np.ndarray]:
        """Shares of the truths in credible regions of probability `levels` (l,).

        Dict: "ranks" (l, dim) for central intervals of each parameter, "tarp" (l,), and "density" (l,) for regions of
        highest density.
        """
        levels = np.asarray(levels, float)
        found = {
            "ranks": np.mean(np.abs(2 * self.ranks - 1)[None] < levels[:, None, None], 1),
            "tarp": tarp_coverage(self.tarp, levels),
        }
        return found if self.density is None else {**found, "density": tarp_coverage(1 - self.density, levels)}

    def plot(self, path: PathLike | None = None, *, labels: Sequence[str] | None = None) -> Figure:
        """Ranks and coverage with the bands of 95% that calibrated posteriors keep to; returns the figure."""
        from deepcosmo import plots

        return plots.calibration(self, path, labels=labels)


def calibration(
    theta: ArrayLike, samples: ArrayLike, *, log_prob: tuple[ArrayLike, ArrayLike] | None = None, seed: int = 0
) -> Calibration:
    """Compares true parameters with draws of their posteriors.

    Args:
        theta: true parameters (m, dim), draws of the prior.
        samples: draws of the posterior given the data of each (n, m, dim).
        log_prob: densities of the posteriors at the truth (m,) and at the draws (n, m), a pair, for "density".
        seed: of the reference points of TARP, which are draws of the prior, and of ties.

    Raises:
        ValueError: shapes that disagree, or values that are not finite.
    """
    theta, samples = np.asarray(theta, float), np.asarray(samples, float)
    if theta.ndim != 2 or samples.ndim != 3 or samples.shape[1:] != theta.shape:
        raise ValueError(f"theta must be (m, dim) and samples (n, m, dim); got {theta.shape} and {samples.shape}")
    if not (np.isfinite(theta).all() and np.isfinite(samples).all()):
        raise ValueError("theta or samples hold NaN or infinite values")
    rng = np.random.default_rng(seed)
    scale = theta.std(0)
    points = theta[rng.permutation(len(theta))]  # another truth is a draw of the prior that knows nothing of this one
    of_truth, of_samples = (np.sum(((v - points) / scale) ** 2, -1) for v in (theta, samples))
    density = None if log_prob is None else ranks(*log_prob, seed=int(rng.integers(2**31)))
    return Calibration(
        ranks=ranks(theta, samples, seed=int(rng.integers(2**31))),
        tarp=ranks(of_truth, of_samples, seed=int(rng.integers(2**31))),
        density=density,
    )


def _p_value(ranks):
    return float(scipy.stats.kstest(ranks, "uniform").pvalue)
