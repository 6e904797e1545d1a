"""Training by recipe, under any `tf.distribute` strategy, resumable to the same weights."""

from deepcosmo.training.evaluation import evaluate
from deepcosmo.training.fit import train
from deepcosmo.training.recipe import Metric, Recipe, Stage, find_recipe, load_recipe
from deepcosmo.training.strategies import strategy

__all__ = ["Metric", "Recipe", "Stage", "evaluate", "find_recipe", "load_recipe", "strategy", "train"]
