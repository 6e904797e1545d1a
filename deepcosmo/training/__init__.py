"""Training by recipe, under any `tf.distribute` strategy, resumable to the same weights."""

from deepcosmo import _keras  # noqa: F401
from deepcosmo.training.evaluation import evaluate, renew
from deepcosmo.training.fit import fit_part, train
from deepcosmo.training.recipe import Metric, Recipe, Stage, find_recipe, load_recipe
from deepcosmo.training.strategies import strategy

__all__ = ["Metric", "Recipe", "Stage", "evaluate", "find_recipe", "fit_part", "load_recipe", "renew",
           "strategy", "train"]  # fmt: skip
