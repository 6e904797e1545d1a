"""Scores of log-normal fields: exact where the field is Gaussian, and Fisher's identity where it is not."""

import numpy as np
import pytest
import tensorflow as tf

from deepcosmo.models.maps import lognormal_scores
from deepcosmo.models.maps.lognormal_scores import LognormalScores
from deepcosmo.physics import fields
from deepcosmo.physics.lensing_survey import LensingSurvey

SURVEY = LensingSurvey(pixels=16, width=4.0, parameters=("omega_c", "sigma_8"))


class NearlyGaussian(LensingSurvey):
    """Shifts so large that the logarithm is linear."""

    def shift(self, theta):
        return 300.0 * super().shift(theta)


def compiled(layer):
    return tf.function(layer.call, autograph=False, reduce_retracing=True)


def _widths(survey):
    return survey.prior().sample(4000, seed=[0, 0]).numpy().std(0)


@pytest.fixture(scope="module")
def scores():
    return compiled(LognormalScores(survey=SURVEY))


def test_gaussian_field_has_the_score_of_its_closed_form():
    survey = NearlyGaussian(pixels=16, width=4.0, parameters=("omega_c", "sigma_8"))
    layer = LognormalScores(survey=survey, iterations=40)
    theta = tf.constant([[0.25, 0.8], [0.35, 0.7]])
    maps = survey.sample(theta, seed=tf.constant([1, 2]))
    found = compiled(layer)(maps, theta).numpy()[:, :2] / _widths(survey)
    modes = tf.signal.rfft2d(tf.constant(np.moveaxis(maps.numpy(), -1, 1) / survey.noise_std, tf.float64))
    count = np.broadcast_to(fields.multiplicity(16), modes.shape[-2:])
    with tf.GradientTape() as tape:
        tape.watch(theta)
        response = survey.field(theta).response() / survey.noise_std
        covariance = tf.einsum("bikyx,bjkyx->byxij", response, response) + tf.eye(5, dtype=tf.float64)
        covariance = tf.concat([covariance, tf.reverse(covariance[:, 1:8], [1])], 1)
        data = tf.einsum("biyx->byxi", modes)
        real, imaginary = tf.math.real(data)[..., None], tf.math.imag(data)[..., None]
        chi2 = sum(tf.reduce_sum(v * tf.linalg.solve(covariance, v), [-2, -1]) for v in (real, imaginary)) / 16**2
        log_prob = -0.5 * tf.reduce_sum(count * (chi2 + tf.linalg.logdet(covariance)), [-2, -1])
    expected = tape.gradient(log_prob, theta).numpy()
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())


@pytest.mark.slow
def test_scores_change_with_the_parameters_as_much_as_they_vary(scores):
    """Fisher's identity, d <score> / d theta = cov(score), to the 10% that the variance of 200 maps allows."""
    n, step = 200, 0.04
    theta = np.tile([0.2664, 0.831], (n, 1)).astype("float32")

    def measured(sigma_8):
        true = np.stack([theta[:, 0], np.full(n, sigma_8)], -1).astype("float32")
        return scores(SURVEY.sample(true, seed=tf.constant([3, 4])), theta).numpy()[:, 1]

    width = _widths(SURVEY)[1]
    slope = (measured(0.831 + step) - measured(0.831 - step)).mean() / (2 * step) * width
    assert measured(0.831).var() == pytest.approx(slope, rel=0.25)


@pytest.mark.slow
def test_every_map_converges():
    """In universes far from linear, too: three times the iterations, the same scores to a tenth of their scatter."""
    theta = np.float32([[0.1, 1.3], [0.3, 1.2], [0.6, 1.1], [0.9, 1.0], [0.3, 0.4]])
    maps = SURVEY.sample(theta, seed=tf.constant([7, 8]))
    first, longer = (compiled(LognormalScores(survey=SURVEY, iterations=n))(maps, theta) for n in (60, 180))
    np.testing.assert_allclose(first, longer, atol=0.05)


def test_shifts_flips_and_turns_change_nothing(scores):
    theta = np.float32([[0.3, 0.8]])
    maps = SURVEY.sample(theta, seed=tf.constant([5, 6])).numpy()
    expected = scores(maps, theta)
    for other in (np.roll(maps, (3, 5), (1, 2)), maps[:, ::-1], np.rot90(maps, axes=(1, 2))):
        np.testing.assert_allclose(scores(other, theta), expected, rtol=5e-3, atol=5e-3)


def test_parameters_that_no_universe_has_are_moved_to_the_prior(scores):
    maps = SURVEY.sample(np.float32([[0.3, 0.8]]), seed=tf.constant([5, 6]))
    assert np.isfinite(scores(maps, np.float32([[-1.0, 9.0]]))).all()


def test_the_configuration_makes_the_layer_again():
    layer = LognormalScores(survey=SURVEY, iterations=5)
    again = LognormalScores.from_config(layer.get_config())
    assert again.survey == SURVEY and again.iterations == 5 and again.dim == 2 + 5 + 1


def test_a_copy_draws_no_prior_of_its_own(monkeypatch):
    """Draws differ with the number of threads."""
    config = LognormalScores(survey=SURVEY, iterations=2).get_config()
    monkeypatch.setattr(lognormal_scores, "_typical", lambda survey: pytest.fail("drawn again"))
    copy = LognormalScores.from_config(config)
    theta = tf.constant([[0.25, 0.8]])
    assert copy(SURVEY.sample(theta, seed=tf.constant([1, 2])), theta).shape == (1, 8)
    assert copy.get_config() == config
