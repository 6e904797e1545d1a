"""The Wiener filter and its constrained realisations against dense linear algebra."""

import numpy as np
import pytest
import tensorflow as tf

from deepcosmo.inference import mass_map
from deepcosmo.inference.mass_mapping import priors
from deepcosmo.physics import lensing, wiener

SCALE = 2.0  # arcmin per pixel
NOISE = 0.03


def observed(shape, components, seed=0):
    """Precision of patchy noise with random holes and a wide one, and a shear map of nothing but numbers."""
    rng = np.random.default_rng(seed)
    precision = rng.lognormal(sigma=0.7, size=(*shape, components)) / NOISE**2
    precision[rng.random(shape) < 0.2] = 0
    precision[8:20, 10:18] = 0
    return precision, 0.05 * rng.normal(size=(*shape, 2))


def dense(of_kappa, between, of_shear, precision, shear):
    """Posterior mean and covariance, given covariances (k, k), (k, d) and (d, d) of k pixels and d shear values."""
    precision = np.broadcast_to(precision, shear.shape).ravel()
    kept = precision > 0
    total = of_shear[np.ix_(kept, kept)] + np.diag(1 / precision[kept])
    gain = np.linalg.solve(total, between[:, kept].T).T
    return gain @ shear.ravel()[kept], of_kappa - gain @ between[:, kept].T


def on_the_periodic_sky(shape, power, precision, shear):
    pixels = np.eye(np.prod(shape)).reshape(-1, *shape)
    covariance = np.fft.irfft2(power * np.fft.rfft2(pixels), shape).reshape(len(pixels), -1)
    to_shear = lensing.kappa_to_shear(pixels).numpy().reshape(len(pixels), -1)
    return dense(covariance, covariance @ to_shear, to_shear.T @ covariance @ to_shear, precision, shear)


def squared_modes(samples, mean, covariance):
    """Squares of uncorrelated unit variables, (samples, modes), if samples have this mean and covariance."""
    variance, modes = np.linalg.eigh(covariance)
    kept = variance > 1e-6 * variance.max()
    return ((samples.reshape(len(samples), -1) - mean) @ modes[:, kept]) ** 2 / variance[kept]


@pytest.mark.parametrize(("shape", "components"), [((32, 32), 1), ((32, 32), 2), ((33, 20), 2)])
def test_mean_is_exact(shape, components):
    precision, shear = observed(shape, components)
    power = priors.power_of_modes(None, shape=shape, pixel_scale=SCALE)
    expected, _ = on_the_periodic_sky(shape, power, precision, shear)
    for dtype, tolerance, within in (("float64", 1e-9, 1e-7), ("float32", 1e-6, 1e-4), ("float32", 1e-4, 3e-3)):
        mean = wiener.posterior_mean(tf.cast(shear, dtype), power, precision, tolerance=tolerance)
        assert mean.dtype == dtype
        np.testing.assert_allclose(np.ravel(mean), expected, atol=within * expected.std())


def test_samples_have_the_exact_mean_and_covariance():
    """Their squared, uncorrelated modes: all together, and mode by mode."""
    shape, count = (32, 32), 400
    precision, shear = observed(shape, 2)
    power = priors.power_of_modes(None, shape=shape, pixel_scale=SCALE)
    batch = tf.repeat(tf.constant(shear, tf.float32)[None], count, 0)
    samples = tf.function(wiener.posterior_sample, autograph=False)(batch, power, precision, seed=[1, 2]).numpy()
    squares = squared_modes(samples, *on_the_periodic_sky(shape, power, precision, shear))
    assert squares.shape[1] == np.prod(shape) - 1  # all but the mean, which is 0
    assert squares.mean() == pytest.approx(1, abs=5 * np.sqrt(2 / squares.size))
    np.testing.assert_allclose(squares.mean(0), 1, atol=6 * np.sqrt(2 / count))


