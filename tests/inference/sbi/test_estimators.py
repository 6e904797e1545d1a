import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from conftest import once

from deepcosmo.inference import sbi
from deepcosmo.inference.sbi.estimators import APT
from deepcosmo.metrics.calibration import calibration

tfd = tfp.distributions
QUICK = {"progress": False, "max_epochs": 12, "patience": 4}
MDN = {"density": "mdn", "options": {"hidden": (32, 32), "components": 2}}  # soon compiled


class Line:
    """x = (theta + noise, noise), theta uniform in (0, 1): half of the noise's width is beyond the prior's edge."""

    prior = tfd.Independent(tfd.Uniform([0.0], 1.0), 1)

    @staticmethod
    def simulate(n, seed=0):
        rng = np.random.default_rng(seed)
        theta = rng.uniform(0, 1, (n, 1)).astype("float32")
        x = np.concatenate([theta + 0.2 * rng.normal(size=(n, 1)), rng.normal(size=(n, 1))], 1)
        return theta, x.astype("float32")

    @staticmethod
    def exact(x, n=20_000):
        return tfd.TruncatedNormal(x[0], 0.2, 0.0, 1.0).sample(n, seed=[0, 1]).numpy()


@pytest.fixture
def npe():
    def train(folder):
        estimator = sbi.NPE(Line.prior).fit(*Line.simulate(3000), seed=1, progress=False, max_epochs=40)
        estimator.save(folder / "estimator")

    return sbi.load(once("npe", train) / "estimator", Line.prior)


@pytest.mark.parametrize("x", [[0.5, 0.0], [0.02, 1.0], [1.1, -1.0]])
def test_npe_finds_the_posterior(npe, x):
    posterior = npe.posterior(np.array(x))
    draws, exact = posterior.sample(20_000, seed=1)[:, 0], Line.exact(x)
    assert draws.min() >= 0 and draws.max() <= 1
    # 3000 simulations determine a local mean to about a tenth of its width
    assert abs(draws.mean() - exact.mean()) < 0.15 * exact.std()
    assert abs(draws.std() / exact.std() - 1) < 0.12
    theta = np.linspace(-0.5, 1.5, 2001)[:, None] + 1e-5
    density = np.exp(posterior.log_prob(theta))
    assert abs(density.sum() * 1e-3 - 1) < 0.01 and np.all(density[(theta[:, 0] < 0) | (theta[:, 0] > 1)] == 0)
    assert abs(np.sum(density * theta[:, 0]) * 1e-3 - draws.mean()) < 0.006
    best = posterior.map()
    assert posterior.log_prob(best) >= np.log(density.max()) - 1e-3


def test_densities_outside_of_the_prior_and_on_its_bounds(npe):
    theta, x = np.array([[-0.1], [0.0], [0.5], [1.0], [1.1]], "float32"), np.tile([0.5, 0.0], (5, 1))
    found = npe.log_prob(theta, x)
    np.testing.assert_array_equal(found, npe.posterior(x[0]).log_prob(theta))
    np.testing.assert_array_equal(np.isfinite(found), [False, False, True, False, False])
    assert np.all(found[[0, 1, 3, 4]] == -np.inf)


def test_corner_plot(npe, tmp_path):
    figure = npe.posterior(np.array([0.5, 0.0])).corner(tmp_path / "corner.png", truth=[0.5], labels=["theta"])
    assert [axes.get_xlabel() for axes in figure.axes] == ["theta"]
    assert [list(line.get_xdata()) for line in figure.axes[0].lines] == [[0.5, 0.5]]  # the truth
    assert (tmp_path / "corner.png").stat().st_size > 2000


def test_npe_is_calibrated(npe):
    theta, x = Line.simulate(500, seed=9)
    samples = npe.sample(200, x, seed=3)
    found = calibration(theta, samples).p_values()
    assert found["ranks"].min() > 1e-3 and found["tarp"] > 1e-3


