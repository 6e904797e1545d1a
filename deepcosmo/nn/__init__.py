"""Building blocks of networks, in `keras.ops` alone: they run on every Keras backend."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
