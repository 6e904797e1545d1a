"""Keras models whose outputs are TFP distributions. Each folder holds one family.

- `densities`: regression, mixture density networks and flows, p(y | context) of vectors.
- `galaxies`: images and catalogues of galaxies.
- `kappa`: networks on maps of the convergence.
- `maps`: posteriors of cosmological parameters given maps, and the compressors in front of them.

Published configurations name their classes as they are exported here, so a name that is here stays.
"""

import lazy_loader

from deepcosmo import _keras  # noqa: F401

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
