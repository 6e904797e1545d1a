"""Posteriors of maps: symmetry, bounds, densities, training, reloading."""

import keras
import numpy as np
import pytest

from deepcosmo.models import MapCompressor, MapPosterior
from deepcosmo.models.maps.field_statistics import FieldStatistics

SIZE = 16


def simulated(n, seed):
    """Maps of two channels whose amplitude, between 0.5 and 2, is the first parameter; the second is a coin's."""
    rng = np.random.default_rng(seed)
    theta = np.stack([rng.uniform(0.5, 2.0, n), rng.normal(size=n)], -1).astype("float32")
    maps = theta[:, :1, None, None] * rng.normal(size=(n, SIZE, SIZE, 2)) + 0.1 * rng.normal(size=(n, SIZE, SIZE, 2))
    return maps.astype("float32"), theta


def new():
    keras.utils.set_random_seed(3)
    signal = 100 * np.tile(np.eye(2), (8, 1, 1))
    statistics = FieldStatistics(size=SIZE, channels=2, noise_std=0.1, signal=signal, bands=4)
    compressor = MapCompressor(statistics=statistics, outputs=3, hidden=(16,))
    return MapPosterior(
        compressor=compressor,
        parameters=("amplitude", "nothing"),
        bounds=[(0.5, 2.0), (-np.inf, np.inf)],
        options={"hidden": (32, 32)},
    )


@pytest.fixture(scope="module")
def trained():
    model = new()
    maps, theta = simulated(1024, 1)
    model.adapt(maps, theta)
    model.compile(keras.optimizers.Adam(2e-3))
    model.fit(maps, theta, batch_size=64, epochs=20, verbose=0)
    return model


@pytest.mark.slow
def test_it_learns_the_amplitude(trained):
    """To the 1 / sqrt(2 n) that n = 512 pixels allow, and of the other parameter nothing but the prior."""
    maps, theta = simulated(256, 2)
    samples = trained.sample(500, maps, seed=1).numpy()
    assert samples.shape == (500, 256, 2)
    assert samples[..., 0].min() > 0.5 and samples[..., 0].max() < 2.0
    relative = (samples[..., 0].mean(0) - theta[:, 0]) / theta[:, 0]
    best = 1 / np.sqrt(2 * 512)
    assert best * 0.8 < relative.std() < 1.6 * best
    assert samples[..., 1].std(0).mean() == pytest.approx(1.0, abs=0.15)


def test_density_is_that_of_the_distribution(trained):
    maps, theta = simulated(8, 3)
    distribution = trained.distribution(maps)
    np.testing.assert_allclose(trained.log_prob(theta, maps), distribution.log_prob(theta), rtol=1e-4, atol=1e-4)
    assert distribution.sample(4, seed=[1, 2]).shape == (4, 8, 2)
    grid = np.stack(np.meshgrid(np.linspace(0.501, 1.999, 200), np.linspace(-6, 6, 120), indexing="ij"), -1)
    flat = grid.reshape(-1, 2).astype("float32")
    summaries = np.repeat(trained.encode(maps[:1]), len(flat), 0)
    density = np.exp(trained.log_prob_of_features(flat, summaries))
    assert density.sum() * (1.498 / 199) * (12 / 119) == pytest.approx(1.0, abs=0.02)
    edges = np.array([[0.4, 0.0], [0.5, 0.0], [1.0, 0.0], [2.0, 0.0], [2.1, 0.0]], "float32")
    found = trained.log_prob_of_features(edges, summaries[:5]).numpy()
    assert np.isfinite(found[2]) and np.all(found[[0, 1, 3, 4]] == -np.inf)


def test_turned_maps_have_the_same_posterior(trained):
    """Turned, flipped, or moved."""
    maps, _ = simulated(16, 4)
    summaries = trained.encode(maps).numpy()
    scatter = summaries.std(0)
    for change in (lambda v: np.flip(v, 1), lambda v: np.rot90(v, axes=(1, 2)), lambda v: np.roll(v, (3, -8), (1, 2))):
        assert np.all(np.abs(trained.encode(change(maps)) - summaries) < 1e-3 * scatter)


def test_statistics_do_in_place_of_maps(trained):
    maps, theta = simulated(8, 5)
    statistics = trained.compressor.statistics(maps)
    np.testing.assert_allclose(trained.encode(statistics), trained.encode(maps), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(trained.log_prob(theta, statistics), trained.log_prob(theta, maps), rtol=1e-3, atol=1e-3)
    model = new()
    model.adapt(np.asarray(statistics), theta)
    model.compile(keras.optimizers.Adam(2e-3))
    assert np.isfinite(model.fit(statistics, theta, epochs=1, verbose=0).history["loss"][0])


@pytest.mark.parametrize("bounds", [[(0.0, 1.0)], [(0.0, 1.0), (2.0, 1.0)]])
def test_bad_bounds(bounds):
    with pytest.raises(ValueError, match=r"one \(low, high\) for each of a, b"):
        MapPosterior(compressor=None, parameters=("a", "b"), bounds=bounds)
