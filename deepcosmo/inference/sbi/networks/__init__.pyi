from . import atomic as atomic, ratio as ratio, scored as scored
from .atomic import Atomic as Atomic
from .ratio import RatioEstimator as RatioEstimator
from .scored import Scored as Scored
