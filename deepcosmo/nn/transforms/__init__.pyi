from . import (
    gaussianise as gaussianise,
    linear_fit as linear_fit,
    outliers as outliers,
    power as power,
    standardise as standardise,
)
from .gaussianise import Gaussianise as Gaussianise
from .linear_fit import LinearFit as LinearFit
from .power import Power as Power
from .standardise import Standardise as Standardise
