"""Training by recipe, under any `tf.distribute` strategy, resumable to the same weights."""

import lazy_loader

from deepcosmo import _keras  # noqa: F401

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
