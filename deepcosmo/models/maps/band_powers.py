"""Powers and correlations of periodic maps in bands of wavenumber."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from deepcosmo._graphs import shared
from deepcosmo._types import Tensor
from deepcosmo.models._precision import SinglePrecision
from deepcosmo.nn.fourier import fourier, frequency
from deepcosmo.physics.fields import multiplicity

__all__ = ["BandPowers", "band_edges", "between", "modes_of"]


def band_edges(size: int, bands: int) -> np.ndarray:
    """Edges (bands + 1,) of bands of wavenumber, in cycles per map: from half a cycle to the Nyquist frequency, as wide
    as their logarithm, but no narrower than one."""
    edges = np.geomspace(1.0, size / 2, bands + 1) - 0.5
    for i in range(1, bands):
        edges[i] = max(edges[i], edges[i - 1] + 1.0)
    return edges


def modes_of(maps: Tensor) -> list[Tensor]:
    """Fourier modes of maps (batch, n, n, channels): real and imaginary (batch, channels, n // 2 + 1, n)."""
    n, channels = maps.shape[-2:]
    flat = ops.reshape(ops.transpose(maps, (0, 3, 1, 2)), (-1, n, n))
    return [ops.reshape(part, (-1, channels, n // 2 + 1, n)) for part in fourier(flat)]


def between(wavenumber: np.ndarray, largest: float, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Where wavenumbers (...) lie among nodes from 1 to the largest, evenly spaced in ln k.

    Returns the node below, and the share of the one above in what is linear in ln k, each (...). Outside of the nodes
    the outermost counts.
    """
    place = np.interp(np.log(np.maximum(wavenumber, 1e-3)), np.log(np.geomspace(1.0, largest, nodes)), np.arange(nodes))
    below = np.minimum(place.astype("int32"), nodes - 2)
    return below, place - below


@keras.saving.register_keras_serializable(package="deepcosmo")
class BandPowers(SinglePrecision, keras.layers.Layer):
    """Power and correlation coefficients of periodic maps in bands of wavenumber.

    (batch, n, n, channels) -> (batch, bands * channels * (channels + 1) / 2): ln of the power of each channel, in units
    of a pixel's variance, and the correlation coefficients of each pair.

    Args:
        size: n.
        channels: number of maps.
        bands: how many.
    """

    def __init__(self, *, size: int, channels: int, bands: int = 20, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size, self.channels, self.bands = size, channels, bands
        label = np.digitize(size * frequency((size, size)), band_edges(size, bands)) - 1
        weight = np.broadcast_to(multiplicity(size)[:, None], label.shape)
        total = [np.sum(weight[label == band]) * size**2 for band in range(bands)]
        self._label = shared(np.where(label < 0, bands, label), "uint8")  # what is in no band has a label beyond them
        # of a mode in the mean over each band
        self._weight = (multiplicity(size)[:, None, None] / np.array(total)).astype("float32")
        self._pairs = np.tril_indices(channels, -1)

    @property
    def dim(self) -> int:
        return self.bands * self.channels * (self.channels + 1) // 2

    def call(self, maps: Tensor) -> Tensor:
        return self.of_modes(modes_of(maps))

    def of_modes(self, modes: Sequence[Tensor]) -> Tensor:
        """The same, of `modes_of` maps."""
        label = ops.cast(self._label, "int32")
        mean = ops.reshape(ops.one_hot(label, self.bands, dtype="float32") * self._weight, (-1, self.bands))
        real, imaginary = (ops.reshape(part, (-1, self.channels, mean.shape[0])) for part in modes)
        first, second = self._pairs
        log_power = ops.log(ops.matmul(real**2 + imaginary**2, mean))
        cross = ops.take(real, first, 1) * ops.take(real, second, 1)
        cross += ops.take(imaginary, first, 1) * ops.take(imaginary, second, 1)
        scale = ops.exp(-0.5 * (ops.take(log_power, first, 1) + ops.take(log_power, second, 1)))
        return ops.concatenate(
            [ops.reshape(v, (-1, v.shape[1] * self.bands)) for v in (log_power, ops.matmul(cross, mean) * scale)], -1
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size, "channels": self.channels, "bands": self.bands}
