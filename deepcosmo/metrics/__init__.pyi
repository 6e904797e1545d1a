from . import (
    apertures as apertures,
    calibration as calibration,
    comparison as comparison,
    galaxies as galaxies,
    lensing_posterior as lensing_posterior,
    maps as maps,
    mass_maps as mass_maps,
    metric as metric,
    morphology as morphology,
    ranks as ranks,
    residuals as residuals,
    sersic_fit as sersic_fit,
    two_sample as two_sample,
)
from .metric import Metric as Metric
