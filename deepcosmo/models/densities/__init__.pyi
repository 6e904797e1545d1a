from . import (
    bounds as bounds,
    committee as committee,
    compressor as compressor,
    conditional as conditional,
    encoded as encoded,
    flows as flows,
    mdn as mdn,
    prepared as prepared,
    regression as regression,
)
from .committee import Committee as Committee
from .compressor import Compressor as Compressor, PointEstimate as PointEstimate
from .conditional import ConditionalDensity as ConditionalDensity
from .encoded import EncodedDensity as EncodedDensity
from .flows import MAF as MAF, NSF as NSF, MAFMoG as MAFMoG, RealNVP as RealNVP
from .mdn import MDN as MDN
from .prepared import PreparedDensity as PreparedDensity
from .regression import Regression as Regression
