"""Posteriors of maps against explicit ones: distances that are known, maps that are always the same."""

import re
import types

import numpy as np
import pytest
import tensorflow as tf

from deepcosmo.metrics.lensing_posterior import fiducial_maps, figure_of_merit, full_field_metrics, observed, turns
from deepcosmo.physics.lensing_survey import lsst_y10_small


def test_maps_do_not_depend_on_others():
    survey = lsst_y10_small(pixels=8)
    theta = np.array([[0.3, 0.8], [0.2, 0.9], [0.3, 0.8]])
    maps = observed(survey, theta, 5)
    assert maps.shape == (3, *survey.shape)
    np.testing.assert_array_equal(observed(survey, theta[:2], 5), maps[:2])
    assert np.abs(maps[0] - maps[2]).max() > 0  # another number, another field
    np.testing.assert_array_equal(fiducial_maps(survey, 2, 5), observed(survey, np.tile(survey.fiducial, (2, 1)), 5))


def test_turns_are_the_symmetries_of_the_square():
    image = np.arange(9.0).reshape(3, 3, 1)
    found = {tuple(v.ravel()) for v in turns(image)}
    assert len(found) == 8 and tuple(image.transpose(1, 0, 2).ravel()) in found


def test_figure_of_merit():
    """One over the area of the ellipse, but for pi."""
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(40_000, 3)) * [0.5, 7.0, 0.1]
    assert figure_of_merit(samples, [0, 2]) == pytest.approx(20.0, rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("shift, width", [(0.0, 1.0), (1.0, 1.0), (0.0, 2.0)])
def test_distance_from_explicit_posteriors(shift, width):
    """Of normal distributions: an ideal classifier tells a shift of one standard deviation at a rate of 0.69."""
    explicit = np.random.default_rng(1).normal(size=(2, 1500, 2))

    def sample(n, maps, *, seed):
        return shift + width * tf.random.stateless_normal([n, len(maps), 2], [seed, 1]) * [1.0, 1.0]

    metrics = full_field_metrics(types.SimpleNamespace(sample=sample), np.zeros((2, 4, 4, 5)), explicit, seed=3)
    found = {m.name: m.value for m in metrics}
    assert all(m.size == 2 for m in metrics)
    assert found["distance of means from those of HMC [sigma]"] == pytest.approx(shift, abs=0.12)
    assert found["width over that of HMC"] == pytest.approx(width, rel=0.06)
    score = found["C2ST against full-field HMC"]
    if shift == 0.0 and width == 1.0:
        assert score < 0.54
    else:  # sqrt(2) standard deviations in two dimensions; or twice as wide in two dimensions
        assert score == pytest.approx(0.76 if shift else 0.74, abs=0.05)


@pytest.mark.slow
def test_what_a_normal_distribution_would_reach():
    """C2ST has as a reference what moments alone reach: of exponential draws more than of normal ones."""
    rng = np.random.default_rng(2)
    told = []
    for explicit in (rng.normal(size=(1, 1500, 2)), rng.exponential(size=(1, 1500, 2))):
        sample = lambda n, maps, *, seed, draws=explicit: tf.constant(draws[0, :n, None])  # noqa: E731
        metrics = full_field_metrics(types.SimpleNamespace(sample=sample), np.zeros((1, 4, 4, 5)), explicit, seed=3)
        told.append(re.search(r"^(\S+) between draws of HMC, (\S+) for normal", metrics[0].reference).groups())
    (halves, normal), (_, others) = np.array(told, float)
    assert abs(halves - 0.5) < 0.05 and abs(normal - 0.5) < 0.05  # four standard errors of 1500 coins
    assert others > 0.6
