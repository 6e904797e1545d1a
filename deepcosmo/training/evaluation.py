"""Measuring published models by their recipes, and renewing what is recorded of these."""

import functools

import tqdm

from deepcosmo import zoo
from deepcosmo._types import Progress
from deepcosmo.training.recipe import load_recipe
from deepcosmo.zoo import renewal, store

__all__ = ["evaluate", "renew"]


def evaluate(name: str, *, progress: Progress | None = None) -> zoo.Entry:
    """Measures a published model by its recipe and writes the figures into `model.json` and the card.

    Args:
        name: its name in the zoo.
        progress: wraps an iterable in a progress bar; by default tqdm's, on a terminal only.

    Returns:
        The new `deepcosmo.zoo.Entry`.

    Raises:
        ZooError: no such model, or it is no part of a local zoo, where its figures could be written.
    """
    entry, recipe = _published(name)
    progress = progress or functools.partial(tqdm.tqdm, disable=None)
    metrics = recipe.evaluate(zoo.load(name), progress)
    return zoo.record_metrics(name, metrics, root=entry.directory.parent)


def renew(name: str) -> zoo.Entry:
    """Records the recipe of a published model again, where only imports or words that describe the model changed.

    Args:
        name: its name in the zoo, which is under git.

    Returns:
        The new `deepcosmo.zoo.Entry`.

    Raises:
        ZooError: no such model in a local zoo, or more changed; the message names what.
    """
    return renewal.renew(*_published(name))


def _published(name):
    """The entry and the recipe of a model in a local zoo, where what is new of it can be written."""
    entry = zoo.info(name)
    if entry.directory.parent not in store.local_roots():
        raise zoo.ZooError(f"{name} is a download in {entry.directory}, no part of a local zoo")
    return entry, load_recipe(entry.directory, dataset=entry.dataset)
