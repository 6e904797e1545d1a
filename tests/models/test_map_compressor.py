"""Summaries by one step from an estimate: what they take, what is trained, reloading."""

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
    return OneStepCompressor(pilot=pilot, scores=LognormalScores(survey=SURVEY, iterations=10), outputs=3, hidden=(16,))


def test_measurements_will_do_in_place_of_maps(compressor, data):
    maps, _ = data
    measured = compressor.measure(maps[:4])
    assert measured.shape == (4, 2 + compressor.scores.dim)
    np.testing.assert_allclose(compressor(measured), compressor(maps[:4]), rtol=1e-4, atol=1e-4)


def test_the_pilot_is_not_trained_along(compressor):
    trained = {id(v) for v in compressor.trainable_weights}
    assert trained and not trained & {id(v) for v in compressor.pilot.weights}


def test_posterior_of_one_step_is_reloaded(compressor, data, tmp_path):
    maps, theta = data
    model = posterior(compressor, "mdn")
    model.adapt(compressor.measure(maps), theta)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.log_prob(theta[:4], maps[:4]), model.log_prob(theta[:4], maps[:4]), rtol=1e-4,
                               atol=1e-4)  # fmt: skip
    np.testing.assert_array_equal(again.sample(3, maps[:2], seed=1), model.sample(3, maps[:2], seed=1))


def test_a_pilot_must_have_a_mean(pilot):
    other = posterior(MapCompressor(statistics=pilot.compressor.statistics, outputs=2, hidden=(16,)), "maf")
    with pytest.raises(ValueError, match="density 'regression' or 'mdn'; got 'maf'"):
        OneStepCompressor(pilot=other, scores=LognormalScores(survey=SURVEY), outputs=2)
