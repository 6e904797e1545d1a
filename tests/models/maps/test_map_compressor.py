"""Posteriors by one step from an estimate: what they see, what is trained, reloading."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from deepcosmo.models import MapCompressor, MapPosterior, NewtonPilot, OneStepCompressor
from deepcosmo.models.maps.field_statistics import FieldStatistics
from deepcosmo.models.maps.lognormal_scores import LognormalScores
from deepcosmo.nn.transforms.power import tempered
from deepcosmo.physics.lensing_survey import LensingSurvey

SURVEY = LensingSurvey(pixels=16, width=4.0, parameters=("omega_c", "sigma_8"))
BOUNDS = [(0.0, np.inf), (-np.inf, np.inf)]


def posterior(compressor, density="regression", members=1):
    options = {"hidden": (32,), **({"components": 2} if density == "mdn" else {})}
    return MapPosterior(
        compressor=compressor,
        parameters=SURVEY.parameters,
        bounds=BOUNDS,
        density=density,
        options=options,
        members=members,
    )


@pytest.fixture(scope="module")
def data():
    theta = SURVEY.prior().sample(512, seed=[1, 1])
    return SURVEY.sample(theta, seed=tf.constant([1, 2])).numpy(), theta.numpy()


@pytest.fixture(scope="module")
def pilot(data):
    keras.utils.set_random_seed(5)
    maps, theta = data
    model = posterior(MapCompressor(statistics=FieldStatistics.of(SURVEY, bands=4), outputs=2, hidden=(16,)))
    model.adapt(maps, theta)
    return model


@pytest.fixture(scope="module")
def compressor(pilot):
    return OneStepCompressor(pilot=pilot, scores=LognormalScores(survey=SURVEY, iterations=10))


def test_summaries_are_the_estimate_and_the_scores_there(compressor, data):
    maps, _ = data
    summaries = compressor(maps[:4])
    estimate = compressor.pilot.density.distribution(compressor.pilot.encode(maps[:4])).mean()
    theta = compressor.pilot.bijector().forward(estimate)
    np.testing.assert_allclose(summaries[:, :2], estimate, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(summaries[:, 2:], compressor.scores(maps[:4], theta), rtol=1e-2, atol=1e-2)
    np.testing.assert_array_equal(compressor(summaries), summaries)  # they will do in place of maps


def test_only_the_density_is_trained(compressor):
    model = posterior(compressor, "mdn")
    assert {id(v) for v in model.trainable_weights} == {id(v) for v in model.density.trainable_weights}


def test_posterior_of_one_step(compressor, data, tmp_path):
    """It is a density, that of its draws and of its distribution, and the same after a file."""
    maps, theta = data
    model = posterior(compressor, "mdn")
    summaries = compressor(maps[:128])
    model.adapt(summaries, theta[:128])
    draws = model.sample(4000, maps[:2], seed=1)
    log_prob = model.log_prob_of_features(draws[:50], summaries[:2])
    np.testing.assert_allclose(log_prob, model.distribution(maps[:2]).log_prob(draws[:50]), atol=0.02)
    # its integral is 1, by importance sampling from a normal distribution of twice the width
    wide = np.random.default_rng(0).normal(np.mean(draws, 0), 2 * np.std(draws, 0), draws.shape).astype("float32")
    inside = np.all(wide > [0.0, -np.inf], -1)
    proposal = -0.5 * np.sum(((wide - np.mean(draws, 0)) / (2 * np.std(draws, 0))) ** 2, -1)
    proposal -= np.sum(np.log(2 * np.std(draws, 0)), -1) + np.log(2 * np.pi)
    safe = np.where(inside[..., None], wide, np.mean(draws, 0))
    found = model.log_prob_of_features(safe, summaries[:2])
    ratio = np.where(inside, np.exp(found - proposal), 0.0)
    np.testing.assert_array_less(np.abs(ratio.mean(0) - 1), 4 * ratio.std(0) / np.sqrt(len(ratio)))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        again.log_prob(theta[:4], maps[:4]), model.log_prob(theta[:4], maps[:4]), rtol=1e-3, atol=1e-3
    )
    np.testing.assert_array_equal(again.sample(4000, maps[:2], seed=1), draws)


def test_a_pilot_must_have_a_mean(pilot):
    other = posterior(MapCompressor(statistics=pilot.compressor.statistics, outputs=2, hidden=(16,)), "maf")
    with pytest.raises(ValueError, match="density 'regression' or 'mdn'; got 'maf'"):
        OneStepCompressor(pilot=other, scores=LognormalScores(survey=SURVEY))


@pytest.fixture(scope="module")
def measured(pilot):
    """Estimates with errors of 0.02 and noisy scores of universes, half of them like ours, and their parameters z."""
    rng = np.random.default_rng(6)
    theta = np.concatenate([SURVEY.prior().sample(1000, seed=[2, 1]), SURVEY.near().sample(1000, seed=[2, 2])])
    z = pilot.bijector().inverse(theta).numpy()
    error = 0.02 * rng.normal(size=z.shape) + 0.01
    score = -error / 0.02 + 0.1 * rng.normal(size=z.shape)
    others = rng.normal(size=(len(z), SURVEY.bins + 1))
    return np.concatenate([z + error, score, others], 1).astype("float32"), theta, z


@pytest.fixture(scope="module")
def near(pilot, measured):
    """A posterior with a Newton step for universes like ours."""
    keras.utils.set_random_seed(6)
    found, theta, z = measured
    compressor = OneStepCompressor(pilot=pilot, scores=LognormalScores(survey=SURVEY, iterations=10), near=True)
    model = posterior(compressor, "mdn")
    model.adapt(found, theta)
    return model, found, z


def test_a_step_for_universes_like_ours(near):
    """What scores tell is in the step there, ten times nearer than the estimate; it fades out far from ours."""
    model, found, z = near
    features = model.compressor.features(tf.constant(found)).numpy()
    np.testing.assert_array_equal(features[:, : found.shape[1]], found)
    share, step = features[:, -1:], features[:, found.shape[1] : -1]
    theta = model.bijector().forward(found[:, :2])
    q, p = np.exp(SURVEY.near().log_prob(theta)), np.exp(SURVEY.prior().log_prob(theta))
    np.testing.assert_allclose(share[:, 0], 1 - 0.5 * 2 * p / (p + q), rtol=1e-4, atol=1e-6)
    ours = share[:, 0] > 0.5
    assert 800 < ours.sum() < 1400
    error = (z - found[:, :2])[ours]
    np.testing.assert_allclose(error.std(0), 0.02, rtol=0.15)
    left = error - step[ours] / share[ours]
    np.testing.assert_allclose(left.std(0), 0.002, rtol=0.15)  # from the noise of the scores
    far = share[:, 0] < 1e-3
    assert far.sum() > 100
    np.testing.assert_allclose(step[far], 0.0, atol=1e-3)


def test_the_density_is_that_of_what_a_regression_leaves(near):
    """The first summaries are as near to the parameters as a linear regression on all features is, none of their
    weights are trained, and the posterior is the density of what they leave, in units of its covariance."""
    model, found, z = near
    compressor = model.compressor
    scaled = tempered(compressor.scale(compressor.features(tf.constant(found)))[0]).numpy()
    scaled = np.concatenate([scaled, np.ones((len(z), 1))], 1)
    summaries = compressor(tf.constant(found)).numpy()
    assert summaries.shape == (2000, 2 + scaled.shape[1] - 1) == compressor.compute_output_shape((2000, 16, 16, 5))
    np.testing.assert_array_equal(summaries[:, 2:], scaled[:, :-1])
    left, others = z - summaries[:, :2], z - scaled @ np.linalg.lstsq(scaled, z, rcond=None)[0]
    np.testing.assert_allclose(left.std(0), others.std(0), rtol=0.02)
    assert {id(v) for v in model.trainable_variables} == {id(v) for v in model.density.trainable_variables}
    noise = np.linalg.solve(np.linalg.cholesky(np.cov(left.T)), left.T).T.astype("float32")
    expected = model.density.log_prob(noise, summaries) - 0.5 * np.linalg.slogdet(np.cov(left.T))[1]
    theta = model.bijector().forward(z)
    expected += model.bijector().inverse_log_det_jacobian(theta, event_ndims=1)
    np.testing.assert_allclose(model.log_prob(theta, found), expected, rtol=1e-3, atol=2e-2)
    draws = model.sample(20, found[:8], seed=3)
    np.testing.assert_allclose(
        model.distribution(found[:8]).log_prob(draws), model.log_prob(draws, found[:8]), atol=0.02
    )


def test_a_long_step_is_bounded(near):
    model, found, _ = near
    wild = found[:4].copy()
    wild[:, :2] = model.bijector().inverse(SURVEY.fiducial)
    wild[:, 2:4] *= 1e4
    step = model.compressor.features(tf.constant(wild)).numpy()[:, found.shape[1] : -1]
    assert np.all(np.abs(step) <= model.compressor.near_step.longest)


def test_posterior_with_the_step_after_a_file(near, data, tmp_path):
    model, found, _ = near
    maps, theta = data
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.log_prob(theta[:64], found[:64]), model.log_prob(theta[:64], found[:64]))
    np.testing.assert_array_equal(again.sample(10, maps[:2], seed=1), model.sample(10, maps[:2], seed=1))
    trained = [[v.shape for v in m.trainable_variables] for m in (again, model)]
    assert trained[0] == trained[1] and not any(v.trainable for v in again.compressor.pilot.variables)


def test_a_step_needs_universes_like_ours(near):
    model, found, z = near
    far = model.compressor.features(tf.constant(found)).numpy()[:, -1] < 0.1
    with pytest.raises(ValueError, match="cannot be fitted to 0 examples"):
        model.compressor.adapt(found[far], z[far])


def test_a_second_step_begins_where_the_first_ends(compressor, measured, data, tmp_path):
    """Where universes are like ours; far from them, where the pilot's estimate is."""
    found, theta, z = measured
    pilot = NewtonPilot(compressor=compressor)
    pilot.adapt(found, theta)
    estimate, share = pilot.estimate(found).numpy(), pilot.near_step.share(found).numpy()[:, 0]
    np.testing.assert_allclose((z - estimate)[share > 0.5].std(0), 0.002, rtol=0.15)  # from the noise of the scores
    np.testing.assert_array_equal(estimate[share < 0.3], found[share < 0.3, :2])
    maps, truth = data[0][:4], data[1][:4]
    second = OneStepCompressor(pilot=pilot, scores=compressor.scores, near=True)
    seen = second.measure(tf.constant(maps)).numpy()
    np.testing.assert_allclose(seen[:, :2], pilot.estimate(compressor(maps)), rtol=1e-3, atol=1e-3)
    there = compressor.scores(maps, pilot.bijector().forward(seen[:, :2]))
    np.testing.assert_allclose(seen[:, 2:], there, rtol=1e-2, atol=1e-2)
    model = posterior(second, "mdn")
    model.adapt(found, theta)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.log_prob(truth, maps), model.log_prob(truth, maps), rtol=1e-3, atol=1e-2)
    trained = {v.path for v in again.trainable_variables}
    assert trained and not any("pilot" in path for path in trained)
    assert not any(v.trainable for v in again.compressor.pilot.variables)


