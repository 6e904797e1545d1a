import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from deepcosmo.inference import sbi
from deepcosmo.inference.sbi import simulations
from deepcosmo.inference.sbi.networks import RatioEstimator
from deepcosmo.inference.sbi.networks.scored import Scored
from deepcosmo.inference.sbi.support import Support
from deepcosmo.models.densities.prepared import PreparedDensity

tfd = tfp.distributions
PRIOR = tfd.Independent(tfd.Uniform([-1.5], 1.5), 1)
LATENT, NOISE = 0.2, 0.1
SETTINGS = {"progress": False, "max_epochs": 40}
GRID = np.linspace(-1.5, 1.5, 402)[1:-1, None].astype("float32")


def curve(theta):
    return np.concatenate([np.sin(2 * theta), theta**2 / 2], -1)


def simulate(n, seed):
    """x = curve(theta) + latent noise + noise, and the gradient of ln p(x, latent | theta)."""
    return simulate_all(n, seed)[:3]


def simulate_all(n, seed):
    """The same, and the latent noise."""
    rng = np.random.default_rng(seed)
    theta = rng.uniform(-1.5, 1.5, (n, 1))
    latent = LATENT * rng.normal(size=(n, 2))
    slope = np.concatenate([2 * np.cos(2 * theta), theta], -1)
    scores = np.sum(latent * slope, -1, keepdims=True) / LATENT**2
    return theta, curve(theta) + latent + NOISE * rng.normal(size=(n, 2)), scores, latent


def log_joint(theta, latent, others):
    """ln p(x, seen without noise | other) - ln p(x, seen without noise | theta), (n, k) for others (n, k, 1)."""
    moved = (curve(theta) + latent)[:, None] - curve(others)
    return -0.5 * (np.sum(moved**2, -1) - np.sum(latent**2, -1, keepdims=True)) / LATENT**2


def divergence(estimator):
    """Mean Kullback-Leibler divergence of the estimator's posterior from the exact one, in nats, on a grid."""
    _, x, _ = simulate(30, 99)
    exact = -0.5 * np.sum((x - curve(GRID)[:, None]) ** 2, -1) / (LATENT**2 + NOISE**2)
    found = np.stack([estimator.posterior(one).log_prob(GRID) for one in x], 1)
    exact, found = (v - np.log(np.exp(v - v.max(0)).sum(0)) - v.max(0) for v in (exact, found))
    return np.mean(np.sum(np.exp(exact) * (exact - found), 0))


@pytest.fixture(scope="module")
def ratio():
    """Of 300 simulations, without their scores."""
    return sbi.NRE(PRIOR).fit(*simulate(300, 0)[:2], seed=0, **SETTINGS)


@pytest.mark.slow
@pytest.mark.parametrize("kind, share", [("NLE", 0.5), ("NPE", 0.75)])
def test_scores_spare_simulations(kind, share):
    theta, x, scores = simulate(300, 0)
    make = getattr(sbi, kind)
    without = divergence(make(PRIOR).fit(theta, x, seed=0, **SETTINGS))
    with_scores = divergence(make(PRIOR).fit(theta, x, scores=scores, seed=0, **SETTINGS))
    assert with_scores < share * without


