"""Statistics of fields: symmetry, filters, Gaussian limits, information."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from deepcosmo.models.maps.field_statistics import FieldStatistics
from deepcosmo.physics import fields
from deepcosmo.physics.lensing_survey import lsst_y10_small

SURVEY = lsst_y10_small()
POWERS = 8 * 15  # statistics of second order, of 8 bands


@pytest.fixture(scope="module")
def statistics():
    return FieldStatistics.of(SURVEY, bands=8)


@pytest.fixture(scope="module")
def maps():
    return SURVEY.sample(tf.tile(SURVEY.fiducial[None], [64, 1]), seed=[0, 1]).numpy()


@pytest.fixture(scope="module")
def gaussian_maps():
    ell = SURVEY.multipoles()
    power = SURVEY.power(tf.tile(SURVEY.fiducial[None], [64, 1]), ell)
    kappa = fields.gaussian_maps(power, ell, shape=SURVEY.shape[:2], pixel_scale=SURVEY.pixel_scale, seed=[3, 4])
    return SURVEY.observe(tf.cast(tf.einsum("nbyx->nyxb", kappa), tf.float32), seed=[5, 6]).numpy()


SYMMETRIES = {
    "transpose": lambda v: np.transpose(v, (0, 2, 1, 3)),
    "quarter turn": lambda v: np.rot90(v, axes=(1, 2)),
    "flip": lambda v: np.flip(v, 2),
    "shift": lambda v: np.roll(v, (1, -6), (1, 2)),
}


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_symmetries_leave_them_alone(statistics, maps, symmetry):
    found, expected = statistics(SYMMETRIES[symmetry](maps[:8])), np.asarray(statistics(maps[:8]))
    np.testing.assert_allclose(found, expected, atol=1e-3 * expected.std(0).max(), rtol=1e-3)
    assert found.shape == (8, statistics.dim) == statistics.compute_output_shape(maps[:8].shape)


def test_filters_are_those_of_the_covariance(statistics, gaussian_maps):
    """A S = B; B has unit variance; and A has the covariance 1 / (S + N), so that <A d'> is the number of modes."""
    a, bands = (np.asarray(v) for v in statistics.filtered(gaussian_maps))
    assert np.std(bands.sum(1), (0, 2, 3)) == pytest.approx(np.ones(5), abs=0.05)
    data = np.moveaxis(gaussian_maps / SURVEY.noise_std, -1, 1)
    inside = fields.multipoles(SURVEY.shape[:2], SURVEY.pixel_scale) < 180 / SURVEY.width * SURVEY.pixels
    modes = np.sum(inside * fields.multiplicity(SURVEY.pixels)) / SURVEY.pixels**2  # of all, those within the band
    np.testing.assert_allclose(np.mean(a * data, (0, 2, 3)), modes, rtol=0.03)
    for i in range(5):
        others = [np.mean(a[:, i] * data[:, j]) for j in range(5) if j != i]
        np.testing.assert_allclose(others, 0.0, atol=0.03)


def test_gaussian_maps_have_no_third_moments(statistics, maps, gaussian_maps):
    """Convergence has: 3 standard deviations of those of a map, and 24 of their mean over 64."""
    third = slice(POWERS, POWERS + 30)
    gaussian = np.asarray(statistics(gaussian_maps))[:, third]
    assert np.all(np.abs(gaussian.mean(0)) < 4.5 * gaussian.std(0) / np.sqrt(64))
    skewed = np.asarray(statistics(maps))[:, third]
    assert np.max(skewed.mean(0) / skewed.std(0)) > 3


def test_exchange_is_the_sum_over_modes(statistics, maps):
    a, bands = (np.asarray(v, float) for v in statistics.filtered(maps[:2]))
    x = a * bands.sum(1)
    x -= x.mean((-2, -1), keepdims=True)
    modes = np.fft.fft2(x)
    cycles = 64 * np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64)[None])
    place = np.interp(np.log(np.maximum(cycles, 1e-3)), np.linspace(0, np.log(64 / np.sqrt(2)), 32), np.arange(32))
    for k, (i, j) in enumerate(zip(*np.tril_indices(5), strict=True)):
        signal = np.interp(place, np.arange(32), statistics.signal[:, i, j]) * ((cycles > 0) & (cycles < 32))
        expected = np.sum(signal * np.real(modes[:, i] * np.conj(modes[:, j])), (-2, -1)) / 64**4
        expected *= statistics._scale[i] * statistics._scale[j]
        np.testing.assert_allclose(np.asarray(statistics(maps[:2]))[:, k - 15], expected, rtol=1e-3, atol=1e-6)


def test_config_makes_the_same_layer(statistics, maps):
    again = FieldStatistics.from_config(statistics.get_config())
    np.testing.assert_array_equal(again(maps[:4]), statistics(maps[:4]))
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(statistics)).dim == statistics.dim


def test_bad_signal():
    with pytest.raises(ValueError, match=r"shape \(nodes, 5, 5\); got \(4, 3, 3\)"):
        FieldStatistics(size=64, channels=5, noise_std=1.0, signal=np.ones((4, 3, 3)))
