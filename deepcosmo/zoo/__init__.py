"""Published models: find, load and download them.

    model = deepcosmo.zoo.load("flow_vae_cosmos")                # a keras.Model
    model = deepcosmo.zoo.load("http://host/flow_vae_cosmos/1")  # from a download tree
    deepcosmo.zoo.list_models(dataset="cosmos_stamps")
    deepcosmo.zoo.info("flow_vae_cosmos").metrics

A name is looked up in the folder `DEEPCOSMO_ZOO`, among the models that come with the package, in the
cache (`DEEPCOSMO_CACHE`) and at `DEEPCOSMO_URL`, in this order. Every file is checked against its SHA-256
before use.
"""

import importlib
import json
import tempfile

from deepcosmo.zoo import store
from deepcosmo.zoo.entry import CONFIG, WEIGHTS, DamagedFile, Entry, ZooError

__all__ = [
    "DamagedFile",
    "Entry",
    "ZooError",
    "download",
    "info",
    "list_models",
    "load",
    "publish",
    "record_metrics",
    "saved_model",
    "url",
]


def load(name_or_url, *, version=None, weights=True):
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
    import keras

    config = json.loads((entry.directory / CONFIG).read_text(encoding="utf-8"))
    module = config.get("module") or ""
    if module.split(".")[0] == "deepcosmo":  # registers the class; nothing else is ever imported for a config
        importlib.import_module(module)
    model = keras.saving.deserialize_keras_object(config)
    if weights:
        model.load_weights(entry.directory / WEIGHTS)
    return model


def saved_model(name_or_url, *, version=None):
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


def list_models(task=None, dataset=None):
    """Names of the models on this machine, optionally of one task or one data set.

    Args:
        task: as in `Entry.task`.
        dataset: a beginning of `Entry.dataset`, such as ``"cosmos_stamps"``.
    """
    return [
        name
        for name, entry in store.entries().items()
        if task in (None, entry.task) and entry.dataset.startswith(dataset or "")
    ]


def info(name_or_url, *, version=None):
    """The `Entry` of a model: what it is for, its metrics, files, limits and licence."""
    return store.find(name_or_url, version=version, files=[])


def url(name, *, version=None):
    """Where a model is fetched from: `<DEEPCOSMO_URL>/<name>/<version>`, also good for `hub.load`."""
    return store.remote_url(name, version)


def download(name_or_url, *, version=None, progress=False):
    """Makes sure that all files of a model are on this machine, whole.

    Args:
        name_or_url: as for `load`.
        version: as for `load`.
        progress: show a progress bar.

    Returns:
        The `pathlib.Path` of the folder that holds them.
    """
    return store.find(name_or_url, version=version, saved_model=True, progress=progress).directory


def publish(model, recipe, *, metrics, training, root=None, source=None):
    """Writes a trained model into the zoo, see `deepcosmo.zoo.publishing`."""
    from deepcosmo.zoo import publishing

    return publishing.publish(model, recipe, metrics=metrics, training=training, root=root, source=source)


def record_metrics(name, metrics, *, root=None):
    """Replaces the metrics of a published model, see `deepcosmo.zoo.publishing`."""
    from deepcosmo.zoo import publishing

    return publishing.record_metrics(name, metrics, root=root)
