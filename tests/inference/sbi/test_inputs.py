"""Simulations and observations with far values, offsets, masks, or nothing in them."""

import keras
import numpy as np
import pytest
import tensorflow_probability as tfp

from deepcosmo.inference import sbi

tfd = tfp.distributions
NOISE = 0.05
PRIOR = tfd.MultivariateNormalDiag([0.5, 0.5], [0.3, 0.3])  # of which the linear regression knows the posterior
WIDTH = (1 / NOISE**2 + 1 / 0.3**2) ** -0.5
QUICK = {"progress": False, "max_epochs": 2}
MDN = {"density": "mdn", "options": {"hidden": (16, 16), "components": 1}}


def simulate(n=500, seed=0):
    rng = np.random.default_rng(seed)
    theta = rng.normal(0.5, 0.3, (n, 2))
    return theta, theta + NOISE * rng.normal(size=theta.shape)


def widths(estimator, x):
    """Of posteriors given data (m, 2), over those of the exact ones (2,)."""
    return estimator.sample(200, x, seed=1).astype(float).std(0).mean(0) / WIDTH


def trained(prior, theta, x, **settings):
    return sbi.NPE(prior, **MDN).fit(theta, x, **QUICK, **settings)


INNER = np.random.default_rng(9).uniform(0.3, 0.7, (50, 2))
# 500 simulations give the width to 3%, and the network of a few epochs errs by some more
CLOSE = {"rtol": 0.25}


@pytest.mark.parametrize("value", [1e6, [0.4, -1e30]])
def test_a_simulation_that_ran_away_is_told_and_changes_little(value):
    theta, x = simulate()
    x[7] = value
    with pytest.warns(UserWarning, match="data of 1 of 500 simulations are extreme, first those of number 7"):
        estimator = trained(PRIOR, theta, x)
    np.testing.assert_allclose(widths(estimator, INNER), 1.0, **CLOSE)
    with pytest.warns(UserWarning, match="unlike all simulations"):
        estimator.posterior(np.array([0.5, 3.0]))


def test_a_likelihood_counts_what_ran_away_as_the_outermost():
    theta, x = simulate()
    x[7] = 1e6
    with pytest.warns(UserWarning, match="data of 1 of 500 simulations are extreme"):
        estimator = sbi.NLE(PRIOR, **MDN).fit(theta, x, **QUICK)
    assert all(epoch["loss"] < 1 for epoch in estimator.history)  # the entropy of the noise is -3.2 nats
    grid = np.linspace(0.005, 0.995, 100)
    density = np.exp(estimator.posterior(np.array([0.5, 0.5])).log_prob(np.stack([grid, np.full(100, 0.5)], 1)))
    mean = np.average(grid, weights=density)
    np.testing.assert_allclose(np.sqrt(np.average((grid - mean) ** 2, weights=density)) / WIDTH, 1.0, **CLOSE)


def test_parameters_and_scores_that_ran_away():
    theta, x = simulate()
    scores = (x - theta) / NOISE**2
    theta[3], scores[4] = 1e5, 1e12
    with pytest.warns(UserWarning) as told:
        estimator = sbi.NPE(PRIOR, **MDN).fit(theta, x, scores=scores, **QUICK)
    told = " ".join(str(w.message) for w in told)
    assert "parameters of 1 of 500 simulations are extreme, first those of number 3" in told
    assert "scores of 1 of 500 simulations are extreme, first those of number 4" in told
    assert estimator.history[-1]["loss"] < 100
    np.testing.assert_array_less(widths(estimator, INNER), 4)  # the outermost parameters have the wrong data


def test_an_image_that_ran_away():
    theta, _ = simulate(300)
    x = theta[:, None, None, :] + 0.2 * np.random.default_rng(1).normal(size=(300, 4, 4, 2))
    x[5] = 1e8
    layers = [keras.Input((4, 4, 2)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(4)]
    keras.utils.set_random_seed(0)
    network = keras.Sequential(layers)
    with pytest.warns(UserWarning, match="data of 1 of 300 simulations are extreme"):
        estimator = sbi.NPE(PRIOR, compressor=network, **MDN).fit(theta, x, progress=False, max_epochs=15)
    means = estimator.sample(200, x[6:106], seed=1).mean(0)
    assert np.corrcoef(means[:, 0], theta[6:106, 0])[0, 1] > 0.9


def test_an_offset_of_data_changes_nothing(tmp_path):
    """Multiples of 1/1024 leave room for an offset in float64, and for nothing of them in float32."""
    theta, x = simulate()
    x = np.round(x * 1024) / 1024
    draws = []
    for offset in (-np.median(x, 0), 2.0**30):
        estimator = trained(PRIOR, theta, x + offset)
        draws.append(estimator.sample(50, INNER + offset, seed=1))
    np.testing.assert_allclose(draws[1], draws[0], atol=1e-4)
    np.testing.assert_allclose(widths(estimator, INNER + offset), 1.0, **CLOSE)
    sbi.save(estimator, tmp_path / "file")
    np.testing.assert_array_equal(sbi.load(tmp_path / "file", PRIOR).sample(50, INNER + offset, seed=1), draws[1])
    layers = [keras.Input((2,)), keras.layers.Dense(2)]
    with pytest.warns(UserWarning, match="float32, which the compressor takes, is too coarse for x"):
        sbi.train_compressor(keras.Sequential(layers), theta, x + 2.0**30, PRIOR, **QUICK)


@pytest.mark.parametrize("kind", ["NPE", "NLE", "NRE"])
def test_julian_dates_are_parameters(kind):
    prior = tfd.Independent(tfd.Uniform([2459000.0, 0.0], [2459010.0, 1.0]), 1)
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (500, 2))
    theta = x * [10, 1] + [2459000, 0]
    x += NOISE * rng.normal(size=x.shape)
    options = {"options": {"hidden": (16, 16)}} if kind == "NRE" else MDN
    estimator = getattr(sbi, kind)(prior, **options).fit(theta, x, progress=False, max_epochs=5)
    posterior = estimator.posterior(np.array([0.5, 0.5]))
    grid = np.stack([np.linspace(2459001, 2459009, 801), np.full(801, 0.5)], 1)
    density = np.exp(posterior.log_prob(grid) - posterior.log_prob(grid).max())
    mean = np.average(grid[:, 0] - 2459005, weights=density)
    width = np.sqrt(np.average((grid[:, 0] - 2459005 - mean) ** 2, weights=density))
    assert abs(mean) < 0.3 and 0.3 < width < 1.5  # 0.5 after more epochs; of the prior it is 2.3
    if kind == "NPE":
        draws = posterior.sample(1000, seed=1)
        assert draws.dtype == np.float64 and len(np.unique(draws[:, 0])) > 990
        assert abs(posterior.map()[0] - 2459005) < 0.3


