"""Committees: the mean of densities, each trained as it would be alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from deepcosmo.models import MAF, MDN, Committee


def member(seed, cls=MAF, **options):
    keras.utils.set_random_seed(seed)
    return cls(dim=2, context_dim=3, hidden=(16, 16), **options)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    context = rng.normal(2.0, 3.0, (300, 3)).astype("float32")
    return context, (context[:, :2] + rng.normal(-1.0, 0.2, (300, 2))).astype("float32")


@pytest.fixture(scope="module")
def committee(data):
    """Members that differ: of a flow and two mixtures, which have seen the data for a while."""
    model = Committee(members=[member(1, transforms=2), member(2, MDN), member(3, MDN, components=2)])
    model.adapt(*data)
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(*data, epochs=3, batch_size=50, verbose=0)
    return model


def test_the_density_is_the_mean(committee, data):
    context, y = data
    densities = np.exp([m.log_prob(y, context).numpy().astype(float) for m in committee.members])
    assert np.all(np.std(densities, 0) > 1e-3 * densities.mean(0))
    np.testing.assert_allclose(committee.log_prob(y, context), np.log(densities.mean(0)), atol=1e-4)
    np.testing.assert_allclose(committee.distribution(context).log_prob(y), committee.log_prob(y, context), atol=1e-4)


def test_draws_have_the_moments_of_all_members(committee, data):
    context, n = data[0][:4], 20_000
    draws = committee.sample(n, context, seed=5).numpy()
    assert draws.shape == (n, 4, 2) and committee.sample((), context, seed=5).shape == (4, 2)
    own = np.concatenate([m.sample(n, context, seed=6) for m in committee.members])
    others = committee.distribution(context).sample(n, seed=7).numpy()
    for expected in (own, others):
        error = np.sqrt(draws.var(0) / n + expected.var(0) / len(expected))
        assert np.all(np.abs(draws.mean(0) - expected.mean(0)) < 4.5 * error)
        spread = np.sqrt(((draws - draws.mean(0)) ** 2).var(0) / n + ((expected - expected.mean(0)) ** 2).var(0) / n)
        assert np.all(np.abs(draws.var(0) - expected.var(0)) < 4.5 * spread)
    np.testing.assert_array_equal(draws, committee.sample(n, context, seed=tf.constant([0, 5])))


def test_each_learns_as_it_would_alone(data):
    """Gradients of the loss are those of each member's own, over their number; those of the mean's are not."""
    context, y = data
    alone = [member(seed, MDN) for seed in (4, 5)]
    model = Committee(members=[member(seed, MDN) for seed in (4, 5)])
    for m in (*alone, model):
        m.adapt(context, y)
    with tf.GradientTape(persistent=True) as tape:
        loss = tf.reduce_mean(model.loss_per_example(context, y, model(context)))
        losses = [-tf.reduce_mean(m.log_prob(y, context)) for m in alone]
    np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-5)
    for m, own, value in zip(model.members, alone, losses, strict=True):
        found = tape.gradient(loss, [v.value for v in m.trainable_variables])
        expected = tape.gradient(value, [v.value for v in own.trainable_variables])
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b / 2, rtol=1e-3, atol=1e-5)


def test_a_committee_after_a_file(committee, data, tmp_path):
    context, y = data
    committee.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.log_prob(y, context), committee.log_prob(y, context))
    np.testing.assert_array_equal(again.sample(3, context, seed=1), committee.sample(3, context, seed=1))


@pytest.mark.parametrize("members", [[], [MAF(dim=2), MAF(dim=2, context_dim=1)]])
def test_members_are_of_one_kind(members):
    with pytest.raises(ValueError, match="members of one dim and context_dim"):
        Committee(members=members)
