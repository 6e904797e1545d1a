"""Half-plane transforms against NumPy's."""

import numpy as np
import pytest

from deepcosmo.nn.fourier import filtered, fourier, frequency, inverse_fourier

RNG = np.random.default_rng(0)
SHAPES = pytest.mark.parametrize("shape", [(8, 8), (6, 10), (9, 8), (8, 9)])


@SHAPES
def test_transform_is_that_of_numpy(shape):
    images = RNG.normal(size=(2, *shape)).astype("float32")
    real, imaginary = fourier(images)
    expected = np.fft.rfft2(images).transpose(0, 2, 1)
    np.testing.assert_allclose(np.asarray(real) + 1j * np.asarray(imaginary), expected, atol=1e-4)
    np.testing.assert_allclose(inverse_fourier((real, imaginary), shape[1]), images, atol=1e-5)


@SHAPES
def test_frequency(shape):
    rows, columns = np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1])
    np.testing.assert_allclose(frequency(shape), np.hypot(columns[:, None], rows[None]))


@SHAPES
def test_filter_is_a_convolution(shape):
    """With the transform of an even kernel, which is real."""
    y, x = (np.minimum(np.arange(n), n - np.arange(n)) for n in shape)
    kernel = np.exp(-0.5 * (y[:, None] ** 2 + x**2))
    image = np.zeros(shape, "float32")
    image[3, 4] = 2.0
    transfer = np.fft.rfft2(kernel).real.T[None].astype("float32")
    np.testing.assert_allclose(filtered(image[None], transfer)[0], 2 * np.roll(kernel, (3, 4), (0, 1)), atol=1e-5)
