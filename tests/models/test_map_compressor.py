"""Posteriors by one step from an estimate: what they see, what is trained, reloading."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from deepcosmo.models import MapCompressor, MapPosterior, OneStepCompressor
from deepcosmo.nn.field_statistics import FieldStatistics
from deepcosmo.nn.lognormal_scores import LognormalScores
from deepcosmo.physics.lensing_survey import LensingSurvey

SURVEY = LensingSurvey(pixels=16, width=4.0, parameters=("omega_c", "sigma_8"))
BOUNDS = [(0.0, np.inf), (-np.inf, np.inf)]


def posterior(compressor, density="regression"):
    options = {"hidden": (32,), **({"components": 2} if density == "mdn" else {})}
    return MapPosterior(compressor=compressor, parameters=SURVEY.parameters, bounds=BOUNDS, density=density,
                        options=options)  # fmt: skip


@pytest.fixture(scope="module")
def data():
    theta = SURVEY.prior().sample(512, seed=[1, 1])
    return SURVEY.sample(theta, seed=tf.constant([1, 2])).numpy(), theta.numpy()


@pytest.fixture(scope="module")
def pilot(data):
    keras.utils.set_random_seed(5)
    maps, theta = data
    model = posterior(MapCompressor(statistics=FieldStatistics.of(SURVEY, bands=4), outputs=2, hidden=(16,)))
    model.adapt(maps, theta)
    return model


@pytest.fixture(scope="module")
def compressor(pilot):
    return OneStepCompressor(pilot=pilot, scores=LognormalScores(survey=SURVEY, iterations=10))


def test_summaries_are_the_estimate_and_the_scores_there(compressor, data):
    maps, _ = data
    summaries = compressor(maps[:4])
    estimate = compressor.pilot.density.distribution(compressor.pilot.compress(maps[:4])).mean()
    theta = compressor.pilot.bijector().forward(estimate)
    np.testing.assert_allclose(summaries[:, :2], estimate, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(summaries[:, 2:], compressor.scores(maps[:4], theta), rtol=1e-2, atol=1e-2)
    np.testing.assert_array_equal(compressor(summaries), summaries)  # they will do in place of maps


def test_only_the_density_is_trained(compressor):
    model = posterior(compressor, "mdn")
    assert {id(v) for v in model.trainable_weights} == {id(v) for v in model.density.trainable_weights}


def test_posterior_of_one_step(compressor, data, tmp_path):
    """It is a density, that of its draws and of its distribution, and the same after a file."""
    maps, theta = data
    model = posterior(compressor, "mdn")
    summaries = compressor(maps[:128])
    model.adapt(summaries, theta[:128])
    draws = model.sample(4000, maps[:2], seed=1)
    log_prob = model.log_prob_of_summaries(draws[:50], summaries[:2])
    np.testing.assert_allclose(log_prob, model.distribution(maps[:2]).log_prob(draws[:50]), atol=0.02)
    # its integral is 1, by importance sampling from a normal distribution of twice the width
    wide = np.random.default_rng(0).normal(np.mean(draws, 0), 2 * np.std(draws, 0), draws.shape).astype("float32")
    inside = np.all(wide > [0.0, -np.inf], -1)
    proposal = -0.5 * np.sum(((wide - np.mean(draws, 0)) / (2 * np.std(draws, 0))) ** 2, -1)
    proposal -= np.sum(np.log(2 * np.std(draws, 0)), -1) + np.log(2 * np.pi)
    safe = np.where(inside[..., None], wide, np.mean(draws, 0))
    found = model.log_prob_of_summaries(safe, summaries[:2])
    ratio = np.where(inside, np.exp(found - proposal), 0.0)
    np.testing.assert_array_less(np.abs(ratio.mean(0) - 1), 4 * ratio.std(0) / np.sqrt(len(ratio)))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.log_prob(theta[:4], maps[:4]), model.log_prob(theta[:4], maps[:4]), rtol=1e-3,
                               atol=1e-3)  # fmt: skip
    np.testing.assert_array_equal(again.sample(4000, maps[:2], seed=1), draws)


def test_a_pilot_must_have_a_mean(pilot):
    other = posterior(MapCompressor(statistics=pilot.compressor.statistics, outputs=2, hidden=(16,)), "maf")
    with pytest.raises(ValueError, match="density 'regression' or 'mdn'; got 'maf'"):
        OneStepCompressor(pilot=other, scores=LognormalScores(survey=SURVEY))
