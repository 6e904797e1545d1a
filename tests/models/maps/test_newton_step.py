"""Newton's step: what it finds where the answer is known, and that it is invertible."""

import numpy as np
import pytest

from deepcosmo.models.maps.newton_step import NewtonStep, from_noise, to_noise

N = 20_000


def problem(n, seed):
    """An estimate e of y, and of each y an approximate score, off by a function of e and of the wrong scale, whose step
    leads to y within widths that depend on e, and correlations."""
    rng = np.random.default_rng(seed)
    e = rng.normal(size=(n, 2))
    score, other = rng.normal(size=(n, 2)), rng.normal(size=(n, 1))
    noise = rng.normal(size=(n, 2))
    width = 0.1 * np.exp(np.stack([0.4 * e[:, 1], -0.3 * e[:, 0] ** 2 / (1 + e[:, 0] ** 2)], 1))
    y = e + 0.5 * score * np.stack([1 + 0.3 * e[:, 0], 1 - 0.3 * e[:, 1]], 1) + 0.2 * other
    y[:, 0] += width[:, 0] * noise[:, 0]
    y[:, 1] += width[:, 1] * noise[:, 1] + 0.1 * (1 + 0.5 * e[:, 0]) * noise[:, 0]
    biased = score + 5.0 + 2.0 * e[:, ::-1]
    log_prob = -0.5 * np.sum(noise**2, 1) - np.sum(np.log(width), 1) - np.log(2 * np.pi)
    return y.astype("float32"), np.concatenate([e, biased, other], 1).astype("float32"), log_prob


@pytest.fixture(scope="module")
def step():
    step = NewtonStep(dim=2, others=1)
    step.build()
    y, features, _ = problem(N, 1)
    step.adapt(y, features)
    return step


def test_it_finds_the_normal_distribution(step):
    """To 0.02 nats: it has some 130 coefficients, each of which costs 1 / 2 N, and tails are tempered."""
    y, features, exact = problem(5000, 2)
    noise, change = (np.asarray(v) for v in to_noise(y, *step(features)[:2]))
    found = -0.5 * np.sum(noise**2, 1) - np.log(2 * np.pi) + change
    bulk = np.all(np.abs(features[:, :2]) < 2.5, 1)
    assert np.mean((exact - found)[bulk]) < 0.02
    np.testing.assert_allclose(noise[bulk].std(0), 1.0, atol=0.04)  # four standard errors
    assert abs(np.corrcoef(noise[bulk].T)[0, 1]) < 0.06


def test_it_is_invertible(step):
    y, features, _ = problem(50, 3)
    mean, factor, _ = step(features)
    noise, change = to_noise(y, mean, factor)
    np.testing.assert_allclose(from_noise(noise, mean, factor), y, atol=1e-5)
    np.testing.assert_allclose(change, -np.linalg.slogdet(factor)[1], rtol=1e-5)
    np.testing.assert_allclose(np.einsum("bij,bj->bi", factor, noise) + mean, y, atol=1e-5)
    many, same = to_noise(np.stack([y, y + 0.1]), mean, factor)  # several y for each row of features
    np.testing.assert_array_equal(many[0], noise)
    np.testing.assert_array_equal(same, change)


def test_widths_do_not_explode_far_from_what_it_has_seen(step):
    _, features, _ = problem(50, 4)
    features[:, :2] *= 100.0
    _, factor, _ = step(features)
    width = np.diagonal(factor, axis1=-2, axis2=-1)
    assert width.max() < 1.0 and width.min() > 0.01


def test_few_examples_and_columns_without_content():
    """Nothing is learned from what says nothing, but the width of y."""
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(size=(200, 2)), np.zeros((200, 3))], 1).astype("float32")
    y = features[:, :2] + rng.normal(size=(200, 2)).astype("float32")
    step = NewtonStep(dim=2, others=1)
    step.build()
    step.adapt(y, features)
    mean, factor, _ = step(features)
    noise, _ = to_noise(y, mean, factor)
    np.testing.assert_allclose(np.std(noise, 0), 1.0, atol=0.25)
    assert np.abs(mean - features[:, :2]).std() < 0.5
