"""A small recipe with all that makes training depend on its history: noise, dropout, averages, stages."""

import dataclasses
import os
import time

import keras
import numpy as np
import tensorflow as tf

from deepcosmo.metrics import Metric
from deepcosmo.models.base import ProbabilisticModel
from deepcosmo.training import Recipe, Stage

SIZE = {"train": 200, "validation": 33}


@keras.saving.register_keras_serializable(package="deepcosmo-tests")
class Toy(ProbabilisticModel):
    """Gaussian regression; takes `(x, y)`, or a dict with both."""

    replicas = set()  # numbers of replicas that any of these models was trained on

    def __init__(self, *, dropout=0.0, noise=0.0, **kwargs):
        super().__init__(**kwargs)
        self.rate, self.noise = dropout, noise
        self.random = keras.random.SeedGenerator(7)
        self.hidden = keras.layers.Dense(16, activation="tanh")
        self.dropout = keras.layers.Dropout(dropout, seed=3)
        self.head = keras.layers.Dense(2)
        self(tf.zeros([1, 3]))

    def get_config(self):
        return {"dropout": self.rate, "noise": self.noise}

    def call(self, x, training=False):
        h = self.hidden(x["x"] if isinstance(x, dict) else x)
        if training and self.noise:
            h = h + self.noise * keras.random.normal(keras.ops.shape(h), seed=self.random)
        return self.head(self.dropout(h, training=training))

    def loss_per_example(self, x, y, y_pred):
        if tf.inside_function():
            self.replicas.add(tf.distribute.get_strategy().num_replicas_in_sync)
        y = x["y"] if y is None else y
        mean, log_std = y_pred[:, 0], y_pred[:, 1]
        return log_std + 0.5 * keras.ops.square((y - mean) * keras.ops.exp(-log_std))

    def endpoints(self):
        return {"serving_default": (self.call, [tf.TensorSpec([None, 3], name="x")])}


def pairs(split):
    """Examples (x, y), the same at every call."""
    rng = np.random.default_rng([5, split == "train"])
    x = rng.normal(size=(SIZE[split], 3)).astype("float32")
    y = (x @ [1.0, -0.5, 0.2] + 0.1 * rng.normal(size=len(x))).astype("float32")
    return tf.data.Dataset.from_tensor_slices((x, y))


def dicts(split):
    """The same as dicts; reading them can be slowed down, for a kill to find a training at work."""
    delay = float(os.environ.get("TOY_SECONDS_PER_EXAMPLE", 0))

    def example(x, y):
        if delay:
            x = tf.ensure_shape(tf.numpy_function(lambda v: (time.sleep(delay), v)[1], [x], tf.float32), [3])
        return {"x": x, "y": y}

    return pairs(split).map(example)


def jitter(batch, seed):
    """Adds noise to the inputs of a dict batch."""
    return batch | {"x": batch["x"] + 0.1 * tf.random.stateless_normal(tf.shape(batch["x"]), seed)}


def adam(steps):
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-2, steps))


def evaluate(model, progress):
    losses = [model.loss_per_example(x, y, model(x)) for x, y in progress(pairs("validation").batch(11))]
    size = SIZE["validation"]
    return [Metric(name="loss [nats]", value=float(np.mean(losses)), split="validation", size=size)]


def make_recipe(*stages, model=lambda: Toy(dropout=0.2, noise=0.1)):
    return Recipe(
        name="toy",
        version=1,
        task="regression",
        summary="A toy.",
        dataset="none",
        model=model,
        stages=stages,
        seed=11,
        evaluate=evaluate,
        golden=lambda model: {},
        limits="A test.",
        licence="MIT",
        citation="",
    )


FIRST = Stage(name="first", data=dicts, augment=jitter, optimizer=adam, epochs=4, batch_size=16, ema=0.9, shuffle=64)
SECOND = dataclasses.replace(FIRST, name="second", batch_size=32, ema=0.8, shuffle=50, steps_per_epoch=5)
RECIPE = make_recipe(FIRST, SECOND)
SHORT = make_recipe(dataclasses.replace(FIRST, epochs=2), dataclasses.replace(SECOND, epochs=1))