def test_mass_map_is_exact_on_a_sky_that_goes_on():
    """Against the covariance of pixels and shear values in a part of the padded sky."""
    shape = (33, 32)
    precision, shear = observed(shape, 2)
    grid = priors.grid_shape(shape, SCALE)
    power = priors.power_of_modes(None, shape=grid, pixel_scale=SCALE)
    correlation = np.fft.irfft2(power, grid)
    to_shear = np.moveaxis(lensing.kappa_to_shear(correlation).numpy(), -1, 0)
    of_shear = np.moveaxis(lensing.kappa_to_shear(to_shear).numpy(), -1, 1)
    y, x = (place.ravel() for place in np.indices(shape))
    lags = y[:, None] - y, x[:, None] - x
    pixels = len(y)
    between = np.moveaxis(to_shear[(slice(None), *lags)], 0, -1).reshape(pixels, -1)
    of_shear = of_shear[(slice(None), slice(None), *lags)].transpose(2, 0, 3, 1).reshape(2 * pixels, -1)
    mean, covariance = dense(correlation[lags], between, of_shear, precision, shear)

    noise_std = np.where(precision > 0, 1 / np.sqrt(np.maximum(precision, 1)), np.nan)
    mask = precision[..., 0] > 0
    shear[~mask] = np.nan
    result = mass_map(shear, noise_std, mask, pixel_scale=SCALE, method="wiener", num_samples=20, seed=3)
    np.testing.assert_allclose(result.mean.ravel(), mean, atol=3e-3 * mean.std())
    squares = squared_modes(result.samples, mean, covariance)
    assert squares.mean() == pytest.approx(1, abs=5 * np.sqrt(2 / squares.size))


def test_samples_in_a_hole_are_calibrated():
    """Wider than 10': skies of the prior, of which the map is a part, deviate from the mean as the samples do."""
    size, scale, hole, count = 48, 0.6, slice(10, 30), 16
    sky = 200, 200
    power = tf.constant(priors.power_of_modes(None, shape=sky, pixel_scale=scale), tf.float32)
    truths = wiener.prior_sample(power, (6, *sky), [0, 1])
    shear = lensing.kappa_to_shear(truths).numpy()[:, :size, :size]
    shear += 0.07 * np.random.default_rng(2).normal(size=shear.shape)
    mask = np.ones((size, size), bool)
    mask[hole, hole] = False
    deviations, spread = [], []
    for truth, data in zip(truths.numpy(), shear, strict=True):
        result = mass_map(data, 0.07, mask, pixel_scale=scale, method="wiener", num_samples=count)
        z = (
            (x[..., hole, hole] - result.mean[hole, hole]) / result.std[hole, hole]
            for x in (truth[:size, :size], result.samples)
        )
        of_truth, of_samples = (np.mean(v**2, (-2, -1)) for v in z)
        deviations.append(of_truth)
        spread.append(of_samples)
    expected = count / (count - 2)  # of 1 / std^2, whose scatter is that of `count` samples
    error = np.std(spread) / np.sqrt(len(deviations))
    assert np.mean(deviations) == pytest.approx(expected, abs=4 * error)
    assert error < 0.2


def test_white_noise_on_kappa_as_a_second_observation():
    """By way of the prior's power and the right-hand side."""
    shape, variance = (32, 32), 1e-4
    precision, shear = observed(shape, 1)
    power = priors.power_of_modes(None, shape=shape, pixel_scale=SCALE)
    seen = 0.02 * np.random.default_rng(5).normal(size=shape)
    system = np.diag(np.full(np.prod(shape), 1 / variance))
    pixels = np.eye(len(system)).reshape(-1, *shape)
    inverse = np.where(power > 0, 1 / np.where(power > 0, power, 1), 1e12)  # the mean is known to be 0
    system += np.fft.irfft2(inverse * np.fft.rfft2(pixels), shape).reshape(len(system), -1)
    sheared = lensing.kappa_to_shear(pixels).numpy()
    system += np.einsum("iyxc,jyxc->ij", sheared, precision * sheared)
    rhs = wiener.information(tf.constant(shear), precision) + seen / variance
    expected = np.linalg.solve(system, np.ravel(rhs)).reshape(shape)
    found = wiener.solve(rhs, power / (1 + power / variance), precision, tolerance=1e-9)
    np.testing.assert_allclose(found, expected, atol=1e-6 * expected.std())


def test_leading_axes_broadcast():
    """Batches of data, of powers and of precisions are those of their members."""
    shape = (32, 32)
    power = priors.power_of_modes(None, shape=shape, pixel_scale=SCALE) * np.array([1.0, 0.3, 2.0])[:, None, None]
    (first, shear), (second, other) = observed(shape, 1, 0), observed(shape, 1, 1)
    precision, rhs = np.stack([first, second])[:, None], np.stack([shear, other])[:, None]
    found = wiener.posterior_mean(tf.constant(rhs), power, precision, tolerance=1e-9)
    assert found.shape == (2, 3, *shape)
    alone = wiener.posterior_mean(tf.constant(other), power[2], second, tolerance=1e-9)
    np.testing.assert_allclose(found[1, 2], alone, atol=1e-6 * np.std(alone))
