"""A recipe of a second or two, for `SmallModel`."""

import keras
import numpy as np
import tensorflow as tf
from small_model import SmallModel

from deepcosmo.metrics import Metric
from deepcosmo.training import Recipe, Stage
from deepcosmo.zoo import golden


def data(split):
    rng = np.random.default_rng(["train", "validation", "test"].index(split))
    x = rng.normal(size=(64, 3)).astype("float32")
    return tf.data.Dataset.from_tensor_slices((x, x.sum(1)))


def evaluate(model, progress):
    values = [-model.log_prob(x, y).numpy().mean() for x, y in progress(list(data("test").batch(16)))]
    error = float(np.std(values, ddof=1) / 2)
    return [Metric(name="NLL [nat]", value=float(np.mean(values)), error=error, split="test", size=64)]


def golden_arrays(model):
    x, y = next(iter(data("test").batch(5)))
    inputs = {"log_prob": {"x": x, "y": y}, "sample": {"x": x, "seed": np.array([3, 4], "int32")}}
    return golden.record(model, inputs)


RECIPE = Recipe(
    name="small_cosmos",
    version=1,
    task="regression",
    summary="A small model that tests the zoo.",
    dataset="none/small:1.0.0",
    model=SmallModel,
    stages=(Stage(name="only", data=data, optimizer=lambda n: keras.optimizers.Adam(), epochs=2, batch_size=16),),
    evaluate=evaluate,
    golden=golden_arrays,
    seed=1,
    limits="Not for science.",
    licence="MIT",
    citation="None.",
)
