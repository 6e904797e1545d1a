"""Training of small networks on simulations in memory: early stopping, best weights, one setting for all.

The choice of weights, their averages and replicas are those of `deepcosmo.training`. What differs from its `train` is
what a recipe says and an estimator cannot know: the validation loss decides how many epochs there are and how the
learning rate falls. Arrays take the place of data sets, and minutes of training need no checkpoints.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tqdm

from deepcosmo._warnings import warn
from deepcosmo.training.callbacks import KeepBest, assign
from deepcosmo.training.checkpoint import State
from deepcosmo.training.strategies import strategy as make_strategy

__all__ = ["Training", "copied", "train", "trained"]

SHORTEST = 50  # steps between two validations
COMPILED = 1000  # simulations from which on XLA saves more time than it takes to compile


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """How a network is trained; the defaults are for all problems.

    Attributes:
        validation: share of the simulations that choose the best weights.
        batch_size: simulations per step.
        learning_rate: of AdamW, at first. It is lowered by `factor` from the best weights on, `drops` times, whenever
            `patience` epochs have not improved the validation loss; the next time ends the training.
        weight_decay: of AdamW, of all weights but biases; None for 700 / number of simulations, at most 5.
        ema: decay of the moving average of the weights, which is what is validated and kept.
        max_epochs: epochs, of at least 50 steps.
        strategy: name of a `tf.distribute` strategy, as of `deepcosmo.training.train`.
        progress: whether to show a progress bar.
    """

    validation: float = 0.1
    batch_size: int = 100
    learning_rate: float = 3e-3
    weight_decay: float | None = None
    ema: float = 0.99
    patience: int = 12
    drops: int = 1
    factor: float = 0.2
    max_epochs: int = 1000
    strategy: str = "one_device"
    progress: bool = True

    def __post_init__(self):
        if not 0 < self.validation < 1:
            raise ValueError(f"validation must lie between 0 and 1; got {self.validation}")
        for name in ("batch_size", "patience", "max_epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")


class _Annealing(keras.callbacks.Callback):
    """Lowers the learning rate where validation stalls, starting again from the best weights, and stops at last."""

    def __init__(self, state, settings):
        super().__init__()
        self._state, self._settings, self._since, self._drops = state, settings, 0, settings.drops

    def on_epoch_end(self, epoch, logs=None):
        if not math.isfinite(logs["loss"]) or not math.isfinite(logs["val_loss"]):
            raise FloatingPointError(
                f"epoch {epoch + 1}: training loss {logs['loss']}, validation loss "
                f"{logs['val_loss']}; lower the learning rate or look for extreme simulations"
            )
        if epoch + 1 - max(self._state.best_epoch, self._since) < self._settings.patience:
            return
        if not self._drops:
            self.model.stop_training = True
            return
        self._drops, self._since = self._drops - 1, epoch + 1
        assign(self.model.weights, self._state.best)
        optimizer = self.model.optimizer
        # Keras has no public way to start the average anew
        assign(optimizer._model_variables_moving_average, [v.numpy() for v in self.model.trainable_variables])
        optimizer.learning_rate = float(optimizer.learning_rate) * self._settings.factor


class _Progress(keras.callbacks.Callback):
    def __init__(self, bar, history):
        super().__init__()
        self._bar, self._history = bar, history

    def on_epoch_end(self, epoch, logs=None):
        self._history.append({name: float(value) for name, value in logs.items()})
        self._bar.update()
        self._bar.set_postfix(loss=f"{logs['loss']:.3f}", validation=f"{logs['val_loss']:.3f}")


def copied(model: keras.Model) -> keras.Model:
    """A Keras model like this one, with weights of its own that have the same values."""
    config = keras.saving.serialize_keras_object(model)
    copy = keras.saving.deserialize_keras_object(config, safe_mode=False)
    copy.set_weights(model.get_weights())
    return copy


def trained(
    make: Callable[[], Any], x: np.ndarray, y: np.ndarray | dict[str, np.ndarray], *, settings: Training, seed: int
) -> tuple[Any, list[dict[str, float]]]:
    """The model that `make()` creates, adapted to arrays and trained by `train`, and its history."""
    keras.utils.set_random_seed(seed)  # of the weights, which every copy shall have
    first = make()
    first.adapt(x, y)
    weights = first.get_weights()

    def model():
        network = make()
        network.set_weights(weights)
        return network

    jit_compile = first.supports_xla and len(x) >= COMPILED
    return train(model, x, y, settings=settings, seed=seed, jit_compile=jit_compile)


def _batches(x, y, rows, size, seed=None):
    """Batches of these rows: endless and shuffled with a seed, else once and in order."""
    index = tf.data.Dataset.from_tensor_slices(rows)
    if seed is not None:
        index = index.shuffle(len(rows), seed=seed, reshuffle_each_iteration=True).repeat()
    index = index.batch(size, drop_remainder=seed is not None)
    arrays = tf.nest.map_structure(tf.constant, (x, y))
    of = lambda rows: tf.nest.map_structure(lambda v: tf.gather(v, rows), arrays)  # noqa: E731
    return index.map(of).prefetch(8)


def train(
    model: Callable[[], Any],
    x: np.ndarray,
    y: np.ndarray | dict[str, np.ndarray],
    *,
    settings: Training,
    seed: int,
    jit_compile: bool,
) -> tuple[Any, list[dict[str, float]]]:
    """Trains a built `ProbabilisticModel` on arrays and leaves the best weights in it.

    An interruption by the keyboard ends the training, with a warning, if there is a best epoch already.

    Args:
        model: () -> the model, called under the strategy.
        x, y: arrays of one length; y may be a dict of them.
        settings: `Training`.
        seed: int, of the weights, of the choice of the validation data and of the order.
        jit_compile: whether XLA compiles the step.

    Returns:
        The model, under no strategy, and a list of dicts of losses, one per epoch.
    """
    keras.utils.set_random_seed(seed)
    strategy = make_strategy(settings.strategy)
    order = np.random.default_rng(seed).permutation(len(x))
    held_out = max(5, round(settings.validation * len(x)))
    rows, rest = order[held_out:], order[:held_out]
    size = min(settings.batch_size, len(rows))
    steps = max(SHORTEST, len(rows) // size)
    decay = settings.weight_decay
    decay = min(5.0, 700.0 / len(x)) if decay is None else decay
    with strategy.scope():
        network = model()
        optimizer = keras.optimizers.AdamW(
            settings.learning_rate, weight_decay=decay, clipnorm=5.0, use_ema=True, ema_momentum=settings.ema
        )
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        # TensorFlow cannot put the loop over steps into the graph of several replicas
        at_once = steps if strategy.num_replicas_in_sync == 1 else 1
        network.compile(optimizer=optimizer, jit_compile=jit_compile, steps_per_execution=at_once)
        optimizer.build(network.trainable_variables)
    state, history = State(recipe={}), []
    with tqdm.tqdm(disable=not settings.progress, desc="training", unit=" epochs") as bar:
        callbacks = [KeepBest(state), _Annealing(state, settings), _Progress(bar, history)]
        try:
            network.fit(
                _batches(x, y, rows, size, seed),
                validation_data=_batches(x, y, rest, 1000),
                epochs=settings.max_epochs,
                steps_per_epoch=steps,
                shuffle=False,
                callbacks=callbacks,
                verbose=0,
            )
        except KeyboardInterrupt:
            if not state.best:
                raise
            warn(f"training was interrupted; the weights are those of epoch {state.best_epoch}")
    final = model() if strategy.num_replicas_in_sync > 1 else network  # a strategy's model can be used only under it
    final.set_weights(state.best)
    return final, history
