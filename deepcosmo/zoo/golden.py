"""Golden arrays: fixed inputs of a model's endpoints and the outputs that they gave when it was published.

Arrays are named `<endpoint>/in/<argument>` and `<endpoint>/out/<output>`; an endpoint that returns one
tensor calls it `output_0`, as SavedModel signatures do. This file needs NumPy only, so that a SavedModel
can be checked where deepcosmo is not installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import keras
    from numpy.typing import ArrayLike

__all__ = ["TOLERANCE", "call_keras", "call_saved_model", "deviations", "record"]

Call: TypeAlias = "Callable[[str, Mapping[str, ArrayLike]], dict[str, np.ndarray]]"

TOLERANCE = 1e-4
"""Largest deviation, relative to |value| + rms, that other hardware and other compilers account for."""


def call_keras(model: keras.Model) -> Call:
    """How `deviations` calls a Keras model: (endpoint, arguments) -> outputs, both dicts of arrays."""
    import tensorflow as tf

    graphs = {
        endpoint: (tf.function(function, autograph=False), signature)
        for endpoint, (function, signature) in model.endpoints().items()
    }

    def call(endpoint, arguments):
        graph, signature = graphs[endpoint]
        outputs = graph(**{s.name: tf.constant(arguments[s.name], s.dtype) for s in signature})
        outputs = outputs if isinstance(outputs, dict) else {"output_0": outputs}
        return {name: np.asarray(value) for name, value in outputs.items()}

    return call


def call_saved_model(loaded: Any) -> Call:
    """How `deviations` calls a SavedModel loaded with `tf.saved_model.load` or `hub.load`."""
    import tensorflow as tf

    def call(endpoint, arguments):
        signature = loaded.signatures[endpoint]
        specs = signature.structured_input_signature[1]
        tensors = {name: tf.constant(arguments[name], spec.dtype) for name, spec in specs.items()}
        outputs = signature(**tensors)
        return {name: np.asarray(value) for name, value in outputs.items()}

    return call


def record(model: keras.Model, inputs: Mapping[str, Mapping[str, ArrayLike]]) -> dict[str, np.ndarray]:
    """The golden arrays of a Keras model.

    Args:
        model: a `ProbabilisticModel`.
        inputs: endpoint -> {argument: array}; where the endpoint draws, its `seed` is among them.
    """
    call = call_keras(model)
    golden = {}
    for endpoint, arguments in inputs.items():
        golden |= {f"{endpoint}/in/{name}": np.asarray(value) for name, value in arguments.items()}
        golden |= {f"{endpoint}/out/{name}": value for name, value in call(endpoint, arguments).items()}
    return golden


def deviations(call: Call, golden: Mapping[str, np.ndarray]) -> dict[str, float]:
    """How far a model is from its golden arrays.

    Args:
        call: the model, see `call_keras` and `call_saved_model`.
        golden: arrays by name, such as the content of `golden.npz`.

    Returns:
        name of each `out` array -> max |new - old| / (|old| + rms(old)); infinite where shapes or
        non-finite values differ.
    """
    names = list(golden)
    result = {}
    for endpoint in dict.fromkeys(name.split("/")[0] for name in names):
        inside = {name.split("/")[2]: golden[name] for name in names if name.startswith(f"{endpoint}/in/")}
        outputs = call(endpoint, inside)
        for name in names:
            if name.startswith(f"{endpoint}/out/"):
                result[name] = _deviation(outputs[name.split("/")[2]], golden[name])
    return result


def _deviation(new, old):
    if new.shape != old.shape:
        return np.inf
    new, old = new.astype(float), old.astype(float)
    finite = np.isfinite(old)
    if not np.array_equal(new[~finite], old[~finite], equal_nan=True):
        return np.inf
    new, old = new[finite], old[finite]
    if not np.all(np.isfinite(new)):
        return np.inf
    if not old.size:
        return 0.0
    scale = np.abs(old) + np.sqrt(np.mean(old**2))
    return float(np.max(np.abs(new - old) / np.where(scale > 0, scale, 1)))
