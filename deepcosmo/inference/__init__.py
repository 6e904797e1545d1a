"""Inference from data with priors, classical and learned; everything loads on first use.

    mass_map(shear, noise_std, mask, pixel_scale=0.29, method="wiener") -> MassMap
"""

from deepcosmo._lazy import members

_FILES = {"MassMap": "mass_mapping", "mass_map": "mass_mapping"}

__all__ = sorted(_FILES)

__getattr__, __dir__ = members(__name__, _FILES)
