"""Scores of Gaussian fields: unbiased, as narrow as the Fisher matrix says, and a likelihood's own."""

import numpy as np
import pytest
import tensorflow as tf

from deepcosmo.models.maps.band_powers import BandPowers
from deepcosmo.models.maps.gaussian_scores import GaussianScores
from deepcosmo.physics import fields
from deepcosmo.physics.lensing_survey import lsst_y10_small

SURVEY = lsst_y10_small()
PIVOTS = np.array([[0.2664, 0.831], [0.3, 0.8]])


@pytest.fixture(scope="module")
def steps():
    """Of 256 Gaussian maps at the first pivot."""
    ell, powers = SURVEY.multipoles(), BandPowers(size=64, channels=5)
    spectra = SURVEY.power(tf.tile(tf.constant(PIVOTS[:1]), [256, 1]), ell)
    kappa = fields.gaussian_maps(spectra, ell, shape=(64, 64), pixel_scale=SURVEY.pixel_scale, seed=[1, 2])
    maps = SURVEY.observe(tf.cast(tf.einsum("nbyx->nyxb", kappa), tf.float32), [3, 4])
    return np.asarray(GaussianScores.of(SURVEY, PIVOTS)(powers(maps / SURVEY.noise_std))).reshape(256, 2, 2)


def test_they_are_zero_on_average_at_the_pivot(steps):
    mean, error = steps[:, 0].mean(0), steps[:, 0].std(0) / np.sqrt(256)
    assert np.all(np.abs(mean) < 4 * error)


def test_they_point_to_the_truth_from_nearby(steps):
    """But for the prior's pull, which is weak, and for a second order."""
    assert steps[:, 1].mean(0) == pytest.approx(PIVOTS[0] - PIVOTS[1], abs=0.01)


def test_they_scatter_as_the_fisher_matrix_says(steps):
    """(F + P)^-1 F (F + P)^-1, of the Fisher matrix from the slopes of the mean step."""
    step = np.array([0.004, 0.004])
    layer, matrices = GaussianScores.of(SURVEY, PIVOTS[:1]), []
    ell = SURVEY.multipoles()
    # the mean step for slightly other parameters is (F + P)^-1 F times their difference
    for sign in (1, -1):
        theta = PIVOTS[0] + sign * np.diag(step)
        spectra = SURVEY.power(tf.constant(theta), ell)
        kappa = fields.gaussian_maps(
            tf.repeat(spectra, 256, 0), ell, shape=(64, 64), pixel_scale=SURVEY.pixel_scale, seed=[5, 6]
        )
        maps = SURVEY.observe(tf.cast(tf.einsum("nbyx->nyxb", kappa), tf.float32), [7, 8])
        found = np.asarray(layer(BandPowers(size=64, channels=5)(maps / SURVEY.noise_std)))
        matrices.append(found.reshape(2, 256, 2).mean(1))
    gain = (matrices[0] - matrices[1]).T / (2 * step)  # (F + P)^-1 F
    width = SURVEY.prior().sample(2000, seed=[0, 0]).numpy().std(0)
    covariance = (np.eye(2) - gain) @ np.diag(width**2)  # (F + P)^-1
    np.testing.assert_allclose(np.cov(steps[:, 0].T), gain @ covariance, rtol=0.4)


def test_config_and_weights_make_the_same_layer(steps):
    layer = GaussianScores.of(SURVEY, PIVOTS)
    again = GaussianScores.from_config(layer.get_config())
    again.build()
    again.set_weights(layer.get_weights())
    features = np.random.default_rng(0).uniform(0, 0.5, (3, 300)).astype("float32")
    np.testing.assert_array_equal(again(features), layer(features))
    assert again(features).shape == layer.compute_output_shape((3, 300)) == (3, 4)
