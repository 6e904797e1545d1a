from . import score as score
from . import spectrum as spectrum
from . import unet as unet
from .score import KappaScore as KappaScore
from .spectrum import AngularSpectrum as AngularSpectrum
from .unet import KappaUNet as KappaUNet
