"""Simulation-based inference: posteriors from simulations, without a likelihood; everything loads on first use.

    estimator = NPE(prior).fit(theta, x)
    posterior = estimator.posterior(x_observed)
    samples = posterior.sample(10_000, seed=0)
"""

from deepcosmo import _keras  # noqa: F401
from deepcosmo._lazy import members

_FILES = {
    "APT": "estimators",
    "NLE": "estimators",
    "NPE": "estimators",
    "NRE": "estimators",
    "Ensemble": "ensemble",
    "TASKS": "tasks",
    "Training": "training",
    "load": "saving",
    "sequential": "rounds",
    "train_compressor": "compression",
}

__all__ = sorted(_FILES)

__getattr__, __dir__ = members(__name__, _FILES)
