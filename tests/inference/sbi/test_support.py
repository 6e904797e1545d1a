"""Priors of all kinds."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from deepcosmo.inference.sbi.bounds import bounds_of
from deepcosmo.inference.sbi.support import Support

tfd = tfp.distributions
EQUAL = tfd.Categorical(probs=[0.5, 0.5])
NORMALS = [[0.0, 0.0], [1.0, 1.0]], [[1.0, 1.0], [0.1, 0.1]]
PRIORS = {
    "uniform": lambda: tfd.Independent(tfd.Uniform([0.0, 1.0], [1.0, 3.0]), 1),
    "float64": lambda: tfd.Independent(tfd.Uniform(np.array([0.1, -1.8]), np.array([0.6, -0.4])), 1),
    "normal of float64": lambda: tfd.MultivariateNormalTriL(np.zeros(2), np.eye(2)),
    "truncated on one side": lambda: tfd.Independent(
        tfd.TruncatedNormal([0.3, 1.0], 0.3, [0.0, -np.inf], [np.inf, 1.2]), 1
    ),
    "half-normal": lambda: tfd.Independent(tfd.HalfNormal([1.0, 1.0]), 1),
    "mixture of a family": lambda: tfd.MixtureSameFamily(EQUAL, tfd.MultivariateNormalDiag(*NORMALS)),
    "mixture": lambda: tfd.Mixture(EQUAL, [tfd.MultivariateNormalDiag(mean) for mean in NORMALS[0]]),
    "mixture on half lines": lambda: tfd.Independent(
        tfd.MixtureSameFamily(tfd.Categorical(probs=[[0.5, 0.5]] * 2), tfd.LogNormal([[0.0, 1.0]] * 2, 0.5)), 1
    ),
    "joint": lambda: tfd.JointDistributionSequential([tfd.Uniform(0.0, 1.0), tfd.Normal(0.0, 1.0)]),
    "joint by name": lambda: tfd.JointDistributionNamed({"b": tfd.Uniform(0.0, 1.0), "a": tfd.Normal(0.0, 1.0)}),
    "joint with a dependence": lambda: tfd.JointDistributionSequential(
        [tfd.HalfNormal(1.0), lambda scale: tfd.Normal(0.0, scale)]
    ),
    "list": lambda: [tfd.Independent(tfd.Uniform([0.0, 1.0], 2.0), 1), tfd.HalfNormal(1.0)],
    "list of two precisions": lambda: [tfd.Uniform(np.float64(0.1), np.float64(0.6)), tfd.Normal(0.0, 1.0)],
    "blocks": lambda: tfd.Blockwise([tfd.Uniform(0.0, 1.0), tfd.Normal(0.0, 1.0)]),
}


@pytest.mark.parametrize("name", PRIORS)
def test_real_vectors_are_the_support(name):
    support = Support(PRIORS[name]())
    assert np.dtype(support.dtype) == ("float64" if "float64" in name or "precisions" in name else "float32")
    z = np.random.default_rng(0).normal(size=(500, support.dim)).astype("float32")
    theta = support.parameters(z).numpy()
    assert theta.dtype == support.dtype and np.isfinite(support.prior.log_prob(theta)).all()
    np.testing.assert_allclose(support.unconstrained(theta), z, atol=1e-4)
    inside, found = support.interior(theta)
    assert np.all(inside)
    np.testing.assert_allclose(found, z, atol=1e-4)
    some = tf.constant(z[:20], support.dtype)
    with tf.GradientTape() as tape:
        tape.watch(some)
        value = support.bijector.forward(some)
    _, volume = tf.linalg.slogdet(tape.batch_jacobian(value, some))
    np.testing.assert_allclose(support.log_slope(z[:20]), volume, atol=1e-4)


def test_columns_of_a_joint_distribution_are_in_the_order_of_its_draws():
    support = Support(PRIORS["joint by name"]())
    draws = support.prior.sample(1000, seed=[0, 1]).numpy()
    assert draws[:, 0].min() < -1 and draws[:, 1].min() >= 0 and draws[:, 1].max() <= 1  # a, b


@pytest.mark.parametrize(
    "prior, match",
    [
        (tfd.Normal(0.0, 1.0), "event shape"),
        (tfd.MultivariateNormalDiag(tf.zeros([2, 3])), "batch shape"),
        ([], "got list"),
        ({"a": tfd.Normal(0.0, 1.0)}, "got dict"),
        (tfd.Dirichlet([1.0, 2.0, 3.0]), "whatever the others are"),
        ([tfd.Poisson(3.0), tfd.Normal(0.0, 1.0)], "whatever the others are"),
        (
            tfd.MixtureSameFamily(EQUAL, tfd.Independent(tfd.Uniform(0.0, [[1.0, 3.0], [3.0, 1.0]]), 1)),
            "whatever",
        ),  # an L
        ([tfd.MixtureSameFamily(EQUAL, tfd.Uniform([0.0, 2.0], [1.0, 3.0]))], "whatever the others are"),  # a gap
        (tfd.JointDistributionSequential([tfd.Uniform(0.0, 1.0), lambda a: tfd.Uniform(a, 2.0)]), "whatever"),
    ],
)
def test_priors_that_cannot_be(prior, match):
    with pytest.raises(ValueError, match=f"(?s)prior.*{match}"):
        Support(prior)


def test_bounds_by_density_alone():
    low, high = np.array([0.3, -np.inf, -5.0]), np.array([np.inf, 2e-3, 7.0])
    prior = tfd.Independent(tfd.TruncatedNormal(np.zeros(3), np.array([1.0, 1e-3, 10.0]), low, high), 1)
    found = np.transpose(bounds_of(prior))
    draws = prior.sample(256, seed=[0, 0]).numpy()
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite([low, high]))
    finite = np.isfinite([low, high])
    error = np.abs(np.where(finite, found, 0.0) - np.where(finite, [low, high], 0.0)) / np.ptp(draws, 0)
    assert error.max() < 1e-8


@pytest.mark.parametrize(
    "prior",
    [
        tfd.Independent(tfd.Uniform([2459000.0, 0.0], [2459010.0, 1.0]), 1),
        tfd.MultivariateNormalDiag([2459000.0, 0.0], [5.0, 1.0]),
        [tfd.Normal(2459000.0, 5.0), tfd.Uniform(0.0, 1.0)],
    ],
)
def test_far_from_zero_parameters_are_float64(prior):
    """Steps between numbers of float32 are a quarter of a day there; real vectors must resolve seconds."""
    support = Support(prior)
    assert support.dtype == np.float64 and support.origin[0] > 2.4e6 and support.origin[1] == 0
    theta = np.stack([np.linspace(2459003.0, 2459004.0, 10_001), np.full(10_001, 0.5)], 1)
    z = support.unconstrained(theta)
    assert z.dtype == np.float32 and len(np.unique(z[:, 0])) == 10_001
    np.testing.assert_allclose(support.parameters(z), theta, rtol=0, atol=1e-5)
    np.testing.assert_allclose(np.diff(support.centred(theta)[:, 0]), 1e-4, atol=2e-6)
