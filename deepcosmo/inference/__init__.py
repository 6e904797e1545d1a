"""Inference from data with priors, classical and learned; everything loads on first use.

    mass_map(shear, noise_std, mask, pixel_scale=0.29, method="wiener") -> MassMap
"""

import importlib

_FILES = {"MassMap": "mass_mapping", "mass_map": "mass_mapping"}

__all__ = sorted(_FILES)


def __getattr__(name):
    if name in _FILES:
        return getattr(importlib.import_module(f"{__name__}.{_FILES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
