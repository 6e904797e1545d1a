from . import base as base, densities as densities, galaxies as galaxies, kappa as kappa, maps as maps
from .base import ProbabilisticModel as ProbabilisticModel
from .densities.committee import Committee as Committee
from .densities.conditional import ConditionalDensity as ConditionalDensity
from .densities.flows import MAF as MAF, NSF as NSF, MAFMoG as MAFMoG, RealNVP as RealNVP
from .densities.mdn import MDN as MDN
from .densities.prepared import PreparedDensity as PreparedDensity
from .densities.regression import Regression as Regression
from .galaxies.catalog import CatalogFlow as CatalogFlow
from .galaxies.flow_vae import FlowVAE as FlowVAE
from .galaxies.vae import GalaxyVAE as GalaxyVAE
from .kappa.score import KappaScore as KappaScore
from .kappa.unet import KappaUNet as KappaUNet
from .maps.compressors import (
    MapCompressor as MapCompressor,
    NewtonPilot as NewtonPilot,
    OneStepCompressor as OneStepCompressor,
)
from .maps.field_statistics import FieldStatistics as FieldStatistics
from .maps.gaussian_scores import GaussianScores as GaussianScores
from .maps.lognormal_scores import LognormalScores as LognormalScores
from .maps.posterior import MapPosterior as MapPosterior
