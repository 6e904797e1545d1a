"""Keras model -> SavedModel with named endpoints, which TensorFlow alone can run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deepcosmo._files import creatable
from deepcosmo._types import PathLike

if TYPE_CHECKING:
    import keras

__all__ = ["save"]


def save(model: keras.Model, directory: PathLike) -> Path:
    """Writes a SavedModel with the endpoints of a model.

    Each endpoint becomes a signature of the same name: tensors in by keyword, a dict of tensors out. Neither
    deepcosmo nor Keras nor TensorFlow Probability is needed to run it:

        loaded = tf.saved_model.load(directory)
        loaded.signatures["sample"](seed=tf.constant([0, 1]), ...)

    Args:
        model: a `deepcosmo.models.ProbabilisticModel`.
        directory: where to; must be new or empty.

    Returns:
        `directory` as a `pathlib.Path`.

    Raises:
        FileExistsError: `directory` holds something.
        NotADirectoryError: a file is where a folder above `directory` should be.
        ValueError: the model has no `serving_default` endpoint, or an argument has no name.
    """
    import tensorflow as tf

    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise FileExistsError(f"{directory} exists and is not an empty folder")
    creatable(directory)
    endpoints = model.endpoints()
    if "serving_default" not in endpoints:
        raise ValueError(f"{type(model).__name__} has no 'serving_default', only {', '.join(endpoints)}")
    # As keras.export.ExportArchive does, whose variables, however, come in another order in every process.
    module, signatures, traced = tf.Module(), {}, {}
    module.weights = [variable.value for variable in model.variables]
    for name, (function, signature) in endpoints.items():
        if not all(spec.name for spec in signature):
            raise ValueError(f"endpoint {name!r} of {type(model).__name__} has an argument without a name")
        key = function, tuple(signature)
        if key not in traced:  # what is known by two names is one function
            graph = tf.function(_positional(function, signature), input_signature=signature, autograph=False)
            traced[key] = graph.get_concrete_function()
        # a concrete function: one that may be traced again is, by `save`, and written twice
        setattr(module, name, traced[key])
        signatures[name] = traced[key]
    tf.saved_model.save(module, str(directory), signatures=signatures)
    return directory


def _positional(function, signature):
    """The endpoint with its tensors in order; other arguments, with their defaults, stay out of the graph."""

    def endpoint(*tensors):
        return function(**{spec.name: tensor for spec, tensor in zip(signature, tensors, strict=True)})

    return endpoint
