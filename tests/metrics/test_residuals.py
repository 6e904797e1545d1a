"""Residuals of models against noise whose statistics are known."""

import numpy as np
import pytest
import scipy.special

from deepcosmo.metrics import residuals


def test_residuals_of_pure_noise():
    rng = np.random.default_rng(8)
    model = np.ones((40, 32, 32))
    std = rng.uniform(1, 2, 40)
    image = model + std[:, None, None] * rng.standard_normal(model.shape)
    r = residuals.calibration(image[..., None], model[..., None], std)
    expected = scipy.special.erf(np.array([1, 2]) / np.sqrt(2))
    pixels = image.size
    for value, error, share in zip((r.within1, r.within2), (r.within1_error, r.within2_error), expected, strict=True):
        binomial = np.sqrt(share * (1 - share) / pixels)
        assert abs(value - share) < 4 * binomial and 0.6 < error / binomial < 1.5
    assert abs(r.chi2.mean() - 1) < 4 * np.sqrt(2 / pixels)
    np.testing.assert_allclose(residuals.chi2_per_pixel(image, model, std), r.chi2)
    # White noise has a flat spectrum: Parseval.
    flat = np.ones((32, 32))
    np.testing.assert_allclose(residuals.chi2_per_pixel(image, model, std, noise_power=flat), r.chi2)


def test_mask_restricts_the_residuals():
    image = np.zeros((1, 4, 4))
    image[0, 0, 0] = 3
    mask = np.zeros((1, 4, 4), bool)
    mask[0, 0, :2] = True
    r = residuals.calibration(image, np.zeros_like(image), 1.0, mask=mask)
    assert (r.within1, r.within2) == (0.5, 0.5) and r.chi2 == 4.5
    with pytest.raises(ValueError, match="no pixel"):
        residuals.calibration(image, image, 1.0, mask=np.zeros_like(mask))


def test_chi2_with_correlated_noise():
    """Right for noise of that spectrum and its scatter sqrt(2 / pixels); the pixel-wise one scatters more."""
    rng = np.random.default_rng(9)
    k = np.fft.fftfreq(32)
    power = np.exp(-60 * (k[:, None] ** 2 + k**2)) + 0.05
    power /= power.mean()
    noise = 0.3 * np.fft.ifft2(np.fft.fft2(rng.standard_normal((500, 32, 32))) * np.sqrt(power)).real
    np.testing.assert_allclose(noise.std(), 0.3, rtol=0.02)
    correlated = residuals.chi2_per_pixel(noise, 0 * noise, 0.3, noise_power=power)
    white = residuals.chi2_per_pixel(noise, 0 * noise, 0.3)
    scatter = np.sqrt(2 / 1024)
    assert abs(correlated.mean() - 1) < 4 * scatter / np.sqrt(500)
    np.testing.assert_allclose(correlated.std(), scatter, rtol=4 / np.sqrt(1000))
    assert white.std() > 1.5 * scatter


@pytest.mark.parametrize(
    "change, message",
    [
        ({"models": np.ones((2, 4, 5))}, "one shape"),
        ({"images": np.ones((4, 4)), "models": np.ones((4, 4))}, "shape"),
        ({"images": np.full((2, 4, 4), np.nan)}, "NaN"),
        ({"noise_std": -1.0}, "positive"),
        ({"noise_std": np.ones(3)}, "scalar"),
        ({"noise_power": np.ones(4)}, "noise_power must be positive, of shape"),
        ({"noise_power": np.ones((4, 4)), "mask": np.eye(4, dtype=bool)}, "no mask"),
    ],
)
def test_bad_input(change, message):
    arguments = {"images": np.ones((2, 4, 4)), "models": np.ones((2, 4, 4)), "noise_std": 1.0} | change
    with pytest.raises(ValueError, match=message):
        residuals.chi2_per_pixel(**arguments)
