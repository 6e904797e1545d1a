import keras
import numpy as np
import pytest
import tensorflow_probability as tfp
from conftest import once

from deepcosmo.inference import sbi

tfd = tfp.distributions
PRIOR = tfd.MultivariateNormalDiag([0.0, 0.0], [1.0, 10.0])
DESIGN = np.array([[1.0, 0.05], [0.5, -0.1], [0.0, 0.1], [1.0, 0.0], [0.3, 0.1], [0.0, 0.02]], "float32")
NOISE = 0.5
COVARIANCE = np.linalg.inv(DESIGN.T @ DESIGN / NOISE**2 + np.diag([1.0, 0.01]))
SIMULATIONS = 4000


def simulate(n, seed):
    """x = design theta + noise, whose posterior is normal."""
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=(n, 2)) * [1.0, 10.0]
    x = theta @ DESIGN.T + NOISE * rng.normal(size=(n, 6))
    return theta.astype("float32"), x.astype("float32")


def exact_mean(x):
    return x @ DESIGN / NOISE**2 @ COVARIANCE


def network(inputs=6, outputs=8):
    return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(outputs)])


def compressor(loss):
    def train(folder):
        start = network(outputs=2 if loss == "vmim" else 8)
        trained = sbi.train_compressor(start, *simulate(SIMULATIONS, 1), PRIOR, loss=loss, progress=False)
        trained.save(folder / "model.keras")

    return keras.saving.load_model(once(f"compressor_{loss}", train) / "model.keras")


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["mse", "mae", "gaussian"])
def test_summaries_are_means_of_the_posterior(loss):
    _, x = simulate(2000, 2)
    summaries = compressor(loss).predict(x, verbose=0)
    assert summaries.shape == (2000, 2)
    errors = np.sqrt(np.mean((summaries - exact_mean(x)) ** 2, 0) / np.diag(COVARIANCE))
    # p parameters that are fitted to n simulations err by sqrt(p/n) standard deviations, those of a median by
    # sqrt(pi/2) more; a network that stops in time has a hundred, not its thousands
    np.testing.assert_array_less(errors, np.sqrt(np.pi / 2 * 100 / SIMULATIONS))


@pytest.mark.slow
def test_posteriors_from_summaries():
    compress = compressor("vmim")
    weights = [w.copy() for w in compress.get_weights()]
    estimator = sbi.NPE(PRIOR, compressor=compress).fit(*simulate(SIMULATIONS, 1), seed=1, progress=False)
    for one, other in zip(weights, compress.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)  # it is not trained further
    _, x = simulate(50, 3)
    draws, deviation = estimator.sample(400, x, seed=1), np.sqrt(np.diag(COVARIANCE))
    errors = np.sqrt(np.mean(((draws.mean(0) - exact_mean(x)) / deviation) ** 2, 0))
    # the compressor's error and the estimator's, see above
    np.testing.assert_array_less(errors, np.sqrt(2 * np.pi / 2 * 100 / SIMULATIONS))
    np.testing.assert_allclose(np.median(draws.std(0) / deviation, 0), 1.0, atol=0.1)


def test_image_with_gaps_and_a_file(tmp_path):
    """The mean of those pixels that were measured is all that there is to know."""
    rng = np.random.default_rng(0)
    prior = tfd.Independent(tfd.Uniform([0.0], 1.0), 1)
    theta = rng.uniform(0, 1, (1000, 1))
    x = theta[:, None, None] + 0.5 * rng.normal(size=(1000, 6, 6, 1))
    x[rng.uniform(size=x.shape) < 0.3] = np.nan
    convolution = keras.layers.Conv2D(8, 1, activation="relu")
    start = keras.Sequential([keras.Input((6, 6, 2)), convolution, keras.layers.GlobalAveragePooling2D()])
    compress = sbi.train_compressor(start, theta, x, prior, loss="mse", invalid="gaps", progress=False, max_epochs=30)
    summaries = compress.predict(x, verbose=0)
    assert np.corrcoef(summaries[:, 0], np.nanmean(x, (1, 2))[:, 0])[0, 1] > 0.97
    estimator = sbi.NLE(prior, compressor=compress, density="mdn", options={"hidden": (16, 16), "components": 1})
    estimator.fit(theta, x, invalid="gaps", progress=False, max_epochs=3).save(tmp_path / "file")
    loaded = sbi.load(tmp_path / "file", prior)
    np.testing.assert_allclose(loaded.compressor.predict(x[:9], verbose=0), summaries[:9], rtol=1e-5)
    assert not any(v.trainable for v in loaded.compressor.variables) and loaded.network.dim == 1


def test_vectors_that_all_have_gaps():
    theta, x = simulate(200, 1)
    x[np.arange(200), np.arange(200) % 6] = np.nan
    compress = sbi.train_compressor(network(12), theta, x, PRIOR, invalid="gaps", progress=False, max_epochs=2)
    assert np.isfinite(compress.predict(x, verbose=0)).all()


def test_same_seed_same_compressor():
    theta, x = simulate(200, 1)
    start = network()
    made = [
        sbi.train_compressor(start, theta, x, PRIOR, loss="mse", seed=seed, progress=False, max_epochs=2)
        for seed in (1, 1, 2)
    ]
    one, same, other = (compress.predict(x, verbose=0) for compress in made)
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3


def test_errors():
    theta, x = simulate(200, 1)
    root = keras.Sequential([keras.Input((6,)), keras.layers.Lambda(lambda v: keras.ops.sqrt(v + 2.0))])
    lost = np.any(x < -2, 1).sum()
    with pytest.raises(ValueError, match=f"NaN or infinite summaries of {lost} of 200 simulations"):
        sbi.NPE(PRIOR, compressor=root).fit(theta, x)
    with pytest.raises(ValueError, match="loss must be one of vmim, mse, mae, gaussian; got 'mape'"):
        sbi.train_compressor(network(), theta, x, PRIOR, loss="mape")
    with pytest.raises(ValueError, match="199 parameters and 200 data"):
        sbi.train_compressor(network(), theta[1:], x, PRIOR)
