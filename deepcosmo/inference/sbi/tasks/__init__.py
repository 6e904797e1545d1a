"""Simulators with posteriors that are known: what simulation-based inference is measured on, and learned with.

    task = TASKS["two_moons"]
    theta = task.prior.sample(10_000, seed=[0, 1])
    x = task.simulate(theta, seed=[0, 2])
    truth, observed = task.observation(0)
    reference = task.reference(observed, 10_000, seed=[0, 3])

They are those of Lueckmann et al. 2021 (arXiv:2101.04653). Everything is batched TensorFlow: theta is (n, dim), x is
(n, data_dim), float32.
"""

from deepcosmo.inference.sbi.tasks.base import Task
from deepcosmo.inference.sbi.tasks.bernoulli_glm import BernoulliGLM
from deepcosmo.inference.sbi.tasks.dynamics import SIR, LotkaVolterra
from deepcosmo.inference.sbi.tasks.gaussian import GaussianLinear, GaussianLinearUniform, GaussianMixture
from deepcosmo.inference.sbi.tasks.slcp import SLCP
from deepcosmo.inference.sbi.tasks.two_moons import TwoMoons

__all__ = ["TASKS", "Task"]

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
