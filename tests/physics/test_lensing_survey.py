"""The tomographic survey: its sources, shifts, maps, and derivatives."""

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf
from conftest import shared

from deepcosmo.physics import lensing_survey
from deepcosmo.physics.lensing_survey import LensingSurvey, lsst_y10, lsst_y10_small

SMALL = lsst_y10_small(pixels=32)


@pytest.fixture(scope="module")
def table():
    """Columns Omega_m, sigma_8, w_0, bin, shift; its axes are (sigma_8, Omega_m, w_0, bin)."""
    return np.load(shared("theory/lognormal_shifts_LSSTY10_om_s8_w_bin.npy"))


def parameters(omega_m, sigma_8, w_0):
    """(n, 6) with these."""
    theta = np.tile(lsst_y10().fiducial.astype(float), (len(omega_m), 1))
    theta[:, 0], theta[:, 2], theta[:, 5] = omega_m - theta[:, 1], sigma_8, w_0
    return theta


def test_noise_and_sources_are_those_of_lsst():
    survey = lsst_y10()
    assert survey.noise_std == pytest.approx(0.0477, abs=5e-5)
    assert survey.pixel_scale == pytest.approx(2.34, abs=0.005)
    z, n_z = survey.sources()
    numbers = np.trapezoid(n_z, z)
    np.testing.assert_allclose(numbers, 0.2, rtol=0.05)  # scatter moves some across the edges
    assert numbers.sum() == pytest.approx(1.0, abs=2e-3)
    assert np.all(np.diff(n_z @ z / n_z.sum(1)) > 0.15)


def test_prior_is_that_of_the_benchmark():
    prior = lsst_y10().prior()
    draws = prior.sample(20_000, seed=[1, 2]).numpy()
    assert draws[:, 0].min() > 0
    assert draws[:, 5].min() > -2 and draws[:, 5].max() < -0.3
    for column, mean, scatter in ((1, 0.0492, 0.006), (2, 0.831, 0.14), (3, 0.6727, 0.063), (4, 0.9645, 0.08)):
        assert abs(draws[:, column].mean() - mean) < 4 * scatter / np.sqrt(20_000)
        assert draws[:, column].std() == pytest.approx(scatter, rel=4 / np.sqrt(40_000))


@pytest.mark.parametrize("near", [5_000, 20_000])
def test_weights_make_universes_near_ours_the_prior(near):
    """A fifth or half of the draws from `near`: weighted means over all are those of the prior."""
    survey, n = lsst_y10(), 20_000
    draws = np.concatenate([survey.prior().sample(n, seed=[1, 2]), survey.near().sample(near, seed=[3, 4])])
    share = near / (n + near)
    weights = np.exp(survey.log_weight(draws, share))
    assert weights.max() <= 1 / (1 - share) + 1e-5 and weights.min() > 0.02
    if share == 0.5:
        np.testing.assert_array_equal(weights, np.exp(survey.log_weight(draws)))
    expected = survey.prior().sample(200_000, seed=[5, 6]).numpy()
    scatter = (expected - survey.fiducial).std(0)
    for power in (0, 1, 2):
        values = weights[:, None] * (draws - survey.fiducial) ** power
        error = values.std(0) / np.sqrt(len(draws)) + scatter**power / np.sqrt(len(expected))
        target = ((expected - survey.fiducial) ** power).mean(0)
        assert np.all(np.abs(values.mean(0) - target) < 4 * error)
    assert np.all(draws[n:].std(0) < 1.05 * draws[:n].std(0))


def test_weights_where_nothing_is_drawn_are_those_far_from_near():
    """An estimate may lie there, and what is made of it must not be NaN."""
    survey = lsst_y10()
    far = np.tile(survey.fiducial, (3, 1))
    far[:, survey.parameters.index("omega_c")] = 1.5, 2.19, 2.67  # the last beyond all draws
    np.testing.assert_allclose(survey.log_weight(far, 0.5), np.log(2), rtol=1e-5)


def test_shifts_are_those_of_the_table(table):
    rows = table.reshape(-1, 5, 5)
    fitted = lsst_y10().shift(parameters(*rows[:, 0, :3].T)).numpy()
    np.testing.assert_allclose(fitted, rows[..., 4], rtol=3e-3)


def test_shifts_of_the_benchmark_are_looked_up_as_it_does(table):
    """By a look-up of its own: linear, at u n - 0.5, and with the first two axes taken for each other."""
    rng = np.random.default_rng(0)
    values = np.stack([rng.uniform(0.15, 0.6, 50), rng.uniform(0.6, 1.1, 50), rng.uniform(-1.8, -0.5, 50)])
    low, high = table[0, 0, 0, 0, :3], table[-1, -1, -1, 0, :3]
    places = [(v - a) / (b - a) * 8 - 0.5 for v, a, b in zip(values, low, high, strict=True)]
    expected = np.stack(
        [scipy.ndimage.map_coordinates(table[..., i, 4], places, order=1, mode="nearest") for i in range(5)], -1
    )
    # which is linear between the nodes of the table, where the fit is smooth
    np.testing.assert_allclose(lsst_y10(shifts="sbi_lens").shift(parameters(*values)), expected, rtol=0.015)


def test_shifts_at_the_fiducial_cosmology():
    """They grow with Omega_m and hardly with sigma_8, as the convergence of an empty line of sight does."""
    survey = lsst_y10()
    np.testing.assert_allclose(survey.shift(survey.fiducial), [0.00527, 0.01527, 0.02878, 0.04977, 0.0977], rtol=2e-3)
    theta = parameters(np.array([0.3, 0.33, 0.3]), np.array([0.8, 0.8, 0.88]), np.full(3, -1.0))
    shift = survey.shift(theta).numpy()
    assert np.all(shift[1] / shift[0] > 1.03)
    assert np.all(np.abs(shift[2] / shift[0] - 1) < 0.04)


