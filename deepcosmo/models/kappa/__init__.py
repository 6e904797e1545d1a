"""Networks on maps of the convergence: the score of their prior, and regression from shear."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
