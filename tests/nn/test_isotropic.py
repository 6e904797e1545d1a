"""Layers that know no direction: symmetry, band limit, normalisation."""

import keras
import numpy as np
import pytest

from deepcosmo.nn.isotropic import BandPowers, IsotropicFilters, band_edges

MAPS = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")


@pytest.fixture(scope="module")
def filters():
    keras.utils.set_random_seed(1)
    layer = IsotropicFilters(inputs=3, filters=6, size=16)
    layer.build()
    return layer


SYMMETRIES = {
    "transpose": lambda v: np.transpose(v, (0, 2, 1, 3)),
    "quarter turn": lambda v: np.roll(np.rot90(v, axes=(1, 2)), 1, 1),  # about a pixel
    "flip": lambda v: np.roll(np.flip(v, 2), 1, 2),
}


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_filters_commute_with_symmetries(filters, symmetry):
    change = SYMMETRIES[symmetry]
    np.testing.assert_allclose(filters(change(MAPS)), change(np.asarray(filters(MAPS))), atol=2e-5)


def test_filters_commute_with_shifts_of_coarse_pixels(filters):
    expected = np.roll(filters(MAPS), (1, -3), (1, 2))
    np.testing.assert_allclose(filters(np.roll(MAPS, (2, -6), (1, 2))), expected, atol=2e-5)


def test_nothing_beyond_the_nyquist_frequency_passes(filters):
    x = np.arange(32)
    for cycles, passes in ((3, True), (8, False), (11, False)):
        wave = np.cos(2 * np.pi * cycles * x / 32)[None, :, None, None] * np.ones((1, 32, 32, 3), "float32")
        assert (np.abs(filters(wave)).max() > 1e-3) == passes
    assert np.abs(filters(np.ones((1, 32, 32, 3)))).max() < 1e-5  # nor the mean


def test_filtered_waves_are_sampled_where_they_are(filters):
    """A wave of low frequency comes out as itself on the coarser grid, but for a factor."""
    fine, coarse = (np.cos(2 * np.pi * 2 * np.arange(n) / n) for n in (32, 16))
    out = np.asarray(filters(fine[None, :, None, None] * np.ones((1, 32, 32, 3), "float32")))[0]
    gain = out[0, 0]
    np.testing.assert_allclose(out, coarse[:, None, None] * gain * np.ones((16, 16, 1)), atol=1e-4)


def test_white_noise_keeps_about_its_variance():
    keras.utils.set_random_seed(2)
    layer = IsotropicFilters(inputs=2, filters=8, size=32)
    layer.build()
    noise = np.random.default_rng(1).normal(size=(64, 32, 32, 2)).astype("float32")
    np.testing.assert_allclose(np.var(layer(noise), (0, 1, 2)), 1.0, rtol=0.25)


def test_band_powers():
    """Of white noise: zero logarithms and correlations; of twice a map: ln 4 more; of a copy: correlation 1."""
    noise = np.random.default_rng(2).normal(size=(400, 32, 32, 1)).astype("float32")
    other = np.random.default_rng(3).normal(size=(400, 32, 32, 1)).astype("float32")
    layer = BandPowers(size=32, channels=3, bands=4)
    found = np.asarray(layer(np.concatenate([noise, 2 * noise, other], -1))).reshape(400, 6, 4)
    modes = np.pi * np.diff(band_edges(32, 4) ** 2)  # about as many, of which half are independent
    error = np.sqrt(2 / modes / 400)
    assert np.all(np.abs(found[:, 0].mean(0) + 1 / modes) < 5 * error + 1 / modes)
    np.testing.assert_allclose(found[:, 1] - found[:, 0], np.log(4), atol=1e-4)
    np.testing.assert_allclose(found[:, 3], 1.0, atol=1e-4)
    assert np.all(np.abs(found[:, 4].mean(0)) < 5 * error)


def test_bands_are_at_least_one_cycle_wide():
    edges = band_edges(256, 20)
    assert len(edges) == 21 and edges[0] == 0.5 and edges[-1] == 127.5
    assert np.all(np.diff(edges) > 0.999)
