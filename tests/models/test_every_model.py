"""What every model promises: losses, gradients, files, SavedModels, replicas."""

import functools
import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import CHECKOUT, TESTS, python
from small_models import CASES, N

from deepcosmo import export, models
from deepcosmo.zoo import golden

SEED = np.array([3, 4], "int32")
every = pytest.mark.parametrize("name", CASES)


@functools.cache
def built(name):
    """A model, made once."""
    return CASES[name].build()


@functools.cache
def called(name):
    """How the endpoints of a model are called; each is traced once."""
    return golden.call_keras(built(name))


@functools.cache
def expected(name):
    """What the endpoints of a model return, called once."""
    return outputs(called(name), built(name), name)


def test_no_model_is_left_out():
    exported = {name: getattr(models, name) for name in dir(models)}
    exported = {
        name for name, cls in exported.items() if inspect.isclass(cls) and issubclass(cls, models.ProbabilisticModel)
    }
    assert CASES.keys() == exported - {"ProbabilisticModel", "ConditionalDensity"}  # which others are made of


def batch(case):
    """x and y of the first examples, y None where there is none."""
    x, y = (*case.fit, None)[:2]
    return keras.tree.map_structure(lambda v: None if v is None else tf.constant(v[:N]), (x, y))


@every
def test_loss_is_one_number_an_example(name):
    x, y = batch(CASES[name])
    model = built(name)
    loss = model.loss_per_example(x, y, model(x))
    assert loss.shape == (N,) and np.all(np.isfinite(loss))


@every
def test_gradients_reach_every_weight(name):
    x, y = batch(CASES[name])
    model = built(name)
    weights = [w for w in model.trainable_weights if not any(part in w.path for part in CASES[name].untrained)]
    assert weights
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model.loss_per_example(x, y, model(x)))
    gradients = tape.gradient(loss, [w.value for w in weights])
    reached = [gradient is not None and np.any(gradient) for gradient in gradients]
    assert all(reached), [w.path for w, here in zip(weights, reached, strict=True) if not here]


def outputs(call, model, name, seed=SEED):
    """What the endpoints return: endpoint -> dict of arrays."""
    arguments = CASES[name].arguments | {"seed": seed}
    inside = {
        endpoint: {spec.name: arguments[spec.name] for spec in signature}
        for endpoint, (_, signature) in model.endpoints().items()
        if endpoint != "serving_default"
    }
    return {endpoint: call(endpoint, given) for endpoint, given in inside.items()}


def assert_same(found, expected, tolerance):
    assert found.keys() == expected.keys()
    for endpoint, values in expected.items():
        for key, value in values.items():
            scale = np.sqrt(np.mean(np.square(value, dtype=float))) + 1e-30
            np.testing.assert_allclose(
                found[endpoint][key], value, rtol=tolerance, atol=tolerance * scale, err_msg=f"{endpoint}/{key}"
            )


@every
def test_a_reloaded_model_and_its_saved_model_draw_the_same(name, tmp_path):
    """Graphs of other models may add in another order."""
    model = built(name)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    for one, two in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(one, two)
    loaded = tf.saved_model.load(str(export.save(again, tmp_path / "saved")))
    assert_same(outputs(golden.call_saved_model(loaded), again, name), expected(name), 1e-5)


@every
def test_seeds_are_all_that_is_random(name):
    """Same seeds give the same numbers, others give others where an endpoint takes a seed."""
    model = built(name)
    for endpoint, values in outputs(called(name), model, name).items():
        assert all(np.array_equal(value, expected(name)[endpoint][key]) for key, value in values.items()), endpoint
    for endpoint, values in outputs(called(name), model, name, SEED + 1).items():
        same = all(np.array_equal(value, expected(name)[endpoint][key]) for key, value in values.items())
        assert same == ("seed" not in [spec.name for spec in model.endpoints()[endpoint][1]]), endpoint


@pytest.mark.parametrize("name", ["MAF", "PreparedDensity", "MapPosterior"])
def test_masked_values_are_refused(name):
    """They are in arrays like any numbers, such as -999."""
    x, y = CASES[name].fit
    hidden = np.ma.array(x)
    hidden[1] = np.ma.masked
    with pytest.raises(ValueError, match="masked values, and models take none"):
        built(name).log_prob(y, hidden)


REPLICAS = """
import sys
import keras
import numpy as np
import tensorflow as tf
from small_models import CASES, N

two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
# no collectives, which would need a process of its own for each model
mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], tf.distribute.ReductionToOneDevice())
for name in sys.argv[1:]:
    case, finals = CASES[name], []
    x, y = (*case.fit, None)[:2]
    x, y = keras.tree.map_structure(lambda v: None if v is None else v[:N], (x, y))
    for strategy in (tf.distribute.get_strategy(), mirrored):
        with strategy.scope():
            model = case.build()
            model.compile(keras.optimizers.SGD(1e-3), jit_compile=False)
        start = model.get_weights()
        history = model.fit(x, y, batch_size=N, epochs=1, shuffle=False, verbose=0).history
        finals.append(([history["loss"]], model.get_weights()))
    (loss_one, one), (loss_two, two) = finals
    moved = max(np.abs(a - b).max() for a, b in zip(start, one))
    apart = max(np.abs(a - b).max() for a, b in zip(one, two))
    print(name, moved, apart, abs(loss_one[0][0] / loss_two[0][0] - 1))
"""

STOCHASTIC = {"GalaxyVAE", "FlowVAE"}
"""Their losses draw noise in `fit`, other noise on each replica."""


@pytest.mark.slow
def test_two_replicas_take_the_step_of_one():
    """By gradient descent, of which a loss that is twice as large would make a longer step."""
    names = [name for name in CASES if name not in STOCHASTIC]
    done = python("-c", REPLICAS, *names, path=(CHECKOUT, TESTS, TESTS / "models"))
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.split() for line in done.stdout.splitlines() if line.split()[0] in CASES]
    assert {line[0] for line in lines} == CASES.keys() - STOCHASTIC
    for name, *values in lines:
        moved, apart, loss = map(float, values)
        assert moved > 1e-5 and apart < 0.02 * moved + 2e-7 and loss < 1e-4, (name, moved, apart, loss)
