from . import score as score, spectrum as spectrum, unet as unet
from .score import KappaScore as KappaScore
from .spectrum import AngularSpectrum as AngularSpectrum
from .unet import KappaUNet as KappaUNet
