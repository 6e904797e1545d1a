"""Powers and correlations of periodic maps in bands of wavenumber."""

import keras
import numpy as np
from keras import ops

from deepcosmo.nn.fourier import fourier, frequency
from deepcosmo.physics.fields import multiplicity

__all__ = ["BandPowers", "band_edges", "hats", "modes_of"]


def band_edges(size, bands):
    """Edges (bands + 1,) of bands of wavenumber, in cycles per map: from half a cycle to the Nyquist frequency, as wide
    as their logarithm, but no narrower than one."""
    edges = np.geomspace(1.0, size / 2, bands + 1) - 0.5
    for i in range(1, bands):
        edges[i] = max(edges[i], edges[i - 1] + 1.0)
    return edges


def modes_of(maps):
    """Fourier modes of maps (batch, n, n, channels): real and imaginary (batch, channels, n // 2 + 1, n)."""
    n, channels = maps.shape[-2:]
    flat = ops.reshape(ops.transpose(maps, (0, 3, 1, 2)), (-1, n, n))
    return [ops.reshape(part, (-1, channels, n // 2 + 1, n)) for part in fourier(flat)]


def hats(wavenumber, largest, nodes):
    """Weights (..., nodes) of what is linear in ln k between nodes from 1 to the largest wavenumber, and constant
    outside, at wavenumbers (...)."""
    place = np.interp(np.log(np.maximum(wavenumber, 1e-3)), np.log(np.geomspace(1.0, largest, nodes)), np.arange(nodes))
    return np.maximum(1.0 - np.abs(place[..., None] - np.arange(nodes)), 0.0)


@keras.saving.register_keras_serializable(package="deepcosmo")
class BandPowers(keras.layers.Layer):
    """Power and correlation coefficients of periodic maps in bands of wavenumber.

    (batch, n, n, channels) -> (batch, bands * channels * (channels + 1) / 2): ln of the power of each channel, in units
    of a pixel's variance, and the correlation coefficients of each pair.

    Args:
        size: n.
        channels: number of maps.
        bands: how many.
    """

    def __init__(self, *, size, channels, bands=20, **kwargs):
        super().__init__(**kwargs)
        self.size, self.channels, self.bands = size, channels, bands
        label = np.digitize(size * frequency((size, size)), band_edges(size, bands)) - 1
        weight = np.broadcast_to(multiplicity(size)[:, None], label.shape)
        mean = weight.ravel()[:, None] * (label.ravel()[:, None] == np.arange(bands))
        self._mean = (mean / mean.sum(0) / size**2).astype("float32")
        self._pairs = np.tril_indices(channels, -1)

    @property
    def dim(self):
        return self.bands * self.channels * (self.channels + 1) // 2

    def call(self, maps):
        return self.of_modes(modes_of(maps))

    def of_modes(self, modes):
        """The same, of `modes_of` maps."""
        real, imaginary = (ops.reshape(part, (-1, self.channels, self._mean.shape[0])) for part in modes)
        first, second = self._pairs
        log_power = ops.log(ops.matmul(real**2 + imaginary**2, self._mean))
        cross = ops.take(real, first, 1) * ops.take(real, second, 1)
        cross += ops.take(imaginary, first, 1) * ops.take(imaginary, second, 1)
        scale = ops.exp(-0.5 * (ops.take(log_power, first, 1) + ops.take(log_power, second, 1)))
        return ops.concatenate([ops.reshape(v, (-1, v.shape[1] * self.bands))
                                for v in (log_power, ops.matmul(cross, self._mean) * scale)], -1)  # fmt: skip

    def get_config(self):
        return {**super().get_config(), "size": self.size, "channels": self.channels, "bands": self.bands}
