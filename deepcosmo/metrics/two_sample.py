"""Two-sample tests of catalogues: per column, per pair of columns, of all columns together."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

from deepcosmo._types import Columns, PathLike

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "SampleComparison",
    "TwoSample",
    "c2st",
    "classifier_accuracy",
    "column_tests",
    "compared",
    "mmd",
    "pair_tests",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoSample:
    """Result of a two-sample test.

    Attributes:
      statistic: Kolmogorov-Smirnov distance of a column; chi^2 per degree of freedom of a pair.
      p_value: probability of a statistic as large, were both samples drawn from one distribution.
    """

    statistic: float
    p_value: float


def column_tests(truth: Columns, samples: Columns) -> dict[str, TwoSample]:
    """Kolmogorov-Smirnov test of each column.

    Args:
      truth, samples: dicts of (n,) and (m,) arrays of the same names; NaN is left out.

    Returns:
      Dict: name -> `TwoSample`.
    """
    tests = {}
    for name in truth:
        x, y = (np.asarray(columns[name], float) for columns in (truth, samples))
        test = scipy.stats.ks_2samp(x[np.isfinite(x)], y[np.isfinite(y)])
        tests[name] = TwoSample(statistic=float(test.statistic), p_value=float(test.pvalue))
    return tests


def pair_tests(truth: Columns, samples: Columns, *, bins: int = 6) -> dict[tuple[str, str], TwoSample]:
    """Chi^2 test of each pair of columns, in `bins` x `bins` cells between the quantiles of both samples.

    Arguments and result are as in `column_tests`, with pairs of names as keys.
    """
    codes = {name: _codes(np.asarray(truth[name], float), np.asarray(samples[name], float), bins) for name in truth}
    tests = {}
    for first, second in itertools.combinations(truth, 2):
        counts = []
        for a, b in zip(codes[first], codes[second], strict=True):
            valid = (a >= 0) & (b >= 0)
            counts.append(np.bincount(a[valid] * bins + b[valid], minlength=bins**2))
        # Cells that expect fewer than five of the smaller sample would spoil the statistic: they count as one.
        counts = np.array(counts)
        rare = counts.sum(0) * counts.sum(1).min() / counts.sum() < 5
        table = np.column_stack([counts[:, ~rare], counts[:, rare].sum(1)])
        test = scipy.stats.chi2_contingency(table[:, table.sum(0) > 0], correction=False)
        tests[first, second] = TwoSample(statistic=test.statistic / test.dof, p_value=float(test.pvalue))
    return tests


def _codes(x, y, bins):
    """Number of the quantile of each value of both samples; -1 for NaN."""
    pooled = np.concatenate([x[np.isfinite(x)], y[np.isfinite(y)]])
    edges = np.quantile(pooled, np.arange(1, bins) / bins)
    return [np.where(np.isfinite(v), np.searchsorted(edges, v, side="right"), -1) for v in (x, y)]


def classifier_accuracy(truth: Columns, samples: Columns, *, seed: int = 0, epochs: int = 30) -> tuple[float, float]:
    """Classifier two-sample test (Lopez-Paz & Oquab 2017, arXiv:1610.06545) on all columns together.

    A small network learns to tell truth from samples on one half of both; where it cannot, its accuracy on
    the other half is 0.5.

    Args:
      truth, samples: dicts of (n,) arrays of the same names; the larger sample is cut to the size of the other.
        NaN becomes a value of its own.
      seed: seeds the division and the network.

    Returns:
      Accuracy and its standard error.
    """
    import keras

    matrices = [np.column_stack([np.asarray(c[name], float) for name in truth]) for c in (truth, samples)]
    rng = np.random.default_rng(seed)
    size = min(map(len, matrices))
    x = np.concatenate([rng.permutation(m)[:size] for m in matrices])
    label = np.repeat([0.0, 1.0], size)
    # Ranks: the classifier must not depend on units or tails.
    missing = np.isnan(x)
    ranks = scipy.stats.rankdata(x, axis=0, nan_policy="omit") / (np.sum(~missing, 0) + 1)
    x = np.concatenate([np.where(missing, 0.0, scipy.special.ndtri(ranks)), missing.any(1, keepdims=True)], 1)
    order = rng.permutation(2 * size)
    train, test = order[:size], order[size:]
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Dense(64, activation="relu") for _ in range(2)]
    model = keras.Sequential([*layers, keras.layers.Dense(1, activation="sigmoid")])
    model.compile(keras.optimizers.AdamW(1e-3, weight_decay=1e-2), "binary_crossentropy")
    model.fit(x[train], label[train], batch_size=128, epochs=epochs, verbose=0)
    right = (model.predict(x[test], batch_size=4096, verbose=0)[:, 0] > 0.5) == label[test]
    return float(right.mean()), float(0.5 / np.sqrt(len(test)))


def c2st(reference: ArrayLike, samples: ArrayLike, *, seed: int = 0, folds: int = 5) -> float:
    """Classifier two-sample test as of the benchmark of Lueckmann et al. 2021 (arXiv:2101.04653).

    A perceptron with two hidden layers of 10 dim units, on columns in units of the reference's mean and scatter; its
    accuracy is averaged over cross-validation folds.

    Args:
      reference, samples: (n, dim) and (m, dim), best of equal length.
      seed: seeds the folds and the network.

    Returns:
      Accuracy: 0.5 for samples that cannot be told from the reference, 1 for those that always can.
    """
    return _c2st(*_matrices(reference, samples), seed, folds)[0]


def _c2st(reference, samples, seed, folds):
    """Accuracy, and the probabilities of being one of the samples that the classifiers gave to what they had not seen,
    (n,) and (m,)."""
    from sklearn.model_selection import KFold
    from sklearn.neural_network import MLPClassifier

    x = np.concatenate([reference, samples])
    label = np.repeat([0, 1], [len(reference), len(samples)])
    width = 10 * x.shape[1]
    accuracies, probabilities = [], np.empty(len(x))
    for train, test in KFold(folds, shuffle=True, random_state=seed).split(x):
        network = MLPClassifier((width, width), max_iter=1000, random_state=seed).fit(x[train], label[train])
        accuracies.append(network.score(x[test], label[test]))
        probabilities[test] = network.predict_proba(x[test])[:, 1]
    return float(np.mean(accuracies)), tuple(np.split(probabilities, [len(reference)]))


def mmd(reference: ArrayLike, samples: ArrayLike, *, bandwidth: float | None = None) -> float:
    """Maximum mean discrepancy with a Gaussian kernel (Gretton et al. 2012, JMLR 13, 723), unbiased and squared.

    Args:
      reference, samples: (n, dim) and (m, dim).
      bandwidth: of the kernel, in units of the reference's scatter; by default the median distance within it.

    Returns:
      MMD^2: 0 on average for samples of the same distribution, slightly negative in half of the cases.
    """
    from scipy.spatial.distance import cdist

    reference, samples = _matrices(reference, samples)
    bandwidth = bandwidth or _median_distance(reference)

    def mean(a, b):
        parts = np.split(a, range(1000, len(a), 1000))  # matrices of moderate size
        total = sum(np.exp(-0.5 * cdist(part, b, "sqeuclidean") / bandwidth**2).sum() for part in parts)
        own = a is b  # pairs of a point with itself do not count
        return (total - own * len(a)) / (len(a) * (len(b) - own))

    return float(mean(reference, reference) + mean(samples, samples) - 2 * mean(reference, samples))


def _median_distance(x):
    from scipy.spatial.distance import pdist

    return np.median(pdist(x[:1000]))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleComparison:
    """Two samples of vectors, and how well they can be told apart.

    Attributes:
      reference, samples: (n, dim) and (m, dim).
      c2st: accuracy of a classifier, as of `c2st`.
      probabilities: that the classifier, where it had not seen them, gave to the reference (n,) and to the samples (m,)
        of being one of the samples: 0.5 for all if there is no difference.
      mmd: as of `mmd`.
      mmd_mixed: the same after the two were mixed at random, for the distribution of `mmd` without any difference.
    """

    reference: np.ndarray
    samples: np.ndarray
    c2st: float
    probabilities: tuple
    mmd: float
    mmd_mixed: np.ndarray

    def p_value(self) -> float:
        """Of the maximum mean discrepancy: the share of random mixtures that have a larger one."""
        return float((1 + np.sum(self.mmd_mixed >= self.mmd)) / (1 + len(self.mmd_mixed)))

    def plot(self, path: PathLike | None = None, *, labels: Sequence[str] | None = None) -> Figure:
        """Histograms of the columns, of the classifier's probabilities and of the discrepancy; returns the figure."""
        from deepcosmo import plots

        return plots.sample_comparison(self, path, labels=labels)


