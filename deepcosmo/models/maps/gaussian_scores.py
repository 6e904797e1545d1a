"""What a Gaussian field's power spectra say of parameters, near given ones."""

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from numpy.typing import ArrayLike

from deepcosmo.models._precision import SinglePrecision
from deepcosmo.models.maps.band_powers import band_edges
from deepcosmo.physics import fields

if TYPE_CHECKING:
    from deepcosmo.physics.lensing_survey import LensingSurvey

__all__ = ["GaussianScores"]

_STEP = 0.02  # of central differences, in standard deviations of the prior


@keras.saving.register_keras_serializable(package="deepcosmo")
class GaussianScores(SinglePrecision, keras.layers.Layer):
    """One Newton step from each of several pivots towards the maximum of the posterior of a Gaussian field.

    (batch, bands * channels * (channels + 1) / 2) -> (batch, pivots * parameters): features of `BandPowers`, and
    (F + P)^-1 s, with the score s of the Gaussian likelihood of all modes, its Fisher matrix F (Tegmark, Taylor &
    Heavens 1997, arXiv:astro-ph/9603021) and the precision P of the prior. Near a pivot they are all that power spectra
    tell, which makes them better summaries than many noisy powers where simulations are few.

    Args:
        channels: of the maps.
        bands: of the band powers.
        count: pivots times parameters.
    """

    def __init__(self, *, channels: int, bands: int, count: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels, self.bands, self.count = channels, bands, count
        self._pairs = np.tril_indices(channels, -1)

    def build(self, input_shape: Any = None) -> None:
        size = self.bands * self.channels * (self.channels + 1) // 2
        self.matrix = self.add_weight(name="matrix", shape=(size, self.count), initializer="zeros", trainable=False)
        self.origin = self.add_weight(name="origin", shape=(self.count,), initializer="zeros", trainable=False)

    @classmethod
    def of(cls, survey: "LensingSurvey", pivots: ArrayLike, *, bands: int = 20) -> "GaussianScores":
        """The scores of a `LensingSurvey` at parameters `pivots` (m, n)."""
        pivots = np.asarray(pivots, float)
        layer = cls(channels=survey.bins, bands=bands, count=pivots.size)
        layer.build()
        shape, scale = survey.shape[:2], survey.pixel_scale
        edges = band_edges(survey.pixels, bands) * 360 / survey.width
        means = fields.band_matrix(survey.multipoles(), shape, scale, edges).numpy()
        modes = fields.multipoles(shape, scale)
        weight = np.broadcast_to(fields.multiplicity(shape[1]), modes.shape)
        count = np.histogram(modes, edges, weights=weight)[0]
        width = survey.prior().sample(2000, seed=[0, 0]).numpy().std(0)
        newton = [_newton_step(survey, pivot, width, means, count) for pivot in pivots]
        layer.matrix.assign(np.concatenate([matrix for matrix, _ in newton], -1))
        layer.origin.assign(np.concatenate([origin for _, origin in newton], -1))
        return layer

    def call(self, features: tf.Tensor) -> tf.Tensor:
        c, bands = self.channels, self.bands
        power = ops.exp(ops.reshape(features[:, : c * bands], (-1, c, bands)))
        correlation = ops.reshape(features[:, c * bands :], (-1, c * (c - 1) // 2, bands))
        first, second = self._pairs
        cross = correlation * ops.sqrt(ops.take(power, first, 1) * ops.take(power, second, 1))
        spectra = ops.reshape(ops.concatenate([power, cross], 1), (-1, self.matrix.shape[0]))
        return ops.matmul(spectra, self.matrix) - self.origin

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (input_shape[0], self.count)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "channels": self.channels, "bands": self.bands, "count": self.count}


def _newton_step(survey, pivot, width, means, count):
    """Matrix (bands * pairs, n) and origin (n,) of the step as a linear function of powers over the noise's.

    The prior has the widths (n,); `means` (n_ell, bands) makes bands of spectra, which have `count` modes.
    """
    step = _STEP * width
    around = np.concatenate([pivot[None], pivot + np.diag(step), pivot - np.diag(step)])
    power = survey.power(tf.constant(around), survey.multipoles()).numpy() @ means / survey.noise_power
    power = np.moveaxis(power, -1, 1)  # (parameters, bands, channels, channels)
    covariance = power[0] + np.eye(survey.bins)
    up, down = np.split(power[1:], 2)
    slope = (up - down) / (2 * step[:, None, None, None])
    inverse = np.linalg.inv(covariance)
    response = 0.5 * count[:, None, None] * (inverse @ slope @ inverse)  # d ln p / d power
    fisher = np.einsum("ibjk,hbkj->ih", response, slope)
    solve = np.linalg.inv(fisher + np.diag(width**-2.0))
    response = np.einsum("hi,ibjk->jkbh", solve, response)
    diagonal, (first, second) = np.arange(survey.bins), np.tril_indices(survey.bins, -1)
    matrix = np.concatenate([response[diagonal, diagonal], 2 * response[first, second]])
    origin = np.einsum("jkbh,bjk->h", response, covariance)
    return matrix.reshape(-1, len(pivot)), origin
