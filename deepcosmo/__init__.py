"""deepcosmo: a model zoo of probabilistic deep learning for observational cosmology.

Submodules load on first use, so that ``import deepcosmo`` does not import TensorFlow.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
