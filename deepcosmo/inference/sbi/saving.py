"""Trained estimators as files: a zip archive of Keras models, JSON and arrays."""

import dataclasses
import json
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import keras
import numpy as np

from deepcosmo._files import write_atomically
from deepcosmo._types import PathLike
from deepcosmo.inference.sbi.training import copied
from deepcosmo.models._precision import single_precision

__all__ = ["Saved", "read", "save"]

FACTS, ARRAYS = "estimator.json", "arrays.npz"


@dataclasses.dataclass(kw_only=True)
class Saved:
    """What there is to know of a trained estimator.

    Attributes:
        kind: name of its class.
        facts: numbers, names and lists, as JSON has them.
        arrays: NumPy arrays by name.
        models: Keras models by name.
        members: `Saved` of the estimators that it is made of.
    """

    kind: str
    facts: dict = dataclasses.field(default_factory=dict)
    arrays: dict = dataclasses.field(default_factory=dict)
    models: dict = dataclasses.field(default_factory=dict)
    members: list = dataclasses.field(default_factory=list)


@single_precision()
def save(estimator: Any, path: PathLike) -> None:
    """Writes a trained estimator or ensemble to a file, for `sbi.load(path, prior)`.

    Raises:
        RuntimeError: it is not trained.
        FileNotFoundError: there is no such folder.
    """
    state, path = estimator.state(), Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} into: create it first")
    with tempfile.TemporaryDirectory() as folder:
        _write(state, Path(folder))
        files = sorted(p for p in Path(folder).rglob("*") if p.is_file())

        def pack(file):
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                for p in files:
                    archive.write(p, p.relative_to(folder))

        write_atomically(path, pack)


@single_precision()
def read(path: PathLike) -> Saved:
    """The `Saved` that a file holds.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not what `save` has written, or damaged.
    """
    try:
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
            return _read(Path(folder))
    except FileNotFoundError as error:
        if not Path(path).exists():
            raise
        raise ValueError(f"{path} is no file of sbi.save: it has no {Path(error.filename or '').name}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is no file of sbi.save, or it is damaged: {error}") from error


def _write(saved, folder):
    for name, model in saved.models.items():
        copied(model).save(folder / f"{name}.keras")  # without the optimizer
    if saved.arrays:
        np.savez(folder / ARRAYS, **saved.arrays)
    facts = {"kind": saved.kind, "members": len(saved.members), **saved.facts}
    (folder / FACTS).write_text(json.dumps(facts))
    for i, member in enumerate(saved.members):
        (folder / str(i)).mkdir()
        _write(member, folder / str(i))


def _read(folder):
    facts = json.loads((folder / FACTS).read_text())
    arrays = {}
    if (folder / ARRAYS).exists():
        with np.load(folder / ARRAYS) as file:
            arrays = dict(file)
    models = {file.stem: keras.saving.load_model(file, compile=False) for file in folder.glob("*.keras")}
    members = [_read(folder / str(i)) for i in range(facts.pop("members", 0))]
    return Saved(kind=facts.pop("kind"), facts=facts, arrays=arrays, models=models, members=members)
