"""Simulators with posteriors that are known: what simulation-based inference is measured on, and learned with.

    task = TASKS["two_moons"]
    theta = task.prior.sample(10_000, seed=[0, 1])
    x = task.simulate(theta, seed=[0, 2])
    truth, observed = task.observation(0)
    reference = task.reference(observed, 10_000, seed=[0, 3])

They are those of Lueckmann et al. 2021 (arXiv:2101.04653). Everything is batched TensorFlow: theta is (n, dim), x is
(n, data_dim), float32.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
