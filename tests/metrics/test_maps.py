"""Errors and peaks on cases with known answers."""

import numpy as np
import pytest

from deepcosmo.metrics import maps

RNG = np.random.default_rng(0)


def test_errors_ignore_the_mean_and_what_is_masked():
    truth = RNG.normal(size=(20, 20))
    mask = RNG.uniform(size=truth.shape) > 0.3
    estimate = np.where(mask, truth + 5, 100)
    assert maps.map_errors(estimate, truth, mask) == (pytest.approx(0, abs=1e-12), pytest.approx(1))
    assert maps.map_errors(-truth, truth, mask)[1] == pytest.approx(-1)


def test_peaks():
    kappa = np.zeros((9, 9)) - np.hypot(*np.mgrid[:9, :9]) * 1e-3
    kappa[2, 3], kappa[6, 6], kappa[0, 8] = 1.5, 2.5, 9.0
    assert maps.peaks(kappa, [1, 2, 3, 10]).tolist() == [1, 1, 0]
    assert maps.peaks(-kappa, [-10, -2, -1], minima=True).tolist() == [1, 1]
    assert maps.peaks(kappa, [1, 3], kappa < 2).tolist() == [1]


def test_thirds():
    assert np.bincount(maps.thirds(RNG.normal(size=999))).tolist() == [333, 333, 333]
