"""The tasks by name."""

from deepcosmo.inference.sbi.tasks.bernoulli_glm import BernoulliGLM
from deepcosmo.inference.sbi.tasks.dynamics import SIR, LotkaVolterra
from deepcosmo.inference.sbi.tasks.gaussian import GaussianLinear, GaussianLinearUniform, GaussianMixture
from deepcosmo.inference.sbi.tasks.slcp import SLCP
from deepcosmo.inference.sbi.tasks.two_moons import TwoMoons

__all__ = ["TASKS"]

TASKS = {
    task.name: task
    for task in (
        TwoMoons(),
        SLCP(),
        GaussianLinear(),
        GaussianLinearUniform(),
        GaussianMixture(),
        BernoulliGLM(),
        SIR(),
        LotkaVolterra(),
    )
}
