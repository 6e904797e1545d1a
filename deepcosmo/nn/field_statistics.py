"""Statistics of periodic, noisy maps of one sky: powers, and moments that tell how far from Gaussian they are."""

import keras
import numpy as np
from keras import ops

from deepcosmo.nn.fourier import frequency, inverse_fourier
from deepcosmo.nn.isotropic import BandPowers, cropped, hats, modes_of
from deepcosmo.physics.fields import multiplicity

__all__ = ["FieldStatistics"]

SCALES = (1.0, 2.0, 4.0, 8.0, 16.0)  # standard deviations of Gaussians in pixels, whose differences are the bands
THRESHOLDS = (-3.0, -2.25, -1.5, -0.75, 0.0, 0.75, 1.5, 2.25, 3.0, 4.0, 5.0, 6.5, 8.0)  # standard deviations
SOFTNESS = 1 / 3  # of a threshold


@keras.saving.register_keras_serializable(package="deepcosmo")
class FieldStatistics(keras.layers.Layer):
    """Averages over a map that shifts, flips and quarter turns leave alone: (batch, n, n, channels) -> (batch, `dim`).

    Channels are turned into Karhunen-Loeve modes, combinations whose signal and noise are both independent (Tegmark,
    Taylor & Heavens 1997, arXiv:astro-ph/9603021), and the best `modes` of them filtered: by Wiener's filter, and by
    differences of Gaussians of 1 to 16 pixels. Of the filtered maps, on a grid of half as many pixels on a side, are
    measured: ln of the standard deviation; the shares of pixels above thresholds, which is what one-point functions
    and Minkowski's first functional know; correlations of each pair; of each with the squares of others, which are
    squeezed bispectra; and of moduli, as scattering transforms have them (Cheng et al. 2020, arXiv:2006.08561). Band
    powers and correlation coefficients of the channels themselves come first.

    Nothing is learned: statistics can be measured once and for all.

    Args:
        size: n, pixels on a side.
        channels: maps of one sky.
        noise_std: standard deviation of the noise of a pixel.
        ratio: signal over noise power of modes (nodes, modes) at wavenumbers that are spaced evenly in their
            logarithm, from one cycle per map to the largest wavenumber; linear in ln k in between.
        mixture: the modes at these wavenumbers (nodes, modes, channels).
        bands: of the band powers.
    """

    def __init__(self, *, size, channels, noise_std, ratio, mixture, bands=20, **kwargs):
        super().__init__(**kwargs)
        ratio, mixture = np.asarray(ratio, float), np.asarray(mixture, float)
        if mixture.shape != (*ratio.shape, channels):
            raise ValueError(f"ratio of shape (nodes, modes) and mixture (nodes, modes, {channels}) must agree; got "
                             f"{ratio.shape} and {mixture.shape}")  # fmt: skip
        self.size, self.channels, self.noise_std, self.bands = size, channels, float(noise_std), bands
        self.ratio, self.mixture = ratio, mixture
        self.powers = BandPowers(size=size, channels=channels, bands=bands)
        self._transfer = _transfers(size, ratio, mixture)  # (filters, channels, size // 4 + 1, size // 2)
        self.filters = len(self._transfer)
        self._pairs = np.tril_indices(self.filters, -1)
        self._moduli = np.tril_indices(self.filters)
        self.built = True

    @classmethod
    def of(cls, survey, *, modes=3, nodes=24, **options):
        """The statistics for maps of a `LensingSurvey`."""
        cycles = np.geomspace(1.0, _largest(survey.pixels), nodes)
        ratio, vectors = survey.signal_to_noise(360.0 / survey.width * cycles)
        return cls(size=survey.pixels, channels=survey.bins, noise_std=survey.noise_std, ratio=ratio[:, :modes],
                   mixture=vectors[:, :modes], **options)  # fmt: skip

    @property
    def dim(self):
        k = self.filters
        powers = self.bands * self.channels * (self.channels + 1) // 2
        return powers + k * (1 + len(THRESHOLDS)) + k * (k - 1) // 2 + k * k + k * (k + 1) // 2

    def filtered(self, maps):
        """Maps through each filter (batch, filters, pixels), on a grid of half as many pixels on a side."""
        return self._filtered(modes_of(maps / self.noise_std))

    def _filtered(self, modes):
        half = self.size // 2

        def passed(part):  # (batch, channels, size // 2 + 1, size)
            part = ops.einsum("bcxy,fcxy->bfxy", cropped(part, half), self._transfer)
            return ops.reshape(part, (-1, half // 2 + 1, half))

        images = inverse_fourier([passed(part) for part in modes], half)
        return ops.reshape(images, (-1, self.filters, half * half))

    def call(self, maps):
        modes = modes_of(maps / self.noise_std)
        filtered = self._filtered(modes)
        pixels = filtered.shape[-1]
        std = ops.std(filtered, -1, keepdims=True)
        scaled = filtered / std
        shares = [ops.mean(ops.sigmoid((scaled - t) / SOFTNESS), -1) for t in THRESHOLDS]
        square = ops.square(scaled)
        modulus = ops.sqrt(square + 0.1)

        def products(first, second):  # means over the map of products of all with all
            return ops.matmul(first, ops.transpose(second, (0, 2, 1))) / pixels

        def some(matrix, pairs):
            flat = ops.reshape(matrix, (-1, self.filters**2))
            return ops.take(flat, pairs[0] * self.filters + pairs[1], -1)

        return ops.concatenate([
            self.powers.of_modes(modes),
            ops.log(std[..., 0]),
            *shares,
            some(products(scaled, scaled), self._pairs),
            ops.reshape(products(square, scaled), (-1, self.filters**2)),
            some(products(modulus, modulus), self._moduli),
        ], -1)  # fmt: skip

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.dim)

    def get_config(self):
        return {**super().get_config(), "size": self.size, "channels": self.channels, "noise_std": self.noise_std,
                "ratio": self.ratio.tolist(), "mixture": self.mixture.tolist(), "bands": self.bands}  # fmt: skip


def _largest(size):
    """Wavenumber, cycles per map."""
    return size / np.sqrt(2)


def _transfers(size, ratio, mixture):
    """What each filter makes of each channel's modes on the coarser grid, such that noise keeps unit variance."""
    half = size // 2
    cycles = 0.5 * frequency((half, half))  # per pixel of the map
    inside = (cycles > 0) & (cycles < 0.25)  # neither the mean nor what would be aliased
    weight = hats(size * cycles, _largest(size), len(ratio))
    ratio, mixture = (np.tensordot(weight, v, 1) for v in (ratio, mixture))  # (x, y, modes), (x, y, modes, channels)
    mixture /= np.linalg.norm(mixture, axis=-1, keepdims=True)
    smooth = [np.exp(-0.5 * (2 * np.pi * cycles * scale) ** 2) for scale in SCALES]
    wiener = np.moveaxis(np.sqrt(ratio) / (1.0 + ratio), -1, 0) * smooth[0]
    bands = [a - b for a, b in zip(smooth, [*smooth[1:], 0.0], strict=True)]
    gains = np.concatenate([wiener, *(np.repeat(band[None], ratio.shape[-1], 0) for band in bands)]) * inside
    gains /= np.sqrt(np.sum(multiplicity(half)[:, None] * gains**2, (1, 2), keepdims=True) / half**2)
    which = np.arange(len(gains)) % ratio.shape[-1]
    transfer = gains[:, None] * np.moveaxis(mixture, (-2, -1), (0, 1))[which]
    return (transfer * half / size).astype("float32")  # amplitudes are sums over fewer pixels
