"""Samples against truth: means, distributions, conditional biases, memorisation.

Statistics are dicts of (n,) arrays, as `deepcosmo.metrics.morphology.measure` returns them. NaN marks a
failed measurement and is left out; the entry `flag` is ignored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

from deepcosmo._types import Columns

__all__ = [
    "ConditionalBias",
    "MeanDifference",
    "Memorisation",
    "Wasserstein",
    "conditional_bias",
    "mean_differences",
    "memorisation",
    "stamp_features",
    "wasserstein",
    "wasserstein_floor",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeanDifference:
    """Mean of a statistic in samples less that in truth.

    Attributes:
      truth, samples: the two means, in the unit of the statistic.
      difference, error: samples less truth, and its standard error.
      sigma: difference / error.
      percent, percent_error: the same relative to |truth|, in per cent: meaningless for means near zero.
      size: number of samples that count.
    """

    truth: float
    samples: float
    difference: float
    error: float
    size: int

    @property
    def sigma(self) -> float:
        return self.difference / self.error if self.error > 0 else np.copysign(np.inf, self.difference)

    @property
    def percent(self) -> float:
        return 100 * self.difference / abs(self.truth) if self.truth else np.nan

    @property
    def percent_error(self) -> float:
        return 100 * self.error / abs(self.truth) if self.truth else np.nan


def mean_differences(
    truth: Columns, samples: Columns, *, names: Sequence[str] | None = None, paired: bool = False
) -> dict[str, MeanDifference]:
    """Difference of means of each statistic.

    Args:
      truth, samples: statistics, dicts of (n,) and (m,) arrays.
      names: which statistics; by default all that both have.
      paired: whether row i of both has the same conditions. The error is then that of the mean of the n
        differences, which is the smaller one where the conditions explain much of the scatter.

    Returns:
      Dict: name -> `MeanDifference`.
    """
    return {name: _mean_difference(x, y, paired) for name, x, y in _columns(truth, samples, names, paired)}


def _mean_difference(x, y, paired):
    if paired:
        both = np.isfinite(x) & np.isfinite(y)
        x, y = x[both], y[both]
    else:
        x, y = x[np.isfinite(x)], y[np.isfinite(y)]
    if min(len(x), len(y)) < 2:
        return MeanDifference(truth=np.nan, samples=np.nan, difference=np.nan, error=np.nan, size=len(y))
    if paired:
        error = np.std(y - x, ddof=1) / np.sqrt(len(x))
    else:
        error = np.sqrt(np.var(x, ddof=1) / len(x) + np.var(y, ddof=1) / len(y))
    return MeanDifference(
        truth=float(x.mean()),
        samples=float(y.mean()),
        difference=float(y.mean() - x.mean()),
        error=float(error),
        size=len(y),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wasserstein:
    """Wasserstein-1 distances in units of the truth's standard deviation.

    Attributes:
      each: name -> distance of that statistic.
      mean, error: mean over the statistics and its error (bootstrap, or scatter of the splits).
      size: number of samples.
    """

    each: dict
    mean: float
    error: float
    size: int


def wasserstein(
    truth: Columns, samples: Columns, *, names: Sequence[str] | None = None, bootstraps: int = 30, seed: int = 0
) -> Wasserstein:
    """Distance between the distributions of each statistic, and the mean over the statistics.

    Both sides are z-scored with the mean and the standard deviation of the *truth*, then compared by the
    Wasserstein-1 distance of one-dimensional distributions; figures of this kind are given for generated
    galaxies by Holzschuh et al. 2022 (arXiv:2203.11956). A finite sample of the truth itself is at a distance
    above zero, falling as the root of its size: see `wasserstein_floor`. Heavy tails (flux) are better given
    as logarithms.

    Args:
      truth, samples: statistics, dicts of (n,) and (m,) arrays.
      names: which statistics; by default all that both have.
      bootstraps: number of resamplings for the error.
      seed: of the resamplings.

    Returns:
      `Wasserstein`.
    """
    columns = [(name, x[np.isfinite(x)], y[np.isfinite(y)]) for name, x, y in _columns(truth, samples, names, False)]
    each = {name: _scaled_distance(x, y) for name, x, y in columns}
    rng = np.random.default_rng(seed)
    means = [
        np.mean([_scaled_distance(rng.choice(x, len(x)), rng.choice(y, len(y))) for _, x, y in columns])
        for _ in range(bootstraps)
    ]
    return Wasserstein(
        each=each,
        mean=float(np.mean(list(each.values()))),
        size=max(len(y) for _, _, y in columns),
        error=float(np.std(means, ddof=1)) if bootstraps > 1 else np.nan,
    )


def wasserstein_floor(
    truth: Columns, *, names: Sequence[str] | None = None, splits: int = 10, seed: int = 0
) -> Wasserstein:
    """As `wasserstein`, between random halves of the truth: mean over `splits` splits, `error` their scatter.

    Samples as many as the truth that follow its distribution exactly lie lower, by about the root of two.
    """
    names = [name for name, _, _ in _columns(truth, truth, names, False)]
    size = len(truth[names[0]])
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(splits):
        order = rng.permutation(size)
        halves = ({name: np.asarray(truth[name])[part] for name in names} for part in np.array_split(order, 2))
        rows.append(list(wasserstein(*halves, names=names, bootstraps=0).each.values()))
    means = np.mean(rows, axis=1)
    return Wasserstein(
        each=dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True)),
        mean=float(means.mean()),
        error=float(means.std(ddof=1)) if splits > 1 else np.nan,
        size=size // 2,
    )


def _scaled_distance(x, y):
    scale = np.std(x) if len(x) else 0
    return float(scipy.stats.wasserstein_distance(x, y) / scale) if scale > 0 and len(y) else np.nan


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConditionalBias:
    """Difference of means of one statistic in one bin: `low` <= condition < `high` (the last one closed)."""

    statistic: str
    condition: str
    low: float
    high: float
    mean: MeanDifference


def conditional_bias(
    truth: Columns,
    samples: Columns,
    conditions: Columns,
    *,
    names: Sequence[str] | None = None,
    bins: int | dict[str, Any] = 5,
    paired: bool = True,
) -> list[ConditionalBias]:
    """Differences of means in bins of each condition.

    Among many bins some are off by 3 sigma by chance: expect 0.3% of them.

    Args:
      truth, samples: statistics at the same conditions, dicts of (n,) arrays.
      conditions: dict of (n,) arrays, e.g. mag_auto, flux_radius, zphot.
      names: which statistics; by default all that both have.
      bins: number of bins with equally many galaxies, or a dict: condition -> edges.
      paired: as in `mean_differences`.

    Returns:
      List of `ConditionalBias`.
    """
    columns = _columns(truth, samples, names, True)
    biases = []
    for condition, values in conditions.items():
        values = np.asarray(values, np.float64)
        if values.shape != columns[0][1].shape or not np.isfinite(values).all():
            raise ValueError(f"condition {condition} must be finite and of shape {columns[0][1].shape}")
        edges = bins[condition] if isinstance(bins, dict) else np.quantile(values, np.linspace(0, 1, bins + 1))
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            inside = (values >= low) & ((values < high) | ((high == edges[-1]) & (values == high)))
            for name, x, y in columns:
                biases.append(
                    ConditionalBias(
                        statistic=name,
                        condition=condition,
                        low=float(low),
                        high=float(high),
                        mean=_mean_difference(x[inside], y[inside], paired),
                    )
                )
    return biases


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memorisation:
    """Are samples nearer to the training set than unseen galaxies are?

    Attributes:
      auc, auc_error: probability that a sample is nearer to its nearest training galaxy than a test galaxy is
        to its own; 0.5 where nothing is memorised, 1 for copies. The error is that of equal distributions.
      ks, p_value: two-sided Kolmogorov-Smirnov test of the two distributions of distances.
      copies: fraction of samples nearer than 1% of the test galaxies are: 0.01 where nothing is memorised.
      size: number of samples.
    """

    auc: float
    auc_error: float
    ks: float
    p_value: float
    copies: float
    size: int


def stamp_features(images: ArrayLike, noise_std: float, *, factor: int = 4) -> np.ndarray:
    """Features of stamps for `memorisation`: binned, asinh-stretched.

    Args:
      images: (n, h, w) or (n, h, w, 1), without noise and with one common PSF, or nearest neighbours will
        tell PSFs.
      noise_std: scalar, counts per pixel: pixels well below it count little.
      factor: pixels of a bin a side; must divide h and w.

    Returns:
      (n, h w / factor^2) float32.
    """
    images = np.asarray(images, np.float32)
    images = images[..., 0] if images.ndim == 4 else images
    if images.ndim != 3 or images.shape[1] % factor or images.shape[2] % factor:
        raise ValueError(f"images must have shape (n, h, w) with h and w multiples of {factor}, not {images.shape}")
    n, h, w = images.shape
    binned = images.reshape(n, h // factor, factor, w // factor, factor).mean(axis=(2, 4))
    return np.arcsinh(binned * (factor / np.float32(noise_std))).reshape(n, -1)


def memorisation(samples: ArrayLike, test: ArrayLike, train: ArrayLike) -> Memorisation:
    """Are samples nearer to their nearest training galaxy than test galaxies are to theirs?

    Features are z-scored with the training set's mean and standard deviation, distances are Euclidean.
    Samples that are too regular (too near the mean) also raise the AUC: look at `copies` with it.

    Args:
      samples, test, train: features (n, d): binned images (`stamp_features`), latents or statistics.

    Returns:
      `Memorisation`.
    """
    samples, test, train = (np.asarray(a, np.float32) for a in (samples, test, train))
    shapes = [a.shape for a in (samples, test, train)]
    if any(
        len(shape) != 2 or shape[1] != shapes[0][1] or not len(a)
        for shape, a in zip(shapes, (samples, test, train), strict=True)
    ):
        raise ValueError(f"samples, test and train must have shapes (n, d) with the same d, not {shapes}")
    if not all(np.isfinite(a).all() for a in (samples, test, train)):
        raise ValueError("features must be finite")
    mean, std = train.mean(axis=0), train.std(axis=0)
    samples, test, train = ((a - mean) / np.where(std > 0, std, 1) for a in (samples, test, train))
    near, reference = _nearest(samples, train), _nearest(test, train)
    n, m = len(near), len(reference)
    ranks = scipy.stats.rankdata(np.concatenate([near, reference]))
    auc = 1 - (ranks[:n].sum() - n * (n + 1) / 2) / (n * m)
    ks = scipy.stats.ks_2samp(near, reference)
    return Memorisation(
        auc=float(auc),
        auc_error=float(np.sqrt((n + m + 1) / (12 * n * m))),
        ks=float(ks.statistic),
        p_value=float(ks.pvalue),
        copies=float(np.mean(near < np.quantile(reference, 0.01))),
        size=n,
    )


def _nearest(points, train):
    squares = (train**2).sum(axis=1)
    return np.concatenate(
        [
            np.sqrt(np.maximum((part**2).sum(axis=1) + (squares - 2 * part @ train.T).min(axis=1), 0))
            for part in np.array_split(points, -(-len(points) // 256))
        ]
    )


def _columns(truth, samples, names, same_length):
    """[(name, truth (n,), samples (m,)), ...], checked."""
    if names is None:
        names = [name for name in truth if name in samples and name != "flag"]
    missing = [name for name in names if name not in truth or name not in samples]
    if missing or not names:
        raise ValueError(f"no such statistics in both truth and samples: {missing or 'none in common'}")
    columns = [(name, np.asarray(truth[name], np.float64), np.asarray(samples[name], np.float64)) for name in names]
    for name, x, y in columns:
        if x.ndim != 1 or y.ndim != 1 or (same_length and len(x) != len(y)):
            raise ValueError(
                f"{name}: arrays must be (n,)"
                + (" of equal length" if same_length else "")
                + f", not {x.shape} and {y.shape}"
            )
    return columns
