"""Inference from power spectra: their mean, and a posterior that can be integrated."""

import numpy as np
import pytest
import scipy.integrate
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from deepcosmo.inference.explicit.power_spectrum import PowerSpectrum
from deepcosmo.inference.sbi.support import Support
from deepcosmo.physics.lensing_survey import lsst_y10_small

SURVEY = lsst_y10_small(pixels=32, parameters=("sigma_8",))


@pytest.fixture(scope="module")
def spectra():
    return PowerSpectrum(SURVEY, bands=5, simulations=512, progress=False)


@pytest.mark.slow
def test_expected_spectra_are_those_of_maps(spectra):
    theta = tf.tile(tf.constant(SURVEY.fiducial)[None], [16, 1])
    seen = np.concatenate([spectra.measure(SURVEY.sample(theta, tf.constant([8, i]))) for i in range(32)])
    error = seen.std(0) / np.sqrt(len(seen))
    deviation = (seen.mean(0) - spectra.expected(SURVEY.fiducial[None])[0]) / error
    assert np.abs(deviation).max() < 4.5  # of 75 numbers
    assert np.mean(deviation**2) < 2.0


@pytest.mark.slow
def test_posterior_is_the_exact_one(spectra):
    """Of one parameter, by quadrature."""
    maps = SURVEY.sample(tf.constant([[0.8]]), tf.constant([1, 2]))[0]
    samples = spectra.sample(4000, maps, seed=3)[:, 0]
    grid = np.linspace(0.5, 1.2, 300)
    data = spectra.measure(maps).numpy().astype(float)
    log_prob = spectra.log_likelihood(grid[:, None], data)
    log_prob += SURVEY.prior().log_prob(grid[:, None].astype("float32")).numpy()
    density = np.exp(log_prob - log_prob.max())
    moments = [scipy.integrate.trapezoid(density * grid**k, grid) for k in range(3)]
    mean = moments[1] / moments[0]
    std = np.sqrt(moments[2] / moments[0] - mean**2)
    # of 2000 proposals most count, and draws repeat them: at least 1000 effective samples
    assert abs(samples.mean() - mean) < 4 * std / np.sqrt(1000)
    assert abs(samples.std() / std - 1) < 4 / np.sqrt(2 * 1000)
    np.testing.assert_array_equal(samples, spectra.sample(4000, maps, seed=3)[:, 0])


@pytest.mark.slow
def test_a_prior_of_float64(spectra, monkeypatch):
    prior = tfd.Independent(tfd.TruncatedNormal(np.array([0.8]), 0.1, np.array([0.0]), np.inf), 1)
    monkeypatch.setattr(spectra, "support", Support(prior))
    samples = spectra.sample(10, SURVEY.sample(tf.constant([[0.8]]), tf.constant([1, 2]))[0], seed=3)
    assert samples.dtype == np.float64 and np.all((samples > 0.5) & (samples < 1.1))


def test_bad_input(spectra):
    with pytest.raises(ValueError, match="a covariance of 75 numbers needs 150 simulations; got 100"):
        PowerSpectrum(SURVEY, bands=5, simulations=100)
    with pytest.raises(ValueError, match=r"shape \(32, 32, 5\)"):
        spectra.sample(10, np.zeros((1, 32, 32, 5)), seed=1)


def test_bands_without_modes_join_the_next():
    """Of 10 bands up to 8 cycles per map, one lies between the modes of sqrt(2) and of 2 cycles."""
    survey = lsst_y10_small(pixels=16, parameters=("sigma_8",))
    found = PowerSpectrum(survey, bands=10, simulations=320, progress=False)
    assert 6 <= len(found.edges) - 1 < 10
    assert np.all(np.diag(found.covariance) > 0)