@pytest.mark.slow
def test_ratio_has_the_slope_of_the_scores(ratio):
    """It is their mean given the data, and a ratio that is trained without them is farther from it."""
    theta, x, scores = simulate(300, 0)
    held_out, data, _ = simulate(500, 7)
    latent = (data - curve(held_out)) * LATENT**2 / (LATENT**2 + NOISE**2)
    exact = np.sum(latent * np.concatenate([2 * np.cos(2 * held_out), held_out], -1), -1) / LATENT**2
    errors = []
    for estimator in (ratio, sbi.NRE(PRIOR).fit(theta, x, scores=scores, seed=0, **SETTINGS)):
        at = tf.constant(held_out, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(at)
            value = estimator.network.log_ratio_of_features(at, estimator.network(data.astype("float32")))
        errors.append(np.sqrt(np.mean((tape.gradient(value, at).numpy()[:, 0] - exact) ** 2)))
    assert errors[1] < errors[0] < exact.std()


def test_loss_is_least_for_the_mean_of_the_scores():
    """Of a density that is exact: the loss is its entropy and the variance of the scores given x."""
    rng = np.random.default_rng(0)
    theta, latent = rng.normal(size=(20_000, 1)), rng.normal(size=(20_000, 1))
    x = (theta + latent + rng.normal(size=theta.shape)).astype("float32")
    theta, y = theta.astype("float32"), {"targets": x, "scores": latent.astype("float32")}
    network = PreparedDensity(dim=1, x_shape=(1,), density="mdn", options={"components": 1, "hidden": (8,)})
    model = Scored(network, sbi.NLE._log_density, sbi.NLE._roles, dim=1)
    model.adapt(theta, y)
    network.density.network.set_weights([np.zeros_like(w) for w in network.density.network.get_weights()])
    loss = model.loss_per_example(tf.constant(theta), tf.nest.map_structure(tf.constant, y), model(theta)).numpy()
    # the score is latent / 1, its mean given x and theta is (x - theta) / 2, its variance 1/2 of 1
    expected = 0.5 * np.log(2 * np.pi * np.e * 2) + 0.5
    # the variances of both terms are 1/2 and 2 (1/2)^2, and they are independent
    assert abs(loss.mean() - expected) < 4 * np.sqrt(1.0 / len(loss)) + 0.01  # 1% for the power transformation


@pytest.mark.parametrize("kind", ["NPE", "NLE", "NRE", "APT"])
def test_bad_scores(kind):
    theta, x, scores = simulate(100, 0)
    estimator = getattr(sbi, kind)(PRIOR)
    with pytest.raises(ValueError, match=r"scores must have the shape \(100, 1\) of theta; got \(100,\)"):
        estimator.fit(theta, x, scores=scores[:, 0])
    scores[7] = np.nan
    with pytest.raises(ValueError, match="1 of 100 simulations hold NaN .* the first is number 7"):
        estimator.fit(theta, x, scores=scores)
    if kind == "APT":
        with pytest.raises(ValueError, match="APT has no use for scores"):
            estimator.fit(theta, x, scores=np.ones_like(theta))


@pytest.mark.slow
def test_joint_ratios_spare_simulations(ratio):
    theta, x, _, latent = simulate_all(300, 0)
    others = np.random.default_rng([0, 1]).uniform(-1.5, 1.5, (300, 7, 1))
    given = others, log_joint(theta, latent, others)
    assert divergence(sbi.NRE(PRIOR).fit(theta, x, joint_ratios=given, seed=0, **SETTINGS)) < 0.8 * divergence(ratio)


@pytest.mark.slow
@pytest.mark.parametrize("with_scores", [False, True])
def test_joint_ratios_leave_the_loss_what_it_is_on_average(with_scores):
    """With the same hypotheses: the probability of each takes the place of which it was."""
    keras.utils.set_random_seed(0)
    model = network = RatioEstimator(dim=1, x_shape=(2,), hidden=(32, 32))
    if with_scores:
        model = Scored(network, sbi.NRE._log_density, sbi.NRE._roles, dim=1)

    def given(seed, n=20_000):
        theta, x, scores, latent = simulate_all(n, seed)
        rolled = np.stack([np.roll(theta, k, axis=0) for k in range(1, network.contrasts)], 1)
        targets = {"theta": theta}, {"theta": theta, "others": rolled, "log_joint": log_joint(theta, latent, rolled)}
        if with_scores:
            targets = [{"targets": one, "scores": scores} for one in targets]
        return tf.nest.map_structure(lambda v: v.astype("float32"), [x, *targets])

    x, hard, _ = given(3)
    model.adapt(x, hard)
    model.compile(optimizer="adam")
    model.fit(x, hard, batch_size=200, epochs=8, verbose=0)
    x, *targets = tf.nest.map_structure(tf.constant, given(4))
    hard, joint = (model.loss_per_example(x, y, model(x)).numpy() for y in targets)
    difference = joint - hard
    assert difference.std() > 0.1  # or nothing is tested
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(len(difference))
    assert joint.var() < hard.var()


def test_bad_joint_ratios():
    theta, x, _, latent = simulate_all(100, 0)
    others = np.random.default_rng(1).uniform(-1.5, 1.5, (100, 3, 1))
    logarithms = log_joint(theta, latent, others)
    with pytest.raises(ValueError, match="NPE has no use for joint_ratios: give them to NRE"):
        sbi.NPE(PRIOR).fit(theta, x, joint_ratios=(others, logarithms))
    estimator = sbi.NRE(PRIOR)
    with pytest.raises(ValueError, match=r"must be other parameters \(100, k, 1\) .*; got \(100, 3\) and \(100, 3\)"):
        estimator.fit(theta, x, joint_ratios=(others[..., 0], logarithms))
    with pytest.raises(ValueError, match="1 of 400 parameters are impossible under the prior, such as .1.6"):
        estimator.fit(theta, x, joint_ratios=(np.where(others == others[5, 1], 1.6, others), logarithms))
    logarithms[3, 0], logarithms[7, 2], logarithms[8, 1] = -np.inf, np.nan, np.inf  # the first is allowed
    with pytest.raises(ValueError, match="2 of 100 simulations hold NaN .* the first is number 7"):
        estimator.fit(theta, x, joint_ratios=(others, logarithms))
    with pytest.warns(UserWarning, match="2 of 100 simulations hold NaN"):
        left = simulations.checked(theta, x, Support(PRIOR), "drop", None, (others, logarithms))
    assert left["theta"][7] == theta[9].astype("float32")
    np.testing.assert_array_equal(left["others"][7], others[9].astype("float32"))
    np.testing.assert_array_equal(left["log_joint"][7], logarithms[9].astype("float32"))
    with pytest.warns(UserWarning, match="2 of 100 simulations hold NaN"):
        estimator.fit(theta, x, joint_ratios=(others, logarithms), invalid="drop", progress=False, max_epochs=1)
    assert np.isfinite(estimator.history[-1]["loss"])
