"""deepcosmo: a model zoo of probabilistic deep learning for observational cosmology.

Submodules load on first use, so that ``import deepcosmo`` does not import TensorFlow.
"""

from deepcosmo._lazy import submodules

__version__ = "0.1.0"

__all__ = ["export", "inference", "metrics", "models", "nn", "physics", "plots", "skymaps", "training", "zoo"]

__getattr__, __dir__ = submodules(__name__, __all__)