def test_a_pilot_needs_estimates_and_scores_alone(near):
    with pytest.raises(ValueError, match="estimates and scores alone"):
        NewtonPilot(compressor=near[0].compressor)


def test_means_of_what_a_step_leaves(near):
    """The estimate of a posterior is the mean of its unconstrained draws, with a `NewtonStep` or a regression, too."""
    model, found, _ = near
    draws = model.bijector().inverse(model.sample(4000, found[:8], seed=4)).numpy()
    assert np.all(np.abs(draws.mean(0) - model.estimate(found[:8])) < 4.5 * draws.std(0) / np.sqrt(4000))


def test_a_committee_of_posteriors(near, tmp_path):
    """The mean of densities; the loss is the mean of theirs; the same after a file."""
    compressor, found, z = near[0].compressor, near[1][:200], near[2][:200]
    model = posterior(compressor, "mdn", members=2)
    theta = model.bijector().forward(z).numpy()
    model.adapt(found, theta)
    summaries = model.encode(found)
    single = []
    for member in model.density.members:
        alone = posterior(compressor, "mdn")
        alone.density.set_weights(member.get_weights())
        single.append(alone.log_prob(theta, found).numpy())
    np.testing.assert_allclose(model.log_prob(theta, found), np.log(np.exp(single).mean(0)), atol=1e-3)
    loss = model.loss_per_example(found, theta, summaries)
    np.testing.assert_allclose(loss, -np.mean(single, 0), rtol=1e-4, atol=1e-3)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.sample(5, found, seed=1), model.sample(5, found, seed=1))
