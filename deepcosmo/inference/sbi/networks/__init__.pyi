from . import atomic as atomic
from . import ratio as ratio
from . import scored as scored
from .atomic import Atomic as Atomic
from .ratio import RatioEstimator as RatioEstimator
from .scored import Scored as Scored