@pytest.mark.parametrize("kind", ["NPE", pytest.param("NLE", marks=pytest.mark.slow)])
def test_priors_of_float64(kind):
    prior = tfd.Independent(tfd.Uniform(np.array([0.1, -1.8]), np.array([0.6, -0.4])), 1)
    theta = prior.sample(200, seed=[0, 1]).numpy()
    ensemble = sbi.Ensemble([getattr(sbi, kind)(prior, **MDN) for _ in range(2)]).fit(theta, theta + 0.1, **QUICK)
    posterior = ensemble.posterior(theta[0])
    draws = posterior.sample(50, seed=0)
    assert draws.dtype == np.float64 and np.isfinite(posterior.log_prob(draws)).all()
    assert np.isfinite(ensemble.members[0].posterior(theta[0]).log_prob(draws)).all()
    assert ensemble.sample(3, theta[:4], seed=0).shape == (3, 4, 2)


@pytest.mark.parametrize("method", ["NPE", "APT", pytest.param("NRE", marks=pytest.mark.slow)])
def test_rounds_with_a_prior_of_float64(method):
    prior = [tfd.Uniform(np.float64(0.1), np.float64(0.6)), tfd.TruncatedNormal(np.float64(0.3), 0.1, 0.0, np.inf)]
    options = {"options": {"hidden": (16, 16)}} if method == "NRE" else MDN
    posterior = sbi.sequential(
        lambda theta, seed: theta + 0.01,
        prior,
        [0.31, 0.31],
        method=method,
        rounds=2,
        simulations_per_round=100,
        settings=QUICK,
        **options,
    )
    assert posterior.sample(20, seed=0).dtype == np.float64


def test_masked_is_not_measured():
    theta, x = simulate(200)
    mask = np.random.default_rng(2).uniform(size=x.shape) < 0.2
    mask[mask.all(1)] = False
    hidden = np.ma.array(np.where(mask, -999.0, x), mask=mask)
    for bad in ({"theta": theta, "x": hidden}, {"theta": np.ma.array(theta, mask=mask), "x": x}):
        with pytest.raises(ValueError, match="simulations hold NaN"):
            sbi.NPE(PRIOR, **MDN).fit(**bad)
    estimator = trained(PRIOR, theta, hidden, invalid="gaps")
    expected = trained(PRIOR, theta, np.where(mask, np.nan, x), invalid="gaps")
    observed = np.ma.array([-999.0, 0.5], mask=[True, False])
    draws = expected.posterior(np.array([np.nan, 0.5])).sample(9, seed=1)
    np.testing.assert_array_equal(estimator.posterior(observed).sample(9, seed=1), draws)
    np.testing.assert_array_equal(estimator.posterior([np.ma.masked, 0.5]).sample(9, seed=1), draws)
    full = trained(PRIOR, theta, x)
    for use in (full.posterior, lambda one: full.sample(3, one[None], seed=0)):
        with pytest.raises(ValueError, match="hold.? NaN"):
            use(observed)


@pytest.mark.parametrize(
    "kind", ["NPE", pytest.param("NLE", marks=pytest.mark.slow), pytest.param("NRE", marks=pytest.mark.slow)]
)
def test_nothing_is_answered_with_nothing(kind):
    theta, x = simulate(100)
    options = {"options": {"hidden": (16, 16)}} if kind == "NRE" else MDN
    ensemble = sbi.Ensemble([getattr(sbi, kind)(PRIOR, **options) for _ in range(2)]).fit(theta, x, **QUICK)
    for one in (ensemble, ensemble.members[0]):
        assert one.sample(3, x[:0], seed=0).shape == (3, 0, 2)
        assert one.sample(0, x[:4], seed=0).shape == (0, 4, 2)
        posterior = one.posterior(x[0])
        assert posterior.sample(0, seed=0).shape == (0, 2) and posterior.log_prob(theta[:0]).shape == (0,)
    if kind == "NPE":
        assert one.log_prob(theta[:0], x[:0]).shape == (0,)
