"""Training examples of networks for convergence maps: what is drawn has the statistics that it says."""

import numpy as np
import pytest
import tensorflow as tf

from deepcosmo.inference.mass_mapping import priors
from deepcosmo.physics import fields
from deepcosmo.physics.catalog import PIXEL_SCALE
from deepcosmo.training import convergence
from tfds_builders.lensing_pairs.survey import SURVEYS


@pytest.fixture(scope="module")
def maps():
    ell, c_ell = priors.fiducial_spectrum()
    spectra = np.tile(c_ell, (4, 1, 1, 1))
    drawn = fields.gaussian_maps(spectra, ell, shape=(96, 128), pixel_scale=PIXEL_SCALE, seed=[0, 1])
    return tf.cast(drawn[:, 0], tf.float32)


def test_cut_outs_are_turned_parts_of_the_maps():
    """Of maps that count their pixels: neighbours stay neighbours, and all 8 orientations occur."""
    count = np.arange(20 * 30, dtype="f4").reshape(1, 20, 30).repeat(16, 0)
    seen, corners = set(), set()
    for i in range(8):
        for cut in convergence.cut_out(count, [0, i], 12).numpy():
            step = cut[1, 0] - cut[0, 0], cut[0, 1] - cut[0, 0]
            assert sorted(map(abs, step)) == [1, 30]
            down, across = np.multiply.outer(step, np.arange(12))
            np.testing.assert_array_equal(cut, cut[0, 0] + np.add.outer(down, across))
            seen.add(step)
            corners.add(cut.min())
    assert len(seen) == 8 and len(corners) > 50


def test_denoising_examples(maps):
    """Noise is white, of the level that is told, and levels are log-uniform: their mean to 4 sigma."""
    levels = []
    for i in range(40):
        x, y = convergence.denoising(maps, [3, i], size=64, smallest=0.01, largest=1.0)
        noise = (x["noisy"] - y).numpy() / x["sigma"].numpy()[:, None, None]
        assert np.all(np.abs(noise.std((1, 2)) - 1) < 4.5 / np.sqrt(2 * 64**2))
        assert np.all(np.abs(y.numpy().mean((1, 2))) < 1e-6)
        levels += np.log10(x["sigma"]).tolist()
    assert -2 <= min(levels) and max(levels) <= 0
    assert np.mean(levels) == pytest.approx(-1, abs=4 * 2 / np.sqrt(12 * len(levels)))


def test_observed_examples(maps):
    """Nothing is observed in the frame, depths differ by surveys, and Wiener maps are nearer to the truth than 0."""
    surveys = [SURVEYS["lsst_y10"], SURVEYS["hsc"]]
    power = priors.power_of_modes(None, shape=(96, 96), pixel_scale=PIXEL_SCALE)
    x, y = convergence.observing(maps, [0, 5], size=96, frame=16, power=power, surveys=surveys)
    precision, wiener, y = x["precision"].numpy(), x["wiener"].numpy(), y.numpy()
    inner = np.zeros((96, 96), bool)
    inner[16:-16, 16:-16] = True
    assert precision.shape == wiener.shape == y.shape == (4, 96, 96)
    assert not precision[:, ~inner].any() and np.all((precision[:, inner] > 0).mean(1) > 0.5)
    per_galaxy = [setup.sigma_e**2 for setup in surveys for _ in range(2)]
    for each, variance, setup in zip(precision, per_galaxy, np.repeat(surveys, 2), strict=True):
        depth = each[inner].mean() * variance / (setup.density * PIXEL_SCALE**2)
        assert 0.5 * 0.5 < depth < 2 * 1.2  # holes and clustering besides
    error = np.mean((wiener - y)[:, inner] ** 2, 1)
    assert np.all(error < 0.95 * np.mean(y[:, inner] ** 2, 1))
    again, _ = convergence.observing(maps, [0, 5], size=96, frame=16, power=power, surveys=surveys)
    np.testing.assert_array_equal(again["wiener"], wiener)


def test_the_mean_spectrum_is_that_of_the_maps():
    """24 Gaussian maps of 10 degrees: within 4 sigma of what so many modes allow, in every bin."""
    ell, c_ell = priors.fiducial_spectrum()
    drawn = (
        fields.gaussian_maps(c_ell[None, None], ell, shape=(128, 128), pixel_scale=4.0, seed=[2, i])[0]
        for i in range(24)
    )
    at, measured = convergence.mean_spectrum(drawn, 4.0)
    assert np.all(np.diff(at) > 0) and at[0] < 100
    expected = np.exp(np.interp(np.log(at), np.log(ell), np.log(c_ell)))
    modes = 24 * at * np.gradient(at) * (128 * np.radians(4 / 60)) ** 2 / (4 * np.pi)  # without mirror images
    inside = (at > 200) & (at < 180 * 60 / 4.0)  # many modes in a bin, and none of the grid's corners
    assert inside.sum() > 15
    np.testing.assert_array_less(np.abs(measured / expected - 1)[inside], (4 / np.sqrt(modes) + 0.03)[inside])
