"""deepcosmo: a model zoo of probabilistic deep learning for observational cosmology.

Submodules load on first use, so that ``import deepcosmo`` does not import TensorFlow.
"""

import importlib

__version__ = "0.1.0"

__all__ = ["export", "metrics", "models", "nn", "physics", "plots", "training", "zoo"]


def __getattr__(name):
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
