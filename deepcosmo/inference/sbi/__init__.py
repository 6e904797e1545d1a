"""Simulation-based inference: posteriors from simulations, without a likelihood; everything loads on first use.

estimator = NPE(prior).fit(theta, x)
posterior = estimator.posterior(x_observed)
samples = posterior.sample(10_000, seed=0)
"""

import lazy_loader

from deepcosmo import _keras  # noqa: F401

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
