"""Judging samples and fits: morphology, comparison with truth, residuals; modules load on first use."""

import importlib

__all__ = ["apertures", "comparison", "galaxies", "morphology", "residuals", "sersic_fit", "two_sample"]


def __getattr__(name):
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