def test_a_batch_is_its_maps_one_by_one():
    theta = SMALL.prior().sample(3, seed=[1, 2])
    white = SMALL.latent(3, [3, 4])
    together = SMALL.convergence(theta, white).numpy()
    for i in range(3):
        one = SMALL.convergence(theta[i], white[i])
        np.testing.assert_allclose(one, together[i], rtol=1e-4, atol=1e-6)
    seen = SMALL.sample(theta, tf.constant([5, 6])).numpy()
    assert seen.shape == (3, 32, 32, 5) and seen.dtype == np.float32
    np.testing.assert_array_equal(seen, SMALL.sample(theta, tf.constant([5, 6])))
    assert np.all(together.min((1, 2)) > -SMALL.shift(theta).numpy())


def test_one_universe_needs_no_axis():
    """Nor one multipole; universes may have several axes."""
    theta, seed = SMALL.prior().sample(2, seed=[1, 2]), tf.constant([5, 6])
    alone, first = SMALL.sample(theta[0], seed), SMALL.sample(theta[:1], seed)
    assert alone.shape == SMALL.shape
    np.testing.assert_allclose(alone, first[0], rtol=1e-5, atol=1e-6)
    maps, score = SMALL.score(theta[None], seed)
    assert maps.shape == (1, 2, *SMALL.shape) and score.shape == (1, 2, 2)
    np.testing.assert_allclose(SMALL.power(theta, 300.0), SMALL.power(theta, [300.0])[..., 0], rtol=1e-12)
    np.testing.assert_allclose(SMALL.signal_to_noise(300.0), SMALL.signal_to_noise([300.0])[0], rtol=1e-12)


def test_spectra_are_those_that_were_published():
    """Data sets and models were made with them, though finer planes would change them by up to 0.8%."""
    power = lsst_y10().power(lsst_y10().fiducial, [40.0, 400.0, 4000.0])
    first = [2.2816232285882644e-09, 1.451696543969475e-10, 3.2945467882667335e-12]
    second_with_last = [1.5274808239313566e-08, 9.260049810227302e-10, 3.8832155342866803e-11]
    np.testing.assert_allclose(power.numpy()[[0, 1], [0, 4]], [first, second_with_last], rtol=1e-10)


def test_all_of_the_prior_has_maps():
    survey = lsst_y10(pixels=64)
    theta = survey.prior().sample(128, seed=[5, 6])
    assert np.isfinite(survey.convergence(theta, survey.latent(128, [1, 2]))).all()


def test_gradients_are_those_of_finite_differences():
    survey = lsst_y10(pixels=16)
    theta, white = survey.fiducial.astype(float), tf.cast(survey.latent(1, [1, 2])[0], tf.float64)
    data = survey.observe(survey.convergence(theta, white), [3, 4])

    def log_likelihood(theta, white):
        return survey.log_likelihood(data, survey.convergence(theta, white))

    t, w = tf.constant(theta), white
    with tf.GradientTape() as tape:
        tape.watch([t, w])
        value = log_likelihood(t, w)
    by_theta, by_white = tape.gradient(value, [t, w])
    for i in range(6):
        step = np.eye(6)[i] * 1e-5
        difference = (log_likelihood(theta + step, white) - log_likelihood(theta - step, white)) / 2e-5
        assert float(by_theta[i]) == pytest.approx(float(difference), rel=2e-3, abs=1e-3)
    direction = np.random.default_rng(0).normal(size=white.shape)
    up, down = (log_likelihood(theta, white + sign * 1e-5 * direction) for sign in (1, -1))
    difference = (up - down) / 2e-5
    assert float(tf.reduce_sum(by_white * direction)) == pytest.approx(float(difference), rel=1e-4)


@pytest.mark.slow
def test_scores_vanish_on_average():
    """At fixed parameters; their mean over 512 maps within four of its errors."""
    theta = tf.tile(tf.constant(SMALL.fiducial)[None], [64, 1])
    scores = np.concatenate([SMALL.score(theta, tf.constant([1, i]))[1] for i in range(8)])
    error = scores.std(0) / np.sqrt(len(scores))
    assert np.all(np.abs(scores.mean(0)) < 4 * error)
    assert np.all(error > 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shifts": "other"}, "shifts must be one of table, sbi_lens"),
        ({"bins": 3}, "5 bins; got bins=3"),
        ({"parameters": ("omega_c", "a_s")}, "parameters must be some of omega_c"),
    ],
)
def test_bad_surveys(options, message):
    with pytest.raises(ValueError, match=message):
        LensingSurvey(**options)


def test_bad_parameters():
    with pytest.raises(ValueError, match=r"theta must have shape \(\.\.\., 2\), omega_c, sigma_8"):
        SMALL.shift(np.zeros((3, 6)))
    with pytest.raises(ValueError, match=r"z and n_z must both be \(nz,\); got \(\) and \(\)"):
        lensing_survey.tomographic_bins(1.0, 1.0, 5, 0.05)


def test_bins_hold_equal_numbers_without_scatter():
    z = np.linspace(0, 6, 2001)
    bins = lensing_survey.tomographic_bins(z, lensing_survey.smail(z), 4, 1e-6)
    np.testing.assert_allclose(np.trapezoid(bins, z), 0.25, rtol=2e-2)
