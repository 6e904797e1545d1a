from . import full_field as full_field, power_spectrum as power_spectrum, split_hmc as split_hmc
from .full_field import FullField as FullField
from .power_spectrum import PowerSpectrum as PowerSpectrum
from .split_hmc import SplitHMC as SplitHMC
