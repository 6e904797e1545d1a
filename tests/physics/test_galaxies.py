"""Physics of galaxy stamps: convolution, noise, conversion to GalSim."""

import galsim
import numpy as np
import pytest
import tensorflow as tf
from astropy import units

from deepcosmo.physics import galaxies
from tfds_builders.cosmos_stamps import psfs, rendering


@pytest.mark.parametrize("size, kernel", [((20, 20), (8, 8)), ((17, 24), (7, 10)), ((12, 12), (13, 12))])
def test_convolution_is_the_sum(size, kernel):
    rng = np.random.default_rng(1)
    image, psf = rng.normal(size=(2, 3, *size)), rng.uniform(size=(3, *kernel))
    expected = np.zeros_like(image)
    padded = np.pad(image, [(0, 0), (0, 0), *((k, k) for k in kernel)])
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            y, x = kernel[0] - (i - kernel[0] // 2), kernel[1] - (j - kernel[1] // 2)
            expected += psf[:, i, j, None, None] * padded[..., y : y + size[0], x : x + size[1]]
    result = galaxies.convolve(tf.constant(image, tf.float32), tf.constant(psf, tf.float32))
    np.testing.assert_allclose(result, expected, atol=2e-5)


def test_convolution_of_other_types():
    """Of double precision where one of them is; integers are numbers."""
    image, psf = np.eye(8, dtype=int), np.full((3, 3), 1 / 9)
    plain = galaxies.convolve(tf.constant(image, tf.float64), tf.constant(psf))
    assert plain.dtype == tf.float64
    np.testing.assert_allclose(galaxies.convolve(image * units.electron / units.s, psf.tolist()), plain)
    np.testing.assert_allclose(galaxies.convolve(image.astype("f4"), psf), plain, atol=1e-6)
    with pytest.raises(ValueError, match=r"must be \(\.\.\., height, width\); got \(8, 8\) and \(\)"):
        galaxies.convolve(image, 1.0)


def test_convolution_matches_the_data_set():
    """A smooth galaxy sampled on the grid and convolved is the stamp that the builder renders."""
    psf, sigma = psfs.model_psfs(1)[0], 5.0  # pixels: band-limited
    r2 = np.sum((np.indices((128, 128)) - 63.5) ** 2, axis=0)
    profile = np.exp(-r2 / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    hlr = sigma * np.sqrt(2 * np.log(2)) * 0.03
    rendered = rendering.render([[(1.0, 0.5, hlr, 1.0, 0.0)]], [psf], [10.0])[0]
    convolved = galaxies.convolve(tf.constant(10 * profile, tf.float32), tf.constant(psf))
    np.testing.assert_allclose(convolved, rendered, atol=1e-6)


def test_gradient_of_convolution():
    psf = tf.constant(psfs.model_psfs(1)[0])
    image = tf.Variable(tf.ones((1, 32, 32)))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(galaxies.convolve(image, psf) ** 2)
    assert np.all(np.isfinite(tape.gradient(value, image)))


def test_noise_spectrum():
    power = galaxies.acs_noise_power(128)
    assert power.shape == (128, 128) and power.min() > 0 and np.isclose(power.mean(), 1)
    np.testing.assert_allclose(power, np.roll(power[::-1, ::-1], 1, (0, 1)), rtol=1e-9)
    noise = galsim.getCOSMOSNoise()
    image = galsim.ImageD(41, 41, scale=0.03)
    noise.drawImage(image)
    correlation = np.fft.fftshift(np.fft.ifft2(power).real)[44:85, 44:85]
    np.testing.assert_allclose(correlation, image.array / noise.getVariance(), atol=2e-4)
    with pytest.raises(ValueError, match="at least 81"):
        galaxies.acs_noise_power(64)
    with pytest.raises(ValueError, match="read-only"):
        power[0, 0] = 2


def test_sampled_noise():
    noise_std = tf.constant([[1.0, 2.0]] * 60)
    noise = galaxies.sample_noise([1, 2], noise_std).numpy()
    assert noise.shape == (60, 2, 128, 128) and noise.dtype == np.float32
    np.testing.assert_array_equal(noise, galaxies.sample_noise([1, 2], noise_std))
    assert not np.array_equal(noise, galaxies.sample_noise([1, 3], noise_std))
    modes = np.abs(np.fft.fft2(noise / noise_std.numpy()[..., None, None]) / 128) ** 2
    ratio = modes.mean((0, 1)) / galaxies.acs_noise_power()
    # 120 draws: every mode is exponentially distributed about its power
    assert abs(ratio.mean() - 1) < 5 * np.sqrt(2 / 120) / 128
    assert ratio.max() < 2.2 and ratio.min() > 0.4


def test_to_galsim():
    image = np.zeros((128, 128, 1), np.float32)
    image[60:68, 60:68] = 0.5
    galaxy = galaxies.to_galsim(image)
    assert np.isclose(galaxy.flux, 32)
    drawn = galaxy.drawImage(nx=128, ny=128, scale=0.03, method="no_pixel").array
    np.testing.assert_allclose(drawn, image[..., 0], atol=2e-3)
    with pytest.raises(ValueError, match="one image"):
        galaxies.to_galsim(np.zeros((2, 128, 128)))
    with pytest.raises(ValueError, match="not finite"):
        galaxies.to_galsim(np.full((8, 8), np.nan))
