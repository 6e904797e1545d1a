"""Two-sample tests of catalogues: per column, per pair of columns, of all columns together."""

import dataclasses
import itertools

import numpy as np
import scipy.stats

__all__ = ["TwoSample", "c2st", "classifier_accuracy", "column_tests", "mmd", "pair_tests"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoSample:
    """Result of a two-sample test.

    Attributes:
      statistic: Kolmogorov-Smirnov distance of a column; chi^2 per degree of freedom of a pair.
      p_value: probability of a statistic as large, were both samples drawn from one distribution.
    """

    statistic: float
    p_value: float


def column_tests(truth, samples):
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


def pair_tests(truth, samples, *, bins=6):
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


def classifier_accuracy(truth, samples, *, seed=0, epochs=30):
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


def c2st(reference, samples, *, seed=0, folds=5):
    """Classifier two-sample test as of the benchmark of Lueckmann et al. 2021 (arXiv:2101.04653).

    A perceptron with two hidden layers of 10 dim units, on columns in units of the reference's mean and scatter; its
    accuracy is averaged over cross-validation folds.

    Args:
      reference, samples: (n, dim) and (m, dim), best of equal length.
      seed: seeds the folds and the network.

    Returns:
      Accuracy: 0.5 for samples that cannot be told from the reference, 1 for those that always can.
    """
    from sklearn.model_selection import KFold, cross_val_score
    from sklearn.neural_network import MLPClassifier

    reference, samples = _matrices(reference, samples)
    x = np.concatenate([reference, samples])
    label = np.repeat([0, 1], [len(reference), len(samples)])
    width = 10 * x.shape[1]
    network = MLPClassifier((width, width), max_iter=1000, random_state=seed)
    return float(cross_val_score(network, x, label, cv=KFold(folds, shuffle=True, random_state=seed)).mean())


def mmd(reference, samples, *, bandwidth=None):
    """Maximum mean discrepancy with a Gaussian kernel (Gretton et al. 2012, JMLR 13, 723), unbiased and squared.

    Args:
      reference, samples: (n, dim) and (m, dim).
      bandwidth: of the kernel, in units of the reference's scatter; by default the median distance within it.

    Returns:
      MMD^2: 0 on average for samples of the same distribution, slightly negative in half of the cases.
    """
    from scipy.spatial.distance import cdist, pdist

    reference, samples = _matrices(reference, samples)
    bandwidth = bandwidth or np.median(pdist(reference[:1000]))

    def mean(a, b):
        parts = np.split(a, range(1000, len(a), 1000))  # matrices of moderate size
        total = sum(np.exp(-0.5 * cdist(part, b, "sqeuclidean") / bandwidth**2).sum() for part in parts)
        own = a is b  # pairs of a point with itself do not count
        return (total - own * len(a)) / (len(a) * (len(b) - own))

    return float(mean(reference, reference) + mean(samples, samples) - 2 * mean(reference, samples))


def _matrices(reference, samples):
    """Both in units of the mean and scatter of the reference."""
    reference, samples = np.asarray(reference, float), np.asarray(samples, float)
    if reference.ndim != 2 or samples.ndim != 2 or reference.shape[1] != samples.shape[1]:
        raise ValueError(f"reference and samples must have shapes (n, dim) and (m, dim); got {reference.shape} and "
                         f"{samples.shape}")
    if not (np.isfinite(reference).all() and np.isfinite(samples).all()):
        raise ValueError("reference or samples hold NaN or infinite values")
    scale = reference.std(0, ddof=1)
    scale = np.where(scale > 0, scale, 1.0)
    return (reference - reference.mean(0)) / scale, (samples - reference.mean(0)) / scale
