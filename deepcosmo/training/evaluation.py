"""Measuring published models by their recipes."""

import functools

import tqdm

from deepcosmo import zoo
from deepcosmo.training.recipe import load_recipe
from deepcosmo.zoo import store

__all__ = ["evaluate"]


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
    entry = zoo.info(name)
    folder = entry.directory
    if folder.parent not in store.local_roots():
        raise zoo.ZooError(f"{name} is a download in {folder}; only models in a local zoo are evaluated")
    progress = progress or functools.partial(tqdm.tqdm, disable=None)
    metrics = load_recipe(folder, dataset=entry.dataset).evaluate(zoo.load(name), progress)
    return zoo.record_metrics(name, metrics, root=folder.parent)
