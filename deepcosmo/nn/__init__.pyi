from . import (
    fourier as fourier,
    made as made,
    monotonic as monotonic,
    resnet as resnet,
    transforms as transforms,
    unet as unet,
)
from .made import MADE as MADE
from .resnet import MLP as MLP
from .unet import UNet as UNet
