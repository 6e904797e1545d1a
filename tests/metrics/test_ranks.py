"""Coverage and TARP on cases with known answers."""

import numpy as np
import pytest

from deepcosmo.metrics.ranks import coverage, ranks, tarp_coverage, tarp_rank

RNG = np.random.default_rng(0)


def posteriors(scale, data=4000, samples=19, dim=3):
    """Gaussian posteriors N(mean, 1) and samples that are `scale` times as wide."""
    mean = 2 * RNG.normal(size=(data, dim))
    truth = mean + RNG.normal(size=(data, dim))
    return truth, mean[None] + scale * RNG.normal(size=(samples, data, dim))


@pytest.mark.parametrize("level", [0.68, 0.95])
def test_coverage(level):
    """Of calibrated samples to 4 sigma of the count; narrow ones cover less, wide ones more."""
    covered = [coverage(ranks(*posteriors(scale)), level) for scale in (0.7, 1.0, 1.4)]
    error = np.sqrt(level * (1 - level) / 12000)
    assert abs(covered[1] - level) < 4 * error
    assert covered[0] < level - 0.02 and covered[2] > level + 0.02


def test_ranks_of_ties():
    """Counts are often equal: ranks are uniform all the same."""
    truth, samples = RNG.poisson(1.0, 20000), RNG.poisson(1.0, (9, 20000))
    histogram = np.histogram(ranks(truth, samples), np.linspace(0, 1, 11))[0]
    assert np.sum((histogram - 2000) ** 2 / 2000) < 30  # chi2 of 9 degrees of freedom: p = 4e-4


@pytest.mark.parametrize(("scale", "right"), [(1.0, True), (0.6, False), (1.6, False)])
def test_tarp(scale, right):
    truth, samples = posteriors(scale, data=1500, samples=50)
    references = 2.3 * RNG.normal(size=truth.shape)
    found = [tarp_rank(truth[i], samples[:, i], references[i], seed=i) for i in range(len(truth))]
    levels = np.linspace(0.1, 0.9, 9)
    off = np.abs(tarp_coverage(found, levels) - levels) / np.sqrt(levels * (1 - levels) / len(truth))
    assert (off.max() < 4.5) == right
