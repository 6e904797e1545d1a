"""Densities p(y | context) of vectors: regression, mixture density networks, flows, and what prepares their data."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
