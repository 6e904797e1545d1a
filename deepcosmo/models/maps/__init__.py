"""Posteriors of cosmological parameters given tomographic maps.

`posterior` puts a density behind a compressor of `compressors`; the other modules are the statistics, scores and steps
that compressors are made of.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
