"""Keras models whose outputs are TFP distributions: one family per file, each loaded on first use."""

from deepcosmo import _keras  # noqa: F401
from deepcosmo._lazy import members

_FILES = {
    "CatalogFlow": "catalog",
    "Committee": "committee",
    "ProbabilisticModel": "base",
    "ConditionalDensity": "conditional",
    "MAF": "flows",
    "MAFMoG": "flows",
    "NSF": "flows",
    "RealNVP": "flows",
    "MDN": "mdn",
    "MapCompressor": "map_compressor",
    "MapPosterior": "map_posterior",
    "NewtonPilot": "map_compressor",
    "OneStepCompressor": "map_compressor",
    "PreparedDensity": "prepared",
    "RatioEstimator": "ratio",
    "Regression": "regression",
    "GalaxyVAE": "vae",
    "FlowVAE": "flow_vae",
    "KappaScore": "score",
    "KappaUNet": "kappa_unet",
}

__all__ = sorted(_FILES)

__getattr__, __dir__ = members(__name__, _FILES)
