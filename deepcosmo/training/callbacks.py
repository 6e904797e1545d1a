"""Keras callbacks of a stage: averaged weights, best weights, checkpoints, logs."""

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from deepcosmo._types import PathLike
from deepcosmo.training.checkpoint import State
from deepcosmo.training.recipe import Stage

__all__ = ["Checkpoint", "KeepBest", "Log", "assign", "state_variables"]

# `tf.summary.scalar` needs TensorBoard installed; logs can be written without it.
_SCALAR = tf.compat.v1.SummaryMetadata(plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"))


def assign(variables: Iterable[keras.Variable], values: Iterable[np.ndarray]) -> None:
    """Sets variables, on every replica, to arrays."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def state_variables(model: keras.Model) -> list[keras.Variable]:
    """A model's variables without those of its metrics, which start anew each epoch."""
    metrics = {id(v) for v in model.metrics_variables}
    return [v for v in model.variables if id(v) not in metrics]


def _values(variables):
    return [v.numpy() for v in variables]


class KeepBest(keras.callbacks.Callback):
    """Validates the averaged weights, where the optimizer keeps them, and remembers the best."""

    def __init__(self, state: State) -> None:
        super().__init__()
        self._state = state

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch + 1

    def on_test_begin(self, logs: Any = None) -> None:
        optimizer = self.model.optimizer
        self._raw = _values(self.model.trainable_variables)
        if optimizer.use_ema:
            optimizer.finalize_variable_values(self.model.trainable_variables)

    def on_test_end(self, logs: Any = None) -> None:
        if logs["loss"] < self._state.best_loss:
            self._state.best_epoch, self._state.best_loss = self._epoch, float(logs["loss"])
            self._state.best = _values(self.model.weights)
        assign(self.model.trainable_variables, self._raw)


class Checkpoint(keras.callbacks.Callback):
    """Adds each epoch to the history and, on the chief, writes the state.

    Raises:
        FloatingPointError: the loss of an epoch is not finite. The last checkpoint stays as it was.
    """

    def __init__(self, state: State, stage: Stage, write: Callable[[State], None] | None) -> None:
        super().__init__()
        self._state, self._stage, self._write = state, stage, write

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs = {name: float(value) for name, value in logs.items()}
        if not math.isfinite(logs["loss"]) or not math.isfinite(logs["val_loss"]):
            raise FloatingPointError(
                f"stage {self._stage.name!r}, epoch {epoch + 1}: training loss {logs['loss']}, validation "
                f"loss {logs['val_loss']}; lower the learning rate or look for bad examples"
            )
        state = self._state
        state.epoch = epoch + 1
        state.history.append(
            {
                "stage": self._stage.name,
                "epoch": epoch + 1,
                **logs,
                "best": state.best_epoch == epoch + 1,
                "learning_rate": float(self.model.optimizer.learning_rate.numpy()),
                "seconds": round(time.monotonic() - self._start, 3),
            }
        )
        state.model = _values(state_variables(self.model))
        state.optimizer = _values(self.model.optimizer.variables)
        if self._write is not None:
            self._write(state)


class Log(keras.callbacks.Callback):
    """TensorBoard scalars and, if asked, one printed line per epoch. Comes after `Checkpoint`."""

    def __init__(self, state: State, stage: Stage, folder: PathLike, lines: bool) -> None:
        super().__init__()
        self._state, self._stage, self._lines = state, stage, lines
        self._writer = tf.summary.create_file_writer(str(folder))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        entry = self._state.history[-1]
        with self._writer.as_default(step=epoch + 1):
            for name, value in entry.items():
                if isinstance(value, float):
                    tf.summary.write(name, tf.constant(value), metadata=_SCALAR)
        self._writer.flush()
        if self._lines:
            figures = "  ".join(f"{name} {float(value):.5g}" for name, value in logs.items())
            best = "  (best)" if entry["best"] else ""
            print(
                f"{self._stage.name} {epoch + 1}/{self._stage.epochs}  {figures}  {entry['seconds']:.1f} s{best}",
                flush=True,
            )
