"""Statistics of periodic, noisy maps of one sky that are nearly all they tell of a weakly non-Gaussian field."""

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from deepcosmo._graphs import shared
from deepcosmo._types import Tensor
from deepcosmo.models._precision import SinglePrecision
from deepcosmo.models.maps.band_powers import BandPowers, between, modes_of
from deepcosmo.nn.fourier import fourier, frequency, inverse_fourier
from deepcosmo.physics.fields import multiplicity

if TYPE_CHECKING:
    from deepcosmo.physics.lensing_survey import LensingSurvey

__all__ = ["FieldStatistics"]

EDGES = (8.0, 28.0)  # cycles per map, between the bands of Wiener-filtered maps
SOFTNESS = 0.35  # of an edge, in ln k


@keras.saving.register_keras_serializable(package="deepcosmo")
class FieldStatistics(SinglePrecision, keras.layers.Layer):
    """Averages over a map that shifts, flips and quarter turns leave alone: (batch, n, n, channels) -> (batch, `dim`).

    Band powers and correlation coefficients of the channels come first. The others are what the likelihood of a field
    with a local non-linearity, kappa = g + g^2 / (2 shift) + ..., depends on besides the power, order by order in its
    expansion (as the estimator of f_NL by Komatsu, Spergel & Wandelt 2005, astro-ph/0305189). With A the maps divided
    by their covariance, S + N, and B = S A their Wiener-filtered convergence, all channels helping each other, these
    are for each channel the means over the map of

    - A B_i B_j, the bispectrum, with B split into three bands of wavenumber;
    - A B^3 and A^2 B^2, the trispectrum where four legs meet in one place, and A B^4, A^2 B^3 beyond it;

    and, for each pair of channels, of X S X, with X = A B less its mean: the trispectrum of two places that exchange a
    mode. Nothing is learned: statistics can be measured once and for all.

    Args:
        size: n, pixels on a side.
        channels: maps of one sky.
        noise_std: standard deviation of the noise of a pixel.
        signal: S, power of the signal over that of the noise (nodes, channels, channels) in some typical universe, at
            wavenumbers that are spaced evenly in their logarithm, from one cycle per map to the largest; linear in ln k
            in between.
        bands: of the band powers.
    """

    def __init__(
        self, *, size: int, channels: int, noise_std: float, signal: ArrayLike, bands: int = 20, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        signal = np.asarray(signal, float)
        if signal.ndim != 3 or signal.shape[1:] != (channels, channels):
            raise ValueError(f"signal must have the shape (nodes, {channels}, {channels}); got {signal.shape}")
        self.size, self.channels, self.noise_std, self.bands = size, channels, float(noise_std), bands
        self.signal = signal
        self.powers = BandPowers(size=size, channels=channels, bands=bands)
        cycles = size * frequency((size, size))[:, : size // 2 + 1]  # of a quadrant, which tells those of the others
        inside = (cycles > 0) & (cycles < size / 2)
        below, share = between(cycles, size / np.sqrt(2), len(signal))
        weights = (np.stack([1 - share, share]) * inside)[..., None].astype("float32")
        self._below, self._weights = shared(below, "uint8"), [shared(w) for w in weights]
        edges = [0.5 * (1 + np.tanh(np.log(np.maximum(cycles, 1e-3) / edge) / SOFTNESS)) for edge in EDGES]
        self._windows = [shared(w, "float32") for w in (1 - edges[0], edges[0] - edges[1], edges[1])]
        over_total = np.linalg.inv(np.eye(channels) + signal)
        wiener = signal @ over_total
        variance = np.einsum("nii->ni", wiener @ signal)  # of Wiener-filtered modes
        count = np.outer(multiplicity(size), multiplicity(size))
        power = weights[0] * variance[below] + weights[1] * variance[below + 1]
        self._scale = np.sqrt(np.einsum("xy,xyi->i", count, power) / size**2).astype("float32")
        # of each node: to A, and to B of unit variance
        self._filters = np.concatenate([over_total, wiener / self._scale[:, None]], 1).astype("float32")
        self._count = (multiplicity(size)[:, None, None] / size**4).astype("float32")
        self._pairs = np.tril_indices(channels)
        self.built = True

    @classmethod
    def of(cls, survey: "LensingSurvey", *, nodes: int = 32, **options: Any) -> "FieldStatistics":
        """The statistics for maps of a `LensingSurvey`."""
        cycles = np.geomspace(1.0, survey.pixels / np.sqrt(2), nodes)
        return cls(
            size=survey.pixels,
            channels=survey.bins,
            noise_std=survey.noise_std,
            signal=survey.signal_to_noise(360.0 / survey.width * cycles),
            **options,
        )

    @property
    def dim(self) -> int:
        return self.powers.dim + (6 + 4) * self.channels + len(self._pairs[0])

    def _hats(self):
        """Weights (n // 2 + 1, n, nodes) of the nodes at the modes."""
        below = ops.cast(self._below, "int32")
        return self._unfolded(sum(w * ops.one_hot(below + i, len(self.signal)) for i, w in enumerate(self._weights)))

    def _unfolded(self, quadrant):
        """All modes (n // 2 + 1, n, ...) of those of a quadrant (n // 2 + 1, n // 2 + 1, ...)."""
        return ops.concatenate([quadrant, ops.flip(quadrant[:, 1 : (self.size + 1) // 2], 1)], 1)

    def filtered(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """A (batch, channels, n, n) of maps, and the bands of B (batch, 3, channels, n, n)."""
        return self._filtered(modes_of(maps / self.noise_std))

    def _filtered(self, modes):
        n, k = self.size, self.channels
        transfer = ops.matmul(self._hats(), self._filters.reshape(len(self.signal), -1))
        transfer = ops.transpose(ops.reshape(transfer, (n // 2 + 1, n, 2 * k, k)), (2, 3, 0, 1))

        windows = [self._unfolded(window) for window in self._windows]

        def passed(part):  # (batch, channels, n // 2 + 1, n)
            part = sum(part[:, i : i + 1] * transfer[None, :, i] for i in range(k))
            bands = [part[:, k:] * window for window in windows]
            return ops.reshape(ops.concatenate([part[:, :k], *bands], 1), (-1, n // 2 + 1, n))

        images = ops.reshape(inverse_fourier([passed(part) for part in modes], n), (-1, 4, k, n, n))
        return images[:, 0], images[:, 1:]

    def call(self, maps: Tensor) -> Tensor:
        modes = modes_of(maps / self.noise_std)
        a, bands = self._filtered(modes)
        b = ops.sum(bands, 1)
        product = a * b
        cubic = [a * bands[:, i] * bands[:, j] for i in range(3) for j in range(i + 1)]
        higher = [product * v for v in (product, b**2, product * b, b**3)]
        means = [ops.mean(v, (-2, -1)) for v in (*cubic, *higher)]
        return ops.concatenate([self.powers.of_modes(modes), *means, self._exchange(product)], -1)

    def _exchange(self, maps):
        """Sums over modes of X_i S_ij X_j* for each pair of channels (batch, pairs)."""
        n, (first, second) = self.size, self._pairs
        flat = ops.reshape(maps - ops.mean(maps, (-2, -1), keepdims=True), (-1, n, n))
        real, imaginary = (ops.reshape(v, (-1, self.channels, n // 2 + 1, n)) for v in fourier(flat))
        signal = (self.signal * self._scale[:, None] * self._scale)[:, first, second].astype("float32")
        weight = ops.transpose(ops.matmul(self._hats() * self._count, signal), (2, 0, 1))
        sums = [
            ops.sum(weight[k] * (real[:, i] * real[:, j] + imaginary[:, i] * imaginary[:, j]), (1, 2))
            for k, (i, j) in enumerate(zip(first, second, strict=True))
        ]
        return ops.stack(sums, -1)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (input_shape[0], self.dim)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "size": self.size,
            "channels": self.channels,
            "noise_std": self.noise_std,
            "signal": self.signal.tolist(),
            "bands": self.bands,
        }
