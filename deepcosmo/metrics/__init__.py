"""Judging samples and fits: morphology, comparison with truth, residuals; modules load on first use."""

from deepcosmo._lazy import submodules

__all__ = [
    "apertures",
    "calibration",
    "comparison",
    "galaxies",
    "lensing_posterior",
    "maps",
    "mass_maps",
    "morphology",
    "residuals",
    "sersic_fit",
    "two_sample",
]

__getattr__, __dir__ = submodules(__name__, __all__)
