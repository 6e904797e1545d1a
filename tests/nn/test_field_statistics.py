"""Statistics of fields: symmetry, noise, Gaussian limits."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from deepcosmo.nn.field_statistics import THRESHOLDS, FieldStatistics
from deepcosmo.physics.lensing_survey import lsst_y10_small

SURVEY = lsst_y10_small()


@pytest.fixture(scope="module")
def statistics():
    return FieldStatistics.of(SURVEY, modes=2, bands=8)


@pytest.fixture(scope="module")
def maps():
    return SURVEY.sample(tf.tile(SURVEY.fiducial[None], [8, 1]), seed=[0, 1]).numpy()


SYMMETRIES = {
    "transpose": lambda v: np.transpose(v, (0, 2, 1, 3)),
    "quarter turn": lambda v: np.roll(np.rot90(v, axes=(1, 2)), 1, 1),  # about a pixel
    "flip": lambda v: np.roll(np.flip(v, 2), 1, 2),
    "shift": lambda v: np.roll(v, (2, -6), (1, 2)),
}


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_symmetries_leave_them_alone(statistics, maps, symmetry):
    found, expected = statistics(SYMMETRIES[symmetry](maps)), statistics(maps)
    np.testing.assert_allclose(found, expected, atol=3e-5)
    assert found.shape == (8, statistics.dim) == statistics.compute_output_shape(maps.shape)


def test_shifts_by_a_pixel_hardly_change_them(statistics, maps):
    """Filtered maps are known at half of the places, which is enough for all their modes."""
    expected = np.asarray(statistics(maps))
    moved = np.asarray(statistics(np.roll(maps, (1, -3), (1, 2))))
    assert np.median(np.abs(moved - expected) / (expected.std(0) + 1e-4)) < 0.1


def test_filtered_noise_is_white_normal_noise(statistics):
    noise = SURVEY.noise_std * np.random.default_rng(0).normal(size=(256, *SURVEY.shape)).astype("float32")
    np.testing.assert_allclose(np.var(statistics.filtered(noise), (0, 2)), 1.0, rtol=0.12)
    found = np.mean(statistics(noise), 0)  # of filters with many modes: others are divided by a scatter that varies
    shares = found[8 * 15 + statistics.filters :][: len(THRESHOLDS) * statistics.filters].reshape(len(THRESHOLDS), -1)
    draws = np.random.default_rng(1).normal(size=200_000)
    expected = [np.mean(1 / (1 + np.exp(-3 * (draws - t)))) for t in THRESHOLDS]
    np.testing.assert_allclose(shares[:, :8], np.tile(np.array(expected)[:, None], 8), atol=5e-3)


def test_modes_diagonalise_signal_and_noise():
    ell = SURVEY.multipoles()[::8]
    ratio, vectors = SURVEY.signal_to_noise(ell)
    signal = np.moveaxis(SURVEY.power(tf.constant(SURVEY.fiducial), ell).numpy(), -1, 0)
    found = vectors @ (signal / SURVEY.noise_power) @ np.swapaxes(vectors, -1, -2)
    np.testing.assert_allclose(found, ratio[..., None] * np.eye(5), atol=1e-4 * ratio.max())
    assert np.all(np.diff(ratio, axis=-1) <= 0)


def test_skewed_maps_have_third_moments(statistics, maps):
    """Gaussian maps have none, on average: kappa has, at the scale of several pixels."""
    k = statistics.filters
    start = statistics.dim - k * (k + 1) // 2 - k * k
    third = lambda v: np.asarray(statistics(v))[:, start : start + k * k].reshape(-1, k, k)  # noqa: E731
    rng = np.random.default_rng(2)
    phases = np.fft.rfft2(rng.normal(size=maps.shape), axes=(1, 2))
    amplitudes = np.abs(np.fft.rfft2(maps, axes=(1, 2)))
    gaussian = np.fft.irfft2(amplitudes * np.exp(1j * np.angle(phases[..., :1])), axes=(1, 2))
    wiener = third(maps)[:, 0, 0]
    assert wiener.mean() > 0.3
    assert abs(third(gaussian.astype("float32"))[:, 0, 0].mean()) < wiener.mean() / 3


def test_config_makes_the_same_layer(statistics, maps):
    again = FieldStatistics.from_config(statistics.get_config())
    np.testing.assert_array_equal(again(maps), statistics(maps))
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(statistics)).dim == statistics.dim


def test_bad_modes():
    with pytest.raises(ValueError, match="must agree"):
        FieldStatistics(size=64, channels=5, noise_std=1.0, ratio=np.ones((4, 2)), mixture=np.ones((4, 2, 3)))