def compared(
    reference: ArrayLike, samples: ArrayLike, *, seed: int = 0, mixtures: int = 200, most: int = 2000
) -> SampleComparison:
    """Two samples by `c2st`, and by `mmd` with its distribution for samples that do not differ.

    Args:
      reference, samples: (n, dim) and (m, dim), best of equal length.
      seed: of the classifier and of the mixtures.
      mixtures: how often to mix the two at random.
      most: rows of each that count for the discrepancy, whose kernel is a matrix of all pairs.

    Returns:
      A `SampleComparison`.
    """
    from scipy.spatial.distance import cdist

    scaled = _matrices(reference, samples)
    accuracy, probabilities = _c2st(*scaled, seed, 5)
    n, m = (min(most, len(v)) for v in scaled)
    rows = np.concatenate([v[:most] for v in scaled])
    kernel = np.exp(-0.5 * cdist(rows, rows, "sqeuclidean") / _median_distance(rows[:n]) ** 2)
    np.fill_diagonal(kernel, 0.0)
    rng = np.random.default_rng(seed)
    orders = [np.arange(n + m)] + [rng.permutation(n + m) for _ in range(mixtures)]
    first = np.zeros((n + m, len(orders)))  # which rows are taken for the reference
    for column, order in enumerate(orders):
        first[order[:n], column] = 1.0
    of_first = kernel @ first
    own, cross = np.sum(first * of_first, 0), np.sum((1.0 - first) * of_first, 0)
    other = kernel.sum() - own - 2 * cross
    found = own / (n * (n - 1)) + other / (m * (m - 1)) - 2 * cross / (n * m)
    return SampleComparison(
        reference=np.asarray(reference),
        samples=np.asarray(samples),
        c2st=accuracy,
        probabilities=probabilities,
        mmd=float(found[0]),
        mmd_mixed=found[1:],
    )


def _matrices(reference: ArrayLike, samples: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both in units of the mean and scatter of the reference."""
    reference, samples = np.asarray(reference, float), np.asarray(samples, float)
    if reference.ndim != 2 or samples.ndim != 2 or reference.shape[1] != samples.shape[1]:
        raise ValueError(
            f"reference and samples must have shapes (n, dim) and (m, dim); got {reference.shape} and {samples.shape}"
        )
    if not (np.isfinite(reference).all() and np.isfinite(samples).all()):
        raise ValueError("reference or samples hold NaN or infinite values")
    scale = reference.std(0, ddof=1)
    scale = np.where(scale > 0, scale, 1.0)
    return (reference - reference.mean(0)) / scale, (samples - reference.mean(0)) / scale
