"""An angular power spectrum that is stored with a model's weights."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from deepcosmo._types import Tensor
from deepcosmo.models._precision import SinglePrecision
from deepcosmo.nn.fourier import frequency

__all__ = ["AngularSpectrum"]

_NODES = np.geomspace(1e-4, 0.75, 64)  # cycles per pixel


class AngularSpectrum(SinglePrecision, keras.layers.Layer):
    """C(ell) of maps with a fixed pixel size, as a weight: ln C(ell), linear in ln ell between 64 nodes.

    Args:
        pixel_scale: arcmin.
    """

    def __init__(self, *, pixel_scale: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._pixel = math.radians(pixel_scale / 60)

    def build(self, input_shape: Any = None) -> None:
        self.log_power = self.add_weight(shape=(len(_NODES),), initializer="zeros", trainable=False, name="log_power")

    def set(self, ell: ArrayLike, c_ell: ArrayLike) -> None:
        """Sets C(ell), steradian, given at increasing ell, (n,) each, and constant beyond."""
        ell, c_ell = np.asarray(ell, float), np.asarray(c_ell, float)
        if ell.ndim != 1 or ell.shape != c_ell.shape or not (np.all(np.diff(ell) > 0) and np.all(c_ell > 0)):
            raise ValueError(f"ell must increase and c_ell be positive, (n,) each; got {ell.shape}, {c_ell.shape}")
        log_c = np.interp(np.log(_NODES * 2 * np.pi / self._pixel), np.log(ell), np.log(c_ell))
        self.log_power.assign(log_c - 2 * np.log(self._pixel))

    def get(self) -> tuple[np.ndarray, np.ndarray]:
        """(ell, c_ell) at the nodes, (64,) each."""
        return _NODES * 2 * np.pi / self._pixel, np.exp(ops.convert_to_numpy(self.log_power)) * self._pixel**2

    def power(self, shape: tuple[int, int]) -> Tensor:
        """Variance of the modes of `fourier`, (columns // 2 + 1, rows); white noise has that of a pixel. 0 at 0."""
        modes = frequency(shape)
        place = np.interp(np.log(np.maximum(modes, _NODES[0])), np.log(_NODES), np.arange(len(_NODES)))
        low = np.minimum(place.astype("int32"), len(_NODES) - 2)
        share = (place - low).astype("float32")
        log_power = (1 - share) * ops.take(self.log_power, low) + share * ops.take(self.log_power, low + 1)
        return ops.exp(log_power) * (modes > 0).astype("float32")
