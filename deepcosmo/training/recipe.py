"""Recipes: everything that determines a published model, as one immutable value."""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepcosmo._types import PathLike
from deepcosmo.zoo import store
from deepcosmo.zoo.entry import check_name

__all__ = ["Recipe", "Stage", "find_recipe", "load_recipe"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """One phase of a training; the next phase starts from the best weights of this one.

    Attributes:
        name: names the phase in logs and in the history, e.g. `"parametric"`.
        data: split (`"train"` or `"validation"`) -> finite dataset of single examples, always in the
            same order. An example is what `Model.fit` takes: `(x, y)`, or `x` alone, tensor or dict.
        optimizer: total number of steps of the stage -> a new Keras optimizer.
        epochs: number of epochs.
        batch_size: global batch size, over all replicas and workers.
        augment: `(batch, seed) -> batch`, applied to training batches; `seed` is int32[2] and must be
            its only source of randomness. None: no augmentation.
        ema: decay of the exponential moving average of the weights. The average is what is
            validated, kept as the best and published. None: the weights themselves.
        shuffle: size of the shuffle buffer, in examples; 1 keeps the order of the data.
        steps_per_epoch: steps of an epoch; None: one pass over the training data. Data are read on
            across epochs, so shorter epochs still see every example equally often.
        jit_compile: whether XLA compiles the step: faster for flows, slower for convolutions on CPU.
    """

    name: str
    data: Callable
    optimizer: Callable
    epochs: int
    batch_size: int
    augment: Callable | None = None
    ema: float | None = None
    shuffle: int = 4096
    steps_per_epoch: int | None = None
    jit_compile: bool = False

    def __post_init__(self):
        for field in ("epochs", "batch_size", "shuffle", "steps_per_epoch"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise ValueError(f"stage {self.name!r}: {field} must be at least 1, got {value}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"stage {self.name!r}: ema must lie between 0 and 1, got {self.ema}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that determines a published model. `deepcosmo train NAME` runs it.

    Attributes:
        name: `<family>_<dataset>`, the name in the zoo.
        version: integer, raised whenever new weights are published.
        task: what the model is for, e.g. `"generation"`.
        summary: one sentence.
        dataset: TFDS name, configuration and version, e.g. `"cosmos_stamps/parametric:1.0.0"`.
        model: () -> a new, built `ProbabilisticModel`, with its normalisation measured.
        stages: the phases of the training, in order.
        evaluate: `(model, progress) -> [Metric, ...]`, measured on a split that training never saw;
            `progress` wraps an iterable in a progress bar.
        golden: `model -> {"<endpoint>/<in|out>/<name>": array}`: fixed inputs, seeds included, and
            the outputs that every copy of the model has to reproduce.
        seed: the one seed that initial weights, data order, augmentation and dropout derive from.
        limits: where the model must not be used.
        licence: licence of the weights.
        citation: what to cite.
    """

    name: str
    version: int
    task: str
    summary: str
    dataset: str
    model: Callable
    stages: tuple[Stage, ...]
    evaluate: Callable
    golden: Callable
    seed: int = 0
    limits: str
    licence: str
    citation: str

    def __post_init__(self):
        check_name(self.name)
        names = [stage.name for stage in self.stages]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"recipe {self.name!r} needs stages of different names, got {names}")


def find_recipe(name_or_path: PathLike) -> Path:
    """The file that defines a recipe.

    Args:
        name_or_path: a model's name in the zoo, a folder with a `recipe.py`, or a Python file.

    Raises:
        FileNotFoundError: there is no such recipe; the message names the nearest ones.
    """
    path, zoos = Path(name_or_path), store.local_roots()
    candidates = [path, path / "recipe.py", *(zoo / name_or_path / "recipe.py" for zoo in zoos)]
    for file in candidates:
        if file.suffix == ".py" and file.is_file():
            return file
    known = sorted({file.parent.name for zoo in zoos for file in zoo.glob("*/recipe.py")})
    near = difflib.get_close_matches(str(name_or_path), known, cutoff=0.3) or known
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise FileNotFoundError(f"no recipe {str(name_or_path)!r} in the zoo{hint}")


def load_recipe(name_or_path: PathLike, *, dataset: str | None = None) -> Recipe:
    """Loads a `Recipe`.

    Args:
        name_or_path: as for `find_recipe`; the file defines `RECIPE`, and perhaps the same for other data sets.
        dataset: data set of one of those, with or without its version.

    Raises:
        FileNotFoundError: there is no such recipe.
        ValueError: the file cannot be imported, or defines no `RECIPE`, or none for `dataset`.
    """
    file = find_recipe(name_or_path)
    spec: Any = importlib.util.spec_from_file_location(f"deepcosmo_recipe_{file.parent.name}", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where TensorFlow looks up what a function's globals are
    try:
        spec.loader.exec_module(module)
    except (ImportError, SyntaxError) as error:
        raise ValueError(f"{file} cannot be imported: {error}") from error
    recipe = getattr(module, "RECIPE", None)
    if not isinstance(recipe, Recipe):
        raise ValueError(f"{file} must define RECIPE, a deepcosmo.training.Recipe")
    if dataset is None:
        return recipe
    others = [value for value in vars(module).values() if isinstance(value, Recipe)]
    for recipe in others:
        if dataset in (recipe.dataset, recipe.dataset.partition(":")[0]):
            return recipe
    known = ", ".join(recipe.dataset for recipe in others)
    raise ValueError(f"no recipe for the data set {dataset!r} in {file}, only for: {known}")
