"""Convergence from noisy shear: one call, `mass_map`, for every method, and `map_field` for catalogues.

`methods` holds the call and the list of methods; every other module is a method, or a part that methods share.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
