from . import (
    augment as augment,
    callbacks as callbacks,
    checkpoint as checkpoint,
    convergence as convergence,
    data as data,
    evaluation as evaluation,
    fit as fit,
    recipe as recipe,
    strategies as strategies,
)
from .evaluation import evaluate as evaluate, renew as renew
from .fit import fit_part as fit_part, train as train
from .recipe import Recipe as Recipe, Stage as Stage, find_recipe as find_recipe, load_recipe as load_recipe
from .strategies import strategy as strategy
