"""What a training leaves behind for the model's entry in the zoo, and measuring published models."""

import functools
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path

from deepcosmo.training.recipe import load_recipe

__all__ = ["environment", "evaluate", "training_record"]


def _git_revision():
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():
        return None
    run = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True)
    return run.stdout.strip() or None


def _hardware():
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
        return f"{len(gpus)} x {name}"
    return f"{os.cpu_count()} CPU cores, {platform.machine()}"


@functools.cache
def environment():
    """Hardware, git revision and package versions of this process, as `model.json` records them."""
    from deepcosmo import __version__

    versions = {"python": platform.python_version(), "deepcosmo": __version__}
    for package in ("tensorflow", "keras", "tensorflow-probability"):
        versions[package] = importlib.metadata.version(package)
    return {"hardware": _hardware(), "git_revision": _git_revision(), "versions": versions}


def training_record(work_dir):
    """The `training` part of `model.json`: seconds, hardware, git revision and versions.

    Args:
        work_dir: the folder that `train` worked in.
    """
    return json.loads((Path(work_dir) / "history.json").read_text())["training"]


def evaluate(name, *, progress=None):
    """Measures a published model by its recipe and writes the figures into `model.json` and the card.

    Args:
        name: its name in the zoo.
        progress: wraps an iterable in a progress bar; by default tqdm's, on a terminal only.

    Returns:
        The new `deepcosmo.zoo.Entry`.

    Raises:
        ZooError: no such model, or it is no part of a local zoo, where its figures could be written.
    """
    import tqdm

    from deepcosmo import zoo
    from deepcosmo.zoo import store

    folder = zoo.info(name).directory
    if folder.parent not in store.local_roots():
        raise zoo.ZooError(f"{name} is a download in {folder}; only models in a local zoo are evaluated")
    progress = progress or functools.partial(tqdm.tqdm, disable=None)
    metrics = load_recipe(folder).evaluate(zoo.load(name), progress)
    return zoo.record_metrics(name, metrics, root=folder.parent)
