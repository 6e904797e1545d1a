"""Regression and mixture density networks."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from known_densities import lognormal, lognormal_log_prob

from deepcosmo.models import MDN, Regression

MODELS = {
    "mean": lambda: Regression(dim=2, context_dim=3, kind="mean", hidden=(16, 16)),
    "median": lambda: Regression(dim=2, context_dim=3, kind="median", hidden=(16, 16), residual=True),
    "mdn": lambda: MDN(dim=2, context_dim=3, components=3, hidden=(16, 16)),
    "mdn_full": lambda: MDN(dim=2, context_dim=3, components=3, full_covariance=True, hidden=(16, 16)),
}


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    keras.utils.set_random_seed(0)
    model = MODELS[request.param]()
    rng = np.random.default_rng(1)
    context = rng.normal(2.0, 3.0, (300, 3)).astype("float32")
    y = rng.normal(-1.0, 0.2, (300, 2)).astype("float32")
    model.adapt(context, y)
    return model, context[:6], y[:6]


def test_density_integrates_to_one(case):
    model, context, _ = case
    side = np.linspace(-9, 7, 801)
    points = np.stack(np.meshgrid(side, side, indexing="ij"), -1)[:, :, None].astype("float32")
    density = np.exp(model.log_prob(points, context[:2]).numpy().astype(float))
    assert density.sum((0, 1)) * (side[1] - side[0]) ** 2 == pytest.approx(1, abs=0.01)


def test_draws_have_the_moments_of_the_distribution(case):
    model, context, _ = case
    n = 20_000
    draws = model.sample(n, context, seed=1).numpy()
    distribution = model.distribution(context)
    assert draws.shape == (n, 6, 2) and distribution.batch_shape == (6,)
    error = draws.std(0) / np.sqrt(n)
    assert np.all(np.abs(draws.mean(0) - distribution.mean()) < 4.5 * error)
    np.testing.assert_array_equal(draws, model.sample(n, context, seed=tf.constant([0, 1])))


def test_gradient_reaches_every_weight(case):
    model, context, y = case
    weights = model.trainable_weights
    with tf.GradientTape() as tape:
        loss = -tf.reduce_sum(model.log_prob(y, context))
    for weight, gradient in zip(weights, tape.gradient(loss, [w.value for w in weights]), strict=True):
        assert np.all(np.isfinite(gradient)) and np.any(gradient), weight.path


def test_saved_model_is_the_same(case, tmp_path):
    model, context, y = case
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.sample(3, context, seed=5), model.sample(3, context, seed=5))
    np.testing.assert_array_equal(again.log_prob(y, context), model.log_prob(y, context))
    model.save_weights(tmp_path / "model.weights.h5")
    again = type(model).from_config(model.get_config())
    again.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(again.log_prob(y, context), model.log_prob(y, context))


def test_endpoints(case):
    model, context, y = case
    endpoints = {name: tf.function(f, input_signature=spec) for name, (f, spec) in model.endpoints().items()}
    log_prob = endpoints["log_prob"](y=tf.constant(y), context=tf.constant(context))["log_prob"]
    np.testing.assert_allclose(log_prob, model.log_prob(y, context), rtol=1e-4)
    assert endpoints["sample"](context=tf.constant(context), seed=tf.constant([0, 1]))["y"].shape == (6, 2)
    assert "serving_default" in endpoints


def test_bad_input(case):
    model, context, y = case
    with pytest.raises(ValueError, match=r"context must have shape \(..., 3\)"):
        model.distribution(y)
    with pytest.raises(ValueError, match=r"y must have shape \(..., 2\)"):
        model.log_prob(context, context)
    with pytest.raises(ValueError, match="context"):
        type(model)(dim=2, context_dim=0)


def test_full_covariance_correlates_columns():
    full = MODELS["mdn_full"]().distribution(np.ones((1, 3), "float32")).components_distribution.covariance()
    assert np.all(np.abs(full[..., 0, 1]) > 1e-6)
    np.testing.assert_allclose(full, np.swapaxes(full, -1, -2), rtol=1e-5)


def fitted(model, epochs=25, n=30_000):
    keras.utils.set_random_seed(3)
    data = lognormal(n, seed=1)
    model.adapt(*data)
    rate = keras.optimizers.schedules.CosineDecay(3e-3, epochs * (n // 500))
    model.compile(keras.optimizers.Adam(rate), steps_per_execution=20)
    model.fit(*data, batch_size=500, epochs=epochs, verbose=0)
    return model


@pytest.mark.slow
def test_mdn_fits_a_lognormal():
    model = fitted(MDN(dim=1, context_dim=1, components=8, hidden=(64, 64)))
    x, y = lognormal(20_000, seed=2)
    assert -np.mean(model.log_prob(y, x)) < -lognormal_log_prob(x, y).mean() + 0.02


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mean", "median"])
def test_location_is_the_conditional_mean_or_median(kind):
    model = fitted(Regression(dim=1, context_dim=1, kind=kind, hidden=(64, 64)))
    x = np.linspace(0.2, 1.3, 23, dtype="float32")[:, None]
    expected = 2 * x + (np.exp(x**2 / 2) if kind == "mean" else 1.0)
    # Noise of a local estimate: the 30,000 points spread over some ten degrees of freedom.
    spread = np.sqrt((np.exp(x**2) - 1) * np.exp(x**2)) if kind == "mean" else 1.25 * x
    error = (model.location(x) - expected) / (spread / np.sqrt(30_000 / 10))
    assert np.sqrt(np.mean(np.square(error))) < 2.5
    other = 2 * x + (1.0 if kind == "mean" else np.exp(x**2 / 2))
    assert np.mean(np.abs(model.location(x) - expected)) < 0.2 * np.mean(np.abs(other - expected))
