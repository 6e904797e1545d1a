import numpy as np
import pytest

from deepcosmo import plots
from deepcosmo.metrics.calibration import calibration
from deepcosmo.metrics.two_sample import c2st, compared, mmd

DATA, DRAWS = 800, 200


def gaussian(width=1.0, shift=0.0):
    """theta ~ N(0, 1), x = theta + N(0, 1): the posterior is N(x / 2, 1 / 2); here with a wrong width or mean."""
    rng = np.random.default_rng(3)
    theta = rng.normal(size=(DATA, 2))
    mean, std = (theta + rng.normal(size=(DATA, 2))) / 2 + shift, width * 0.5**0.5
    samples = mean + std * rng.normal(size=(DRAWS, DATA, 2))
    log_prob = [-0.5 * np.sum(((v - mean) / std) ** 2, -1) for v in (theta, samples)]
    return theta, samples, log_prob


def test_exact_posteriors_are_calibrated(tmp_path):
    theta, samples, log_prob = gaussian()
    found = calibration(theta, samples, log_prob=log_prob)
    p_values = found.p_values()
    assert p_values["ranks"].min() > 0.01 and p_values["tarp"] > 0.01 and p_values["density"] > 0.01
    coverage = found.coverage([0.68, 0.95])
    for share in (*coverage["ranks"].T, coverage["tarp"], coverage["density"]):
        # three times the binomial scatter
        np.testing.assert_array_less(np.abs(share - [0.68, 0.95]), [0.05, 0.024])
    found.plot(tmp_path / "calibration.png", labels=["a", "b"])
    assert (tmp_path / "calibration.png").stat().st_size > 10_000


@pytest.mark.parametrize("wrong", [{"width": 0.7}, {"width": 1.4}, {"shift": 0.5}])
def test_wrong_posteriors_are_found(wrong):
    theta, samples, log_prob = gaussian(**wrong)
    p_values = calibration(theta, samples, log_prob=log_prob).p_values()
    assert p_values["ranks"].min() < 1e-4 and p_values["tarp"] < 1e-4 and p_values["density"] < 1e-4


def test_narrow_posteriors_cover_too_little():
    theta, samples, log_prob = gaussian(width=0.5)
    coverage = calibration(theta, samples, log_prob=log_prob).coverage([0.68])
    assert coverage["density"][0] < 0.4 and coverage["ranks"].max() < 0.45


def test_shapes_that_disagree():
    with pytest.raises(ValueError, match=r"got \(800, 2\) and \(800, 2\)"):
        calibration(*[gaussian()[0]] * 2)
    with pytest.raises(ValueError, match="NaN"):
        calibration(gaussian()[0], gaussian()[1] * np.nan)


def test_c2st_and_mmd_tell_samples_apart():
    rng = np.random.default_rng(5)
    reference, same, other = (rng.normal(shift, 1.0, (1000, 2)) for shift in (0.0, 0.0, 1.0))
    # shares of 2000 right answers scatter by 0.011
    assert abs(c2st(reference, same) - 0.5) < 0.035
    # the best classifier of N(0, 1) and N(1, 1) in two dimensions is right in Phi(1 / sqrt 2) = 0.760
    assert abs(c2st(reference, other) - 0.760) < 0.035
    assert abs(mmd(reference, same)) < 2e-3 < 0.05 < mmd(reference, other)
    with pytest.raises(ValueError, match=r"got \(1000, 2\) and \(1000, 1\)"):
        c2st(reference, same[:, :1])


def test_comparison_of_samples(tmp_path):
    rng = np.random.default_rng(7)
    reference, same = rng.normal(size=(2, 600, 2))
    other = same @ np.linalg.cholesky([[1.0, 0.5], [0.5, 1.0]]).T
    found, alike = compared(reference, other), compared(reference, same)
    assert found.c2st == c2st(reference, other)
    assert found.mmd == pytest.approx(mmd(reference, other), rel=1e-9)
    right = [p < 0.5 if i == 0 else p > 0.5 for i, p in enumerate(found.probabilities)]
    assert np.mean(right) == pytest.approx(found.c2st, abs=1e-9)  # five parts of equal size
    assert found.p_value() < 0.01 < alike.p_value()
    # random mixtures do not differ: zero on average, to 5 of their errors
    assert abs(found.mmd_mixed.mean()) < 5 * found.mmd_mixed.std() / np.sqrt(200)
    figure = found.plot(tmp_path / "compared.png", labels=["a", "b"])
    assert len(figure.axes) == 4 and (tmp_path / "compared.png").stat().st_size > 5000


def test_corner_plot_of_several(tmp_path):
    rng = np.random.default_rng(8)
    named = {"one": rng.normal(size=(500, 2)), "other": rng.normal(1.0, 1.0, (300, 2))}
    figure = plots.corner(named, tmp_path / "corner.png", truth=[0.0, 1.0], labels=["a", "b"])
    assert (tmp_path / "corner.png").stat().st_size > 5000
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "other"]
    low, high = figure.axes[0].get_xlim()  # holds both
    assert low < np.quantile(named["one"][:, 0], 0.05) and high > np.quantile(named["other"][:, 0], 0.95)
    with pytest.raises(ValueError, match=r"got \(500, 2\), \(300, 1\)"):
        plots.corner({"one": named["one"], "other": named["other"][:, :1]})


def test_mmd_is_that_of_the_formula():
    # a Gaussian kernel of width h between normal distributions at distance d: h^2 / (h^2 + 2) in the plane
    rng = np.random.default_rng(6)
    reference, other = rng.normal(0.0, 1.0, (4000, 2)), rng.normal(0.0, 1.0, (4000, 2)) + [1.0, 0.0]
    expected = 2 * (1 / 3) * (1 - np.exp(-0.5 / 3))
    assert abs(mmd(reference, other, bandwidth=1.0) - expected) < 0.01
