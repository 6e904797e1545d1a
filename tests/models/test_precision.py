"""Models are float32, whatever precision Keras is set to when they are made and used."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from conftest import CHECKOUT

from deepcosmo import zoo
from deepcosmo.inference import sbi
from deepcosmo.models import MDN, NSF, FieldStatistics
from deepcosmo.models._precision import single_precision
from deepcosmo.zoo import golden


@pytest.fixture(params=[("float64", "mixed_bfloat16"), ("float16", "float16")], ids=lambda p: p[1])
def setting(request):
    """Another precision, for weights and for tensors without a type."""
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(request.param[0])
    keras.config.set_dtype_policy(request.param[1])
    yield request.param
    assert (keras.config.floatx(), keras.config.dtype_policy().name) == request.param  # left as it was
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(policy)


@pytest.mark.parametrize("name", ["vae_cosmos", "maf_cosmos_catalog", "unet_kappa"])
def test_published_models_replay_their_golden_arrays(setting, name):
    model = zoo.load(name)
    with np.load(CHECKOUT / "zoo" / name / "golden.npz") as arrays:
        worst = golden.deviations(golden.call_keras(model), dict(arrays))
    assert max(worst.values()) < golden.TOLERANCE, worst
    assert {v.dtype for v in model.weights if "seed" not in v.path} == {"float32"}


def trained(cls):
    """Weights and draws of a model that was trained for two steps."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 2))
    y = x + 0.1 * rng.normal(size=(64, 2))
    keras.utils.set_random_seed(1)
    model = cls(dim=2, context_dim=2, hidden=(8,))
    model.adapt(x, y)
    model.compile("sgd")
    model.fit(x, y, batch_size=32, epochs=1, shuffle=False, verbose=0)
    distribution = model.distribution(x)
    draws = model.sample(3, x, seed=1), distribution.sample(seed=[1, 2])
    return [*model.get_weights(), distribution.log_prob(y), *draws]


@pytest.mark.slow
@pytest.mark.parametrize("cls", [MDN, NSF])
def test_new_models_train_as_in_float32(setting, cls):
    found = trained(cls)
    with single_precision():
        expected = trained(cls)
    for value, other in zip(found, expected, strict=True):
        assert np.asarray(value).dtype == "float32"
        np.testing.assert_allclose(value, other, rtol=1e-4, atol=1e-5)


def test_statistics_of_maps_keep_their_precision(setting):
    maps = np.random.default_rng(2).normal(size=(2, 16, 16, 2)).astype("float32")
    arguments = {"size": 16, "channels": 2, "noise_std": 1.0, "signal": np.tile(np.eye(2), (4, 1, 1)), "bands": 4}
    found = FieldStatistics(**arguments)(maps)
    with single_precision():
        np.testing.assert_array_equal(found, FieldStatistics(**arguments)(maps))


def test_estimators_keep_their_precision(setting, tmp_path):
    prior = tfp.distributions.Independent(tfp.distributions.Normal(tf.zeros(1), 1.0), 1)
    rng = np.random.default_rng(3)
    theta = rng.normal(size=(200, 1)).astype("float32")
    x = theta + 0.1 * rng.normal(size=(200, 1)).astype("float32")
    estimator = sbi.NPE(prior, density="mdn", options={"components": 1, "hidden": (8,)})
    estimator.fit(theta, x, max_epochs=1, progress=False)
    estimator.save(tmp_path / "estimator.zip")
    draws = [e.posterior(x[0]).sample(5, seed=1) for e in (estimator, sbi.load(tmp_path / "estimator.zip", prior))]
    assert draws[0].dtype == "float32"
    np.testing.assert_array_equal(*draws)
