import keras
import numpy as np
import pytest
import tensorflow as tf

from deepcosmo.models import PreparedDensity
from deepcosmo.models.densities.prepared import DENSITIES

SMALL = {"hidden": (16, 16)}


def data(n=600, seed=0):
    """x = (exp(y0) with noise, y1 with noise), y normal."""
    rng = np.random.default_rng(seed)
    y = rng.normal([3.0, -20.0], [0.5, 4.0], (n, 2)).astype("float32")
    x = np.stack([np.exp(y[:, 0] + 0.2 * rng.normal(size=n)), y[:, 1] + rng.normal(size=n)], 1).astype("float32")
    return x, y


def compressor(channels=1):
    layers = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)]
    return keras.Sequential([keras.Input((8, 8, channels)), *layers])


def make(**kwargs):
    keras.utils.set_random_seed(1)
    x, y = data()
    model = PreparedDensity(**{"dim": 2, "x_shape": (2,), "options": SMALL, **kwargs})
    model.adapt(x, y)
    return model, x[:20], y[:20]


@pytest.mark.parametrize("density", DENSITIES)
def test_log_prob_is_that_of_the_distribution(density):
    model, x, y = make(density=density, transform_y=density == "maf_mog")
    expected = model.distribution(x).log_prob(y)
    np.testing.assert_allclose(model.log_prob(y, x), expected, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(model.log_prob(y[0], x[0]), expected[0], rtol=2e-4, atol=2e-4)


def test_linear_regression_is_there_before_the_training():
    """For normal data all but the exact posterior's width is known before the first step."""
    model, *_ = make()
    x, y = data(2000, seed=1)
    # widths of the exact posteriors, for priors N(0.5^2), N(4^2) and noise 0.2 and 1
    entropy = sum(0.5 * np.log(2 * np.pi * np.e / (1 / a**2 + 1 / b**2)) for a, b in ((0.5, 0.2), (4.0, 1.0)))
    assert entropy < -np.mean(model.log_prob(y, x)) < entropy + 0.1


@pytest.mark.parametrize("transform_y", [False, True])
def test_draws_follow_the_density(transform_y):
    model, x, _ = make(transform_y=transform_y)
    draws = model.sample(4000, x[0], seed=2).numpy()
    grid = np.stack(
        np.meshgrid(
            *(np.linspace(m - 6 * s, m + 6 * s, 121) for m, s in zip(draws.mean(0), draws.std(0), strict=True))
        ),
        -1,
    ).astype("float32")
    density = np.exp(model.log_prob(grid.reshape(-1, 2), np.broadcast_to(x[0], (grid.size // 2, 2))))
    cell = np.prod(6 * draws.std(0) / 60)
    assert abs(density.sum() * cell - 1) < 0.02
    mean = (density[:, None] * grid.reshape(-1, 2)).sum(0) * cell
    np.testing.assert_allclose(draws.mean(0), mean, atol=4 * (draws.std(0) / 4000**0.5).max())


def test_reloaded_model_draws_the_same(tmp_path):
    model, x, _ = make()
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.sample(7, x, seed=3), model.sample(7, x, seed=3))


def test_compressor_is_trained_along_and_reloaded(tmp_path):
    keras.utils.set_random_seed(1)
    x = np.random.default_rng(0).normal(5.0, 3.0, (64, 8, 8, 1)).astype("float32")
    y = x.mean((1, 2)) + np.zeros(2, "float32")
    model = PreparedDensity(dim=2, x_shape=(8, 8, 1), compressor=compressor(), options=SMALL)
    model.adapt(x, y)
    before = model.compressor.get_weights()[0]
    model.compile("adam")
    model.fit(x, y, epochs=1, verbose=0)
    assert np.abs(model.compressor.get_weights()[0] - before).max() > 0
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(x), model(x))


def test_gaps_become_columns():
    x, y = data()
    x[::3, 1] = np.nan
    model = PreparedDensity(dim=2, x_shape=(2,), gaps=True, options=SMALL)
    model.adapt(x, y)
    features = model(x).numpy()
    assert features.shape == (600, 4)
    np.testing.assert_array_equal(features[:, 3], np.isfinite(x[:, 1]))
    np.testing.assert_array_equal(features[::3, 1], 0.0)
    image = PreparedDensity(dim=2, x_shape=(8, 8, 1), compressor=compressor(2), gaps=True, options=SMALL)
    assert image(np.full((3, 8, 8, 1), np.nan, "float32")).shape == (3, 3)


def test_gradient_reaches_every_weight():
    model, x, y = make()
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model.loss_per_example(x, y, model(x)))
    gradients = tape.gradient(loss, model.trainable_variables)
    assert all(gradient is not None for gradient in gradients)


def test_errors_say_what_is_accepted():
    with pytest.raises(ValueError, match=r"density must be one of mdn, .*; got 'nice'"):
        PreparedDensity(dim=2, x_shape=(2,), density="nice")
    with pytest.raises(ValueError, match=r"x of shape \(n, 8, 8\) needs a compressor"):
        PreparedDensity(dim=2, x_shape=(8, 8))
