"""Masked networks, univariate functions, normal scores, standardisation."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from deepcosmo.nn import monotonic
from deepcosmo.nn.made import MADE, MaskedDense
from deepcosmo.nn.resnet import MLP
from deepcosmo.nn.transforms.gaussianise import Gaussianise
from deepcosmo.nn.transforms.standardise import Standardise


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("dim, context_dim", [(1, 0), (2, 0), (5, 0), (1, 2), (5, 2)])
def test_made_is_autoregressive_and_complete(dim, context_dim, residual):
    keras.utils.set_random_seed(0)
    made = MADE(
        dim=dim, outputs=3, hidden=(16, 16), context_dim=context_dim, residual=residual, activation="tanh"
    )
    made.build()
    x = tf.constant(np.random.default_rng(0).normal(size=(4, dim)), tf.float32)
    context = tf.ones((4, context_dim))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, context])
        outputs = made(x, context)
        columns = [[outputs[k, :, i] for i in range(dim)] for k in range(3)]
    for k in range(3):
        for i in range(dim):
            gradient = tape.gradient(columns[k][i], x, unconnected_gradients="zero").numpy()
            assert np.all(gradient[:, i:] == 0) and np.all(gradient[:, :i] != 0)
            if context_dim:
                assert np.all(tape.gradient(columns[k][i], context).numpy() != 0)


@pytest.mark.parametrize("hidden", [(7,), (16, 3, 9)])
@pytest.mark.parametrize("context_dim", [0, 2])
def test_made_solves_what_it_computes(hidden, context_dim):
    keras.utils.set_random_seed(1)
    made = MADE(dim=4, outputs=2, hidden=hidden, context_dim=context_dim)
    made.build()
    rng = np.random.default_rng(2)
    for weight in made.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    z, context = (tf.constant(rng.normal(size=(9, n)), tf.float32) for n in (4, context_dim))

    def step(i, params):
        return tf.transpose(z)[i] + params[0] * tf.sin(params[1])

    x = made.solve(step, 9, context)
    params = made(x, context)
    np.testing.assert_allclose(x, z + params[0] * np.sin(params[1]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "layer",
    [
        MADE(dim=3, outputs=2, hidden=(8, 8), context_dim=1, residual=True),
        MaskedDense(in_degrees=[1, 2], out_degrees=[1, 1, 2]),
        MLP(inputs=3, outputs=2, hidden=(4, 4), residual=True),
        Standardise(dim=3),
        Gaussianise(dim=3, knots=11),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_from_their_configs(layer):
    layer.build()
    again = type(layer).from_config(layer.get_config())
    again.build()
    assert [w.shape for w in again.weights] == [w.shape for w in layer.weights]
    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize("function, inverse, parameters", [
    (monotonic.affine, monotonic.affine_inverse, 2),
    (monotonic.spline, monotonic.spline_inverse, 23),
])  # fmt: skip
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


def test_gaussianise():
    rng = np.random.default_rng(5)
    data = np.stack([np.exp(rng.normal(size=20_000)), rng.uniform(-3, 9, 20_000)], -1).astype("float32")
    data[:3000, 1] = 9.0  # a pile
    layer = Gaussianise(dim=2)
    layer.build()
    layer.adapt(data)
    with tf.GradientTape() as tape:
        x = tf.constant(data)
        tape.watch(x)
        z, log_slope = layer(x)
    np.testing.assert_allclose(np.exp(log_slope), tape.gradient(z, x), rtol=1e-3)
    np.testing.assert_allclose(layer.invert(z), data, rtol=1e-3, atol=1e-3)
    assert stats.kstest(z[:, 0], "norm").statistic < 0.01
    assert np.all(np.isfinite(layer(np.array([[-50.0, 1e4]], "float32"))[0]))


def test_standardise():
    rng = np.random.default_rng(6)
    data = np.stack([rng.normal(1e4, 2, 5000), np.full(5000, 3.0)], -1)
    layer = Standardise(dim=2)
    layer.build()
    np.testing.assert_array_equal(layer(data[:3]), data[:3].astype("float32"))
    layer.adapt(np.array_split(data, 7))
    np.testing.assert_allclose(layer.mean, data.mean(0), rtol=1e-6)
    np.testing.assert_allclose(layer.scale, [data[:, 0].std(), 1.0], rtol=1e-5)
    np.testing.assert_allclose(layer.invert(layer(data)), data, rtol=1e-6)
    with pytest.raises(ValueError, match="NaN"):
        layer.adapt([data * np.nan])
    with pytest.raises(ValueError, match="No data"):
        layer.adapt([])
