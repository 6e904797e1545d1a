"""Training by recipe, under any `tf.distribute` strategy, resumable to the same weights."""

from deepcosmo.training.fit import train
from deepcosmo.training.recipe import Metric, Recipe, Stage, load_recipe
from deepcosmo.training.record import evaluate, training_record
from deepcosmo.training.strategies import strategy

__all__ = ["Metric", "Recipe", "Stage", "evaluate", "load_recipe", "strategy", "train", "training_record"]
