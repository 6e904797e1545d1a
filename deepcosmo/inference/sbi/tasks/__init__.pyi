from . import (
    base as base,
    bernoulli_glm as bernoulli_glm,
    dynamics as dynamics,
    gaussian as gaussian,
    registry as registry,
    slcp as slcp,
    two_moons as two_moons,
)
from .base import Task as Task
from .registry import TASKS as TASKS
