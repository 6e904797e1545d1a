"""Layers for periodic maps that know no direction: filters and band powers that depend on wavenumber alone."""

import keras
import numpy as np
from keras import ops

from deepcosmo.nn.fourier import fourier, frequency, inverse_fourier
from deepcosmo.physics.fields import multiplicity

__all__ = ["BandPowers", "IsotropicFilters", "band_edges", "cropped", "hats", "modes_of"]


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


def cropped(modes, size):
    """Modes (..., size // 2 + 1, size) of maps on a coarser grid, of modes (..., n // 2 + 1, n)."""
    half, n = size // 2, modes.shape[-1]
    modes = modes[..., : half + 1, :]
    return ops.concatenate([modes[..., :half], modes[..., n - half :]], -1)


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


@keras.saving.register_keras_serializable(package="deepcosmo")
class IsotropicFilters(keras.layers.Layer):
    """Learned filters of periodic maps whose transfer functions depend on |k| alone, sampled on a coarser grid.

    (batch, n, n, channels) -> (batch, size, size, filters). Each filter has a mixture of the channels and a transfer
    function, which is linear in ln k between nodes, of which the first is one cycle per map; the mean does not pass.
    Flips, quarter turns and shifts by the pixels of the coarser grid commute with it; nothing at or beyond its Nyquist
    frequency passes, so that nothing is aliased.

    Args:
        inputs: number of channels.
        filters: how many.
        size: of the output, at most n.
        nodes: of each transfer function.
    """

    def __init__(self, *, inputs, filters, size, nodes=16, **kwargs):
        super().__init__(**kwargs)
        self.inputs, self.filters, self.size, self.nodes = inputs, filters, size, nodes
        cycles = size * frequency((size, size))
        self._hats = (hats(cycles, size / 2, nodes) * ((cycles > 0) & (cycles < size / 2))[..., None]).astype("float32")

    def build(self, input_shape=None):
        # bands of random width and place; white noise keeps about its variance
        rng = np.random.default_rng(int(keras.random.randint((), 0, 2**31 - 1)))
        centre = rng.uniform(0, self.nodes - 1, self.filters)
        width = rng.uniform(1, 3, self.filters)
        band = np.exp(-0.5 * ((np.arange(self.nodes)[:, None] - centre) / width) ** 2)
        band /= np.sqrt(2 * np.sum((self._hats @ band) ** 2, (0, 1)) / self.size**2)
        mixture = rng.normal(size=(self.inputs, self.filters))
        mixture /= np.sqrt(np.sum(mixture**2, 0))
        self.mixture = self.add_weight(name="mixture", shape=mixture.shape, initializer="zeros")
        self.transfer = self.add_weight(name="transfer", shape=band.shape, initializer="zeros")
        self.mixture.assign(mixture)
        self.transfer.assign(band)

    def call(self, maps):
        return self.of_modes(modes_of(maps))

    def of_modes(self, modes):
        """The same, of `modes_of` maps."""
        n, size = modes[0].shape[-1], self.size
        half = size // 2
        # amplitudes of modes are sums over pixels, of which there are fewer; the noise of a pixel stays what it was
        transfer = ops.matmul(self._hats * (size / n), self.transfer)  # (half + 1, size, filters)

        def passed(part):
            part = ops.matmul(ops.transpose(cropped(part, size), (0, 2, 3, 1)), self.mixture) * transfer
            return ops.reshape(ops.transpose(part, (0, 3, 1, 2)), (-1, half + 1, size))

        images = inverse_fourier([passed(part) for part in modes], size)
        return ops.transpose(ops.reshape(images, (-1, self.filters, size, size)), (0, 2, 3, 1))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.size, self.size, self.filters)

    def get_config(self):
        return {**super().get_config(), "inputs": self.inputs, "filters": self.filters, "size": self.size,
                "nodes": self.nodes}  # fmt: skip
