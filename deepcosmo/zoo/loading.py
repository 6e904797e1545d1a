"""Loading and finding published models."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepcosmo.zoo import store
from deepcosmo.zoo.entry import CONFIG, WEIGHTS, Entry

if TYPE_CHECKING:
    import keras

__all__ = ["download", "info", "list_models", "load", "saved_model", "url"]


def load(name_or_url: str, *, version: int | None = None, weights: bool = True) -> keras.Model:
    """A published model, ready to use, export or fine-tune.

    Args:
        name_or_url: a name, see `list_models`, or a URL `http://host/name/version`.
        version: integer; by default the one at hand, or the newest there is to download.
        weights: if false, the same network, freshly initialised.

    Returns:
        A `keras.Model`, usually a `deepcosmo.models.ProbabilisticModel`.

    Raises:
        ZooError: unknown name (the message lists the nearest), no network and no copy, newer format.
        DamagedFile: a file is not the published one and cannot be fetched again.
    """
    entry = store.find(name_or_url, version=version, files=[CONFIG, WEIGHTS] if weights else [CONFIG])
    config = json.loads((entry.directory / CONFIG).read_text(encoding="utf-8"))
    _import_classes(config)
    import keras

    model = keras.saving.deserialize_keras_object(config)
    if weights:
        model.load_weights(entry.directory / WEIGHTS)
    return model


def _import_classes(config):
    """Imports the classes of deepcosmo that a configuration names, so that Keras finds them by registered name.

    The names are looked up in `deepcosmo.models`; modules that the configuration names are ignored, so a file may move.
    """
    from deepcosmo import models

    if isinstance(config, dict):
        package, _, name = (config.get("registered_name") or "").partition(">")
        if package == "deepcosmo":
            getattr(models, name, None)
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            _import_classes(value)


def saved_model(name_or_url: str, *, version: int | None = None) -> Any:
    """A published model as TensorFlow's SavedModel, with its endpoints in `.signatures`.

    A downloaded model needs TensorFlow only; one that comes with the package is exported on the fly.
    """
    import tensorflow as tf

    entry = store.find(name_or_url, version=version, saved_model=True)
    if entry.directory.name == store.EXTRA:
        return tf.saved_model.load(str(entry.directory.parent))
    from deepcosmo import export

    with tempfile.TemporaryDirectory() as folder:
        export.save(load(name_or_url, version=version), folder)
        return tf.saved_model.load(folder)


def list_models(task: str | None = None, dataset: str | None = None) -> list[str]:
    """Names of the models on this machine, optionally of one task or one data set.

    Args:
        task: as in `Entry.task`.
        dataset: a beginning of `Entry.dataset`, such as ``"cosmos_stamps"``.
    """
    return list(store.entries(task, dataset))


def info(name_or_url: str, *, version: int | None = None) -> Entry:
    """The `Entry` of a model: what it is for, its metrics, files, limits and licence."""
    return store.find(name_or_url, version=version, files=[])


def url(name: str, *, version: int | None = None) -> str:
    """Where a model is fetched from: `<DEEPCOSMO_URL>/<name>/<version>`, also good for `hub.load`."""
    return store.remote_url(name, version)


def download(name_or_url: str, *, version: int | None = None, progress: bool = False) -> Path:
    """Makes sure that all files of a model are on this machine, whole.

    Args:
        name_or_url: as for `load`.
        version: as for `load`.
        progress: show a progress bar.

    Returns:
        The `pathlib.Path` of the folder that holds them.
    """
    return store.find(name_or_url, version=version, saved_model=True, progress=progress).directory
