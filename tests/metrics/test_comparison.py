"""Comparison of samples with truth, on distributions whose distances are known."""

import numpy as np
import pytest
import scipy.stats

from deepcosmo.metrics import comparison


def test_difference_of_means():
    rng = np.random.default_rng(0)
    x, y = rng.normal(2, 1, 4000), rng.normal(2.1, 2, 1000)
    x[:10] = np.nan
    r = comparison.mean_differences({"a": x, "flag": x}, {"a": y, "b": y})
    assert list(r) == ["a"]
    r = r["a"]
    expected = scipy.stats.ttest_ind(y, x[10:], equal_var=False)
    np.testing.assert_allclose(r.sigma, expected.statistic)
    np.testing.assert_allclose(r.percent, 100 * (y.mean() - x[10:].mean()) / x[10:].mean())
    np.testing.assert_allclose(r.percent_error, r.percent / r.sigma)
    assert r.size == 1000


def test_paired_difference_of_means():
    rng = np.random.default_rng(1)
    x = rng.normal(0, 5, 500)
    y = x + rng.normal(0.1, 0.2, 500)
    x[3] = np.nan
    both = np.isfinite(x)
    r = comparison.mean_differences({"a": x}, {"a": y}, paired=True)["a"]
    np.testing.assert_allclose(r.sigma, scipy.stats.ttest_rel(y[both], x[both]).statistic)
    assert r.error < 0.02 < comparison.mean_differences({"a": x}, {"a": y})["a"].error


def test_means_are_calibrated():
    """Over 200 draws of one distribution, sigma has mean 0 and standard deviation 1."""
    rng = np.random.default_rng(2)
    for paired in (False, True):
        sigma = [
            comparison.mean_differences({"a": rng.gamma(2, size=300)}, {"a": rng.gamma(2, size=300)}, paired=paired)[
                "a"
            ].sigma
            for _ in range(200)
        ]
        assert abs(np.mean(sigma)) < 3 / np.sqrt(200) and abs(np.std(sigma) - 1) < 3 / np.sqrt(400)


def test_wasserstein_of_known_distributions():
    rng = np.random.default_rng(3)
    truth = {"shift": rng.normal(5, 3, 20000), "scale": rng.normal(0, 2, 20000)}
    samples = {"shift": truth["shift"] + 0.6, "scale": 1.5 * truth["scale"]}
    r = comparison.wasserstein(truth, samples)
    np.testing.assert_allclose(r.each["shift"], 0.2, rtol=0.02)  # 0.6 / 3
    np.testing.assert_allclose(r.each["scale"], 0.5 * np.sqrt(2 / np.pi), rtol=0.02)  # E|x| (1.5 - 1)
    np.testing.assert_allclose(r.mean, np.mean(list(r.each.values())))
    assert 0 < r.error < 0.02 and r.size == 20000
    units = {name: 1e4 * values for name, values in truth.items()}, {n: 1e4 * v for n, v in samples.items()}
    np.testing.assert_allclose(comparison.wasserstein(*units).mean, r.mean, rtol=1e-6)


def test_wasserstein_floor_is_that_of_the_truth_itself():
    rng = np.random.default_rng(4)
    truth = {"a": rng.normal(size=4000), "b": rng.exponential(size=4000)}
    samples = {"a": rng.normal(size=2000), "b": rng.exponential(size=2000)}
    floor = comparison.wasserstein_floor(truth)
    assert floor.size == 2000 and 0.01 < floor.mean < 0.06
    half = {name: values[:2000] for name, values in truth.items()}
    assert abs(comparison.wasserstein(half, samples).mean - floor.mean) < 4 * floor.error
    smaller = comparison.wasserstein_floor({name: values[:1000] for name, values in truth.items()})
    np.testing.assert_allclose(smaller.mean / floor.mean, 2, rtol=0.35)  # as n^(-1/2)


def test_conditional_bias_is_found_where_it_is():
    rng = np.random.default_rng(5)
    mag = rng.uniform(20, 25, 5000)
    size = rng.normal(1, 0.1, 5000)
    faint = mag > 24
    samples = {"size": size + rng.normal(0, 0.05, 5000) + 0.05 * faint}
    biases = comparison.conditional_bias({"size": size}, samples, {"mag_auto": mag}, bins={"mag_auto": range(20, 26)})
    assert [b.low for b in biases] == [20, 21, 22, 23, 24]
    assert all(abs(b.mean.sigma) < 4 and abs(b.mean.percent) < 2 for b in biases[:-1])
    np.testing.assert_allclose(biases[-1].mean.percent, 5, atol=4 * biases[-1].mean.percent_error)
    assert biases[-1].mean.sigma > 10 and biases[-1].mean.size == faint.sum()
    biases = comparison.conditional_bias({"size": size}, samples, {"mag_auto": mag, "zphot": mag}, bins=4)
    assert len(biases) == 8 and sum(b.mean.size for b in biases) == 10000


def test_memorisation_tells_copies_from_samples():
    rng = np.random.default_rng(6)
    train, test, fresh = (rng.normal(size=(n, 8)) * np.arange(1, 9) for n in (1500, 600, 600))
    honest = comparison.memorisation(fresh, test, train)
    assert abs(honest.auc - 0.5) < 3 * honest.auc_error and honest.p_value > 1e-3 and honest.copies < 0.03
    copied = np.where(np.arange(600)[:, None] < 120, train[:600] + 0.01 * rng.normal(size=(600, 8)), fresh)
    cheat = comparison.memorisation(copied, test, train)
    assert cheat.copies > 0.18 and cheat.auc > 0.5 + 4 * cheat.auc_error and cheat.p_value < 1e-6
    assert comparison.memorisation(train[:50], test, train).auc == pytest.approx(1, abs=1e-3)


def test_memorisation_is_calibrated():
    rng = np.random.default_rng(7)
    sigma = []
    for _ in range(60):
        r = comparison.memorisation(*(rng.normal(size=(n, 3)) for n in (150, 150, 4000)))
        sigma.append((r.auc - 0.5) / r.auc_error)
    assert abs(np.mean(sigma)) < 3 / np.sqrt(60) and abs(np.std(sigma) - 1) < 3 / np.sqrt(120) + 0.1


def test_stamp_features():
    image = np.zeros((2, 8, 8, 1))
    image[1, 4:, :4] = 0.5
    features = comparison.stamp_features(image, 0.1)
    np.testing.assert_allclose(features, [[0, 0, 0, 0], [0, 0, np.arcsinh(20), 0]], rtol=1e-6)
    with pytest.raises(ValueError, match="multiples"):
        comparison.stamp_features(np.zeros((2, 9, 9)), 0.1)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: comparison.mean_differences({"a": np.ones(3)}, {"b": np.ones(3)}), "none in common"),
        (lambda: comparison.wasserstein({"a": np.ones(3)}, {"a": np.ones(3)}, names=["a", "c"]), "'c'"),
        (lambda: comparison.mean_differences({"a": np.ones(3)}, {"a": np.ones(4)}, paired=True), "equal length"),
        (lambda: comparison.conditional_bias({"a": np.ones(3)}, {"a": np.ones(3)}, {"z": np.ones(2)}), "condition z"),
        (lambda: comparison.memorisation(np.ones((3, 2)), np.ones((3, 2)), np.ones((3, 4))), "same d"),
        (lambda: comparison.memorisation(np.full((3, 2), np.nan), np.ones((3, 2)), np.ones((3, 2))), "finite"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
