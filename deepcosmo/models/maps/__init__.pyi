from . import (
    band_powers as band_powers,
    compressors as compressors,
    field_statistics as field_statistics,
    gaussian_scores as gaussian_scores,
    golden as golden,
    lognormal_scores as lognormal_scores,
    near_step as near_step,
    newton_step as newton_step,
    posterior as posterior,
)
from .compressors import (
    MapCompressor as MapCompressor,
    NewtonPilot as NewtonPilot,
    OneStepCompressor as OneStepCompressor,
)
from .field_statistics import FieldStatistics as FieldStatistics
from .gaussian_scores import GaussianScores as GaussianScores
from .lognormal_scores import LognormalScores as LognormalScores
from .posterior import MapPosterior as MapPosterior
