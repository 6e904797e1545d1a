import numpy as np
import pytest

from deepcosmo.metrics import two_sample


def columns(n, seed, correlation=0.8, shift=0.0):
    rng = np.random.default_rng(seed)
    a, b, c = rng.normal(size=(3, n))
    return {"a": a + shift, "b": correlation * a + np.sqrt(1 - correlation**2) * b, "c": np.where(c > 0, c, np.nan)}


def test_equal_samples_pass():
    both = [(columns(800, seed), columns(4000, seed + 99)) for seed in range(10)]
    p = [t.p_value for truth, samples in both for t in two_sample.column_tests(truth, samples).values()]
    assert min(p) > 1e-3 / 30 and 0.3 < np.mean(p) < 0.7
    pairs = [two_sample.pair_tests(*samples) for samples in both]
    p = [t.p_value for tests in pairs for t in tests.values()]
    assert set(pairs[0]) == {("a", "b"), ("a", "c"), ("b", "c")}
    assert min(p) > 1e-3 / 30 and 0.3 < np.mean(p) < 0.7
    assert np.mean([t.statistic for tests in pairs for t in tests.values()]) == pytest.approx(1, abs=0.15)


def test_differences_are_found():
    truth = columns(2000, 1)
    assert two_sample.column_tests(truth, columns(2000, 2, shift=0.3))["a"].p_value < 1e-6
    tests = two_sample.pair_tests(truth, columns(2000, 2, correlation=0.6))
    assert tests["a", "b"].p_value < 1e-6 < tests["a", "c"].p_value


def test_classifier():
    accuracy, error = two_sample.classifier_accuracy(columns(1000, 1), columns(1500, 2))
    assert error == pytest.approx(0.5 / np.sqrt(1000)) and abs(accuracy - 0.5) < 4 * error
    accuracy, error = two_sample.classifier_accuracy(columns(1000, 1), columns(1000, 2, correlation=0.0))
    assert accuracy > 0.6
