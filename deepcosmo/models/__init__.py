"""Keras models whose outputs are TFP distributions: one family per file, each loaded on first use."""

import importlib

_FILES = {
    "CatalogFlow": "catalog",
    "ProbabilisticModel": "base",
    "ConditionalDensity": "conditional",
    "MAF": "flows",
    "NSF": "flows",
    "RealNVP": "flows",
    "MDN": "mdn",
    "Regression": "regression",
    "GalaxyVAE": "vae",
    "FlowVAE": "flow_vae",
    "KappaScore": "score",
    "KappaUNet": "kappa_unet",
}

__all__ = sorted(_FILES)


def __getattr__(name):
    if name in _FILES:
        return getattr(importlib.import_module(f"{__name__}.{_FILES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