@pytest.mark.filterwarnings("error::UserWarning")  # good data are warned of by nobody
def test_same_seed_same_posterior():
    theta, x = Line.simulate(200)
    draws = [
        sbi.NPE(Line.prior, **MDN).fit(theta, x, seed=seed, **QUICK).posterior(x[0]).sample(9, seed=2)
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert np.abs(draws[0] - draws[2]).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("kind, apart, wide", [("NLE", 0.15, 0.15), ("NRE", 0.3, 0.2)])
def test_likelihood_and_ratio_find_the_posterior(kind, apart, wide):
    estimator = getattr(sbi, kind)(Line.prior).fit(*Line.simulate(3000), seed=1, progress=False, max_epochs=25)
    x = np.array([0.9, 0.3])
    posterior = estimator.posterior(x)
    draws, exact = posterior.sample(4000, seed=1)[:, 0], Line.exact(x)
    assert draws.min() >= 0 and draws.max() <= 1
    # of a ratio three times the tenth of the width above: this is one posterior, near an edge
    assert abs(draws.mean() - exact.mean()) < apart * exact.std() and abs(draws.std() / exact.std() - 1) < wide
    found = posterior.diagnostics
    assert found.r_hat.max() < 1.15 and found.ess.min() > 1000 and 0.5 < found.acceptance <= 1


def test_ensemble_is_the_mean_of_its_members():
    theta, x = Line.simulate(300)
    ensemble = sbi.Ensemble([sbi.NPE(Line.prior, **MDN) for _ in range(2)]).fit(theta, x, **QUICK)
    posterior, parts = ensemble.posterior(x[0]), [member.posterior(x[0]) for member in ensemble.members]
    grid = np.linspace(0.01, 0.99, 50)[:, None]
    expected = np.log(np.mean([np.exp(part.log_prob(grid)) for part in parts], 0))
    np.testing.assert_allclose(posterior.log_prob(grid), expected, atol=1e-4)
    assert np.abs(parts[0].log_prob(grid) - parts[1].log_prob(grid)).max() > 0.01
    draws = posterior.sample(20_000, seed=4)
    means = [part.sample(20_000, seed=5).mean() for part in parts]
    assert abs(draws.mean() - np.mean(means)) < 0.01
    with pytest.raises(ValueError, match="one class"):
        sbi.Ensemble([sbi.NPE(Line.prior), sbi.NLE(Line.prior)])


def test_image_with_a_compressor():
    rng = np.random.default_rng(0)
    theta = rng.uniform(0, 1, (600, 1)).astype("float32")
    x = (theta[:, None, None] + rng.normal(size=(600, 6, 6, 1))).astype("float32")
    network = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
    estimator = sbi.NPE(Line.prior, compressor=network, **MDN).fit(theta, x, progress=False, max_epochs=25)
    means = estimator.sample(500, x[:200], seed=1).mean(0)
    assert np.corrcoef(means[:, 0], x[:200].mean((1, 2))[:, 0])[0, 1] > 0.97
    assert estimator.network.compressor is not network  # which another network may start from
    # trained already: a vector for the density, and for a likelihood
    assert not network.set_weights(estimator.network.compressor.get_weights())
    network.trainable = False
    likelihood = sbi.NLE(Line.prior, compressor=network, **MDN).fit(theta, x, **QUICK)
    assert likelihood.network.dim == 2
    network.trainable = True
    with pytest.raises(ValueError, match="NLE cannot train a compressor"):
        sbi.NLE(Line.prior, compressor=network).fit(theta, x, **QUICK)


def test_bad_simulations():
    theta, x = Line.simulate(200)
    estimator = sbi.NPE(Line.prior, **MDN)
    with pytest.raises(RuntimeError, match="call fit"):
        estimator.posterior(x[0])
    with pytest.raises(ValueError, match="200 parameters and 199 data"):
        estimator.fit(theta, x[:-1])
    with pytest.raises(ValueError, match=r"\(n, 1\), as the prior has; got \(200, 2\)"):
        estimator.fit(x, theta)
    with pytest.raises(ValueError, match="too few"):
        estimator.fit(theta[:10], x[:10])
    with pytest.raises(ValueError, match="200 of 200 parameters are impossible under the prior"):
        estimator.fit(theta + 2, x)
    x[3:6, 0] = np.nan, np.inf, 1e3
    with pytest.raises(ValueError, match="2 of 200 simulations hold NaN .* the first is number 3"):
        estimator.fit(theta, x)
    with pytest.warns(UserWarning, match="2 of 200 simulations hold NaN .* are left out"):
        estimator.fit(theta, x, invalid="drop", **QUICK)
    with pytest.raises(ValueError, match=r"shape \(2,\) of a simulation; got \(3,\)"):
        estimator.posterior(np.zeros(3))
    with pytest.raises(ValueError, match="the observation holds NaN"):
        estimator.posterior(np.array([np.nan, 0.0]))
    with pytest.raises(ValueError, match="1 of 3 data hold NaN"):
        estimator.sample(5, np.array([[0.0, 0.0], [np.nan, 0.0], [0.5, 0.0]]), seed=0)
    with pytest.raises(ValueError, match="1 of 2 data hold NaN"):
        estimator.log_prob(theta[:2], np.array([[0.0, 0.0], [0.5, np.inf]]))


@pytest.mark.parametrize("kind", [sbi.NPE, APT])
def test_parameters_on_the_bounds(kind):
    """Rounding puts some of many draws there."""
    theta, x = Line.simulate(500)
    theta[:2] = [[0.0], [1.0]]
    fitted = kind(Line.prior, **MDN).fit(theta, x, seed=1, **QUICK)
    assert np.isfinite(fitted.history[-1]["val_loss"])
    assert abs(fitted.posterior(np.array([0.5, 0.0])).sample(2000, seed=1).mean() - 0.5) < 0.1


def test_gaps_leave_the_prior():
    theta, x = Line.simulate(4000)
    x[::2, 0] = np.nan
    estimator = sbi.NPE(Line.prior, **MDN).fit(theta, x, invalid="gaps", progress=False, max_epochs=30)
    draws = estimator.posterior(np.array([np.nan, 0.3])).sample(5000, seed=1)
    assert abs(draws.mean() - 0.5) < 0.04 and abs(draws.std() - 12**-0.5) < 0.03
    draws, exact = estimator.posterior(np.array([0.7, 0.3])).sample(5000, seed=1), Line.exact([0.7])
    assert abs(draws.mean() - exact.mean()) < 0.04 and abs(draws.std() / exact.std() - 1) < 0.2  # of 2000 simulations


def test_warnings(npe):
    with pytest.warns(UserWarning, match="unlike all simulations") as unlike:
        npe.posterior(np.array([30.0, 0.0]))
    assert [w.filename for w in unlike] == [__file__]  # where the user's call is
    theta, x = Line.simulate(1000)
    with pytest.warns(UserWarning, match="column 0 of theta is not distributed as the prior"):
        sbi.NPE(Line.prior, **MDN).fit(theta / 2, x, **QUICK)


@pytest.mark.parametrize(
    "prior", [tfd.Normal(0.0, 1.0), tfd.MultivariateNormalDiag(tf.zeros([2, 3])), tfd.Dirichlet([1.0, 2.0, 3.0])]
)
def test_priors_that_cannot_be(prior):
    with pytest.raises(ValueError, match="prior"):
        sbi.NPE(prior)


def test_interruption_keeps_the_best_weights(monkeypatch):
    theta, x = Line.simulate(300)
    calls = []

    def interrupt(self, epoch, logs=None):
        calls.append(epoch)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("deepcosmo.inference.sbi.training._Progress.on_epoch_end", interrupt)
    with pytest.warns(UserWarning, match="training was interrupted"):
        estimator = sbi.NPE(Line.prior, **MDN).fit(theta, x, progress=False)
    assert np.isfinite(estimator.posterior(x[0]).sample(10, seed=0)).all()
