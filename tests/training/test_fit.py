import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import toy
from tensorflow.core.util.event_pb2 import Event
from toy import Stage, Toy, dicts, make_recipe, pairs

from deepcosmo.training import data, fit_part, train
from deepcosmo.training.checkpoint import State


def sgd(steps):
    return keras.optimizers.SGD(0.05)


def then(first, second):
    """SGD whose learning rate changes halfway."""
    change = keras.optimizers.schedules.PiecewiseConstantDecay
    return lambda steps: keras.optimizers.SGD(change([steps // 2 - 1], [first, second]))


def loss(model):
    x, y = next(iter(pairs("validation").batch(1000)))
    return float(np.mean(model.loss_per_example(x, y, model(x))))


def test_averaged_weights_are_validated_and_returned(tmp_path):
    stage = Stage(name="a", data=pairs, optimizer=sgd, epochs=1, batch_size=40, ema=0.7, shuffle=1)
    model = train(make_recipe(stage, model=Toy), work_dir=tmp_path)

    keras.utils.set_random_seed(11)
    reference = Toy()
    reference.compile(sgd(5))
    average = None
    for x, y in pairs("train").batch(40):
        reference.train_on_batch(x, y)
        new = reference.get_weights()
        average = [0.7 * a + 0.3 * w for a, w in zip(average or new, new, strict=True)]
    for a, b in zip(model.get_weights(), average, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    state = State.load(tmp_path / "checkpoint.npz")
    assert state.best_loss == pytest.approx(loss(model), rel=1e-5)
    # Training itself goes on from the weights, not from their average.
    trained = [v for v in state.model if v.dtype == np.float32]
    assert max(np.abs(a - b).max() for a, b in zip(trained, average, strict=True)) > 1e-3


def test_a_part_ends_with_its_averaged_weights():
    """As a recipe's only stage does where its last epoch is its best."""
    stage = Stage(name="a", data=pairs, optimizer=sgd, epochs=2, batch_size=40, ema=0.7)
    keras.utils.set_random_seed(11)
    part = fit_part(Toy(), stage, seed=[1, 2])
    keras.utils.set_random_seed(11)
    reference = Toy()
    reference.compile(sgd(10))
    average = None
    batches, steps = data.training_batches(stage, seed=[1, 2])
    for x, y in batches.take(2 * steps):
        reference.train_on_batch(x, y)
        new = reference.get_weights()
        average = [0.7 * a + 0.3 * w for a, w in zip(average or new, new, strict=True)]
    for a, b in zip(part.get_weights(), average, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_best_epoch_is_returned_and_starts_the_next_stage(tmp_path):
    first = Stage(name="first", data=pairs, optimizer=then(0.05, -0.02), epochs=4, batch_size=20)
    still = Stage(name="still", data=dicts, optimizer=then(0.0, 0.0), epochs=2, batch_size=8)
    model = train(make_recipe(first, still, model=Toy), work_dir=tmp_path)
    history = json.loads((tmp_path / "history.json").read_text())["history"]
    losses = [e["val_loss"] for e in history if e["stage"] == "first"]
    assert np.argmin(losses) == 1 and losses[3] > losses[1] + 0.01
    assert [e["best"] for e in history] == [True, True, False, False, True, False]
    assert loss(model) == pytest.approx(losses[1], rel=1e-5)
    assert [e["val_loss"] for e in history[4:]] == pytest.approx([losses[1]] * 2, rel=1e-5)


def test_writes_history_and_tensorboard_logs(tmp_path, capsys):
    stage = Stage(name="a", data=pairs, optimizer=toy.adam, epochs=2, batch_size=50)
    train(make_recipe(stage, model=Toy), work_dir=tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[0].startswith("a 1/2  loss ")
    content = json.loads((tmp_path / "history.json").read_text())
    assert content["seconds"] == pytest.approx(sum(e["seconds"] for e in content["history"]), abs=0.06)
    assert content["history"][1]["learning_rate"] == pytest.approx(0, abs=1e-9)  # cosine decay has ended
    (file,) = (tmp_path / "logs" / "a").iterdir()
    events = [Event.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(file))]
    found = {(v.tag, e.step): tf.make_ndarray(v.tensor) for e in events for v in e.summary.value}
    for step, entry in enumerate(content["history"], 1):
        assert found["val_loss", step] == pytest.approx(entry["val_loss"])


def test_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(tmp_path):
    stage = Stage(name="a", data=pairs, optimizer=then(0.01, 1e30), epochs=2, batch_size=20)
    with pytest.raises(FloatingPointError, match="stage 'a', epoch 2"):
        train(make_recipe(stage, model=Toy), work_dir=tmp_path)
    state = State.load(tmp_path / "checkpoint.npz")
    assert state.epoch == 1 and all(np.isfinite(v).all() for v in state.model)


def test_xla(tmp_path):
    """The same with and without compilation, to rounding."""
    models = []
    for jit in (False, True):
        stage = Stage(name="a", data=dicts, optimizer=sgd, epochs=1, batch_size=20, jit_compile=jit)
        models.append(train(make_recipe(stage, model=Toy), work_dir=tmp_path / str(jit)))
    for a, b in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def numbers(size):
    return lambda split: tf.data.Dataset.range(size)


def take(stage, steps, first_epoch=0, seed=(1, 2)):
    batches, _ = data.training_batches(stage, seed=np.array(seed, np.int32), first_epoch=first_epoch)
    return np.array(list(batches.take(steps).as_numpy_iterator()))


def test_stream_is_seeded_passes_and_can_start_anywhere():
    def noisy(batch, seed):
        return tf.cast(batch, tf.float64) + 0.5 * tf.random.stateless_uniform([4], seed, dtype=tf.float64)

    stage = Stage(
        name="a", data=numbers(10), augment=noisy, optimizer=sgd, epochs=15, batch_size=4, shuffle=6, steps_per_epoch=1
    )
    stream = take(stage, 15)
    tf.random.set_seed(0)  # of no consequence
    passes = np.floor(stream).reshape(6, 10)
    np.testing.assert_array_equal(np.sort(passes), np.tile(np.arange(10), (6, 1)))  # each example once a pass
    assert len(np.unique(passes, axis=0)) == 6
    assert len(np.unique(stream % 1)) == 60  # no two noises alike
    for first in (1, 2, 3, 7, 13):
        np.testing.assert_array_equal(take(stage, 15 - first, first), stream[first:])
    assert not np.array_equal(np.floor(take(stage, 15, seed=(3, 2))), np.floor(stream))


def test_steps_per_epoch():
    def steps(**fields):
        stage = Stage(name="a", optimizer=sgd, epochs=1, batch_size=4, **fields)
        return data.training_batches(stage, seed=(1, 2))[1]

    assert steps(data=numbers(11)) == 2
    assert steps(data=numbers(3)) == 1
    assert steps(data=lambda split: numbers(20)(split).filter(lambda i: i < 9)) == 2
    assert steps(data=numbers(11), steps_per_epoch=7) == 7
    for bad in (numbers(0), lambda split: numbers(2)(split).repeat()):
        with pytest.raises(ValueError, match="stage 'a': its train data must be finite"):
            steps(data=bad)


def test_validation_data_come_whole_and_in_order():
    stage = Stage(name="a", data=numbers(10), optimizer=sgd, epochs=1, batch_size=4)
    batches = data.validation_batches(stage)
    assert [list(batch) for batch in batches.as_numpy_iterator()] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
