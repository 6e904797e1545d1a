"""Univariate functions: slopes, inverses, limits."""

import numpy as np
import pytest
import tensorflow as tf

from deepcosmo.nn import monotonic


@pytest.mark.parametrize(
    "function, inverse, parameters",
    [(monotonic.affine, monotonic.affine_inverse, 2), (monotonic.spline, monotonic.spline_inverse, 23)],
)
def test_monotonic(function, inverse, parameters):
    rng = np.random.default_rng(3)
    x = tf.constant(rng.normal(scale=3, size=(2000, 2)), tf.float32)
    params = tf.constant(rng.normal(size=(parameters, 2000, 2)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y, log_slope = function(x, params)
    np.testing.assert_allclose(log_slope, np.log(tape.gradient(y, x)), atol=2e-3)
    back, log_slope_back = inverse(y, params)
    np.testing.assert_allclose(back, x, atol=2e-3)
    np.testing.assert_allclose(log_slope_back, -log_slope, atol=2e-2)


def test_spline_is_the_identity_outside_and_for_zeros():
    x = tf.linspace(-9.0, 9.0, 100)
    y, log_slope = monotonic.spline(x, tf.zeros((23, 100)))
    np.testing.assert_allclose(y, x, atol=1e-3)
    np.testing.assert_allclose(log_slope, 0, atol=1e-3)
    params = tf.constant(np.random.default_rng(4).normal(size=(23, 1)), tf.float32) * tf.ones((23, 100))
    y, log_slope = monotonic.spline(x, params)
    assert np.all(np.diff(y) > 0)
    outside = np.abs(x) > 5
    assert np.all(np.asarray(y)[outside] == np.asarray(x)[outside]) and not np.any(np.asarray(log_slope)[outside])
