"""Posterior mean and scatter of convergence maps by regression on shear and its Wiener-filtered map."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf
from keras import ops

from deepcosmo._types import Endpoints, TensorLike
from deepcosmo.models.base import ProbabilisticModel, never_empty
from deepcosmo.models.kappa.spectrum import AngularSpectrum
from deepcosmo.nn.unet import UNet
from deepcosmo.physics import wiener
from deepcosmo.physics.catalog import PIXEL_SCALE

if TYPE_CHECKING:
    import tensorflow_probability as tfp

__all__ = ["KappaUNet", "network_input"]

TYPICAL_NOISE = 0.145  # of a shear component per pixel: COSMOS at 0.29'
TYPICAL_SIGNAL = 0.02  # of the convergence, where only the smooth part of it is known


def network_input(shear: tf.Tensor, power: TensorLike, precision: TensorLike) -> dict[str, tf.Tensor]:
    """The input of a `KappaUNet` from shear maps (batch, rows, columns, 2): arguments as of `physics.wiener`."""
    information = wiener.information(shear, precision)
    filtered = wiener.solve(information, power, precision)
    return {"wiener": filtered, "information": information, "precision": tf.reduce_mean(precision, -1)}


@keras.saving.register_keras_serializable(package="deepcosmo")
class KappaUNet(ProbabilisticModel):
    """Mean and standard deviation of each pixel's convergence given the shear map (DeepMass, Jeffrey et al. 2020,
    arXiv:1908.00543; moments as in Jeffrey & Wandelt 2020, arXiv:2011.05991).

    A U-Net adds to the Wiener-filtered map what is not Gaussian in it. It sees that map, the map before the filter,
    whose noise is white, and the precision of the shear in each pixel, so it needs no retraining for other masks and
    noise. `fit` takes ({"wiener": w, "information": i, "precision": p}, kappa), all (batch, rows, columns): with noise
    covariance N, prior covariance S and A from convergence to shear, i = A^T N^-1 shear and
    w = (S^-1 + A^T N^-1 A)^-1 i; p is 1 / noise variance of a shear component, 0 where nothing was observed. Rows and
    columns must be multiples of `multiple`; the outer `margin` pixels do not count in the loss, which is the squared
    error in units of `TYPICAL_SIGNAL` plus the Gaussian negative log-likelihood of the error that is left, in nats.

    Args:
        pixel_scale: arcmin.
        widths: channels of the levels of the U-Net.
        margin: pixels.
    """

    def __init__(
        self,
        *,
        pixel_scale: float = PIXEL_SCALE,
        widths: Sequence[int] = (16, 32, 64, 64),
        margin: int = 16,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pixel_scale, self.widths, self.margin = pixel_scale, tuple(widths), margin
        self.network = UNet(widths=widths, outputs=2, name="network")
        self.network.build((None, None, None, 4), (None, 2))
        self.spectrum = AngularSpectrum(pixel_scale=pixel_scale, name="spectrum")  # of the Wiener filter
        self.spectrum.build()
        self.multiple = self.network.multiple
        self.built = True

    def call(self, x: dict[str, tf.Tensor]) -> tf.Tensor:
        """Mean and logarithm of the standard deviation, (batch, rows, columns, 2)."""
        filtered, white, precision = x["wiener"], x["information"] * TYPICAL_NOISE, x["precision"] * TYPICAL_NOISE**2
        observed = ops.cast(precision > 0, "float32")
        # universes and surveys differ in these; the sky where nothing was observed tells of neither
        seen = ops.maximum(ops.sum(observed, (1, 2)), 1.0)
        depth = ops.log(ops.sum(precision, (1, 2)) / seen + 1e-3)
        power = ops.sum(observed * ops.square(filtered), (1, 2)) / seen
        amplitude = ops.log(power / TYPICAL_SIGNAL**2 + 1e-3)
        maps = ops.stack([filtered / TYPICAL_SIGNAL, white, ops.sqrt(precision) - 1.0, observed], -1)
        mean, log_std = ops.split(never_empty(self.network, maps, ops.stack([depth, amplitude], -1)), 2, axis=-1)
        return ops.concatenate([filtered[..., None] + TYPICAL_SIGNAL * mean, log_std], -1)

    def distribution(self, x: dict[str, tf.Tensor]) -> "tfp.distributions.Distribution":
        """Of each pixel's convergence: a `tfd.Normal` of batch shape (batch, rows, columns)."""
        import tensorflow_probability as tfp

        mean, log_std = tf.unstack(self(x), axis=-1)
        return tfp.distributions.Normal(mean, TYPICAL_SIGNAL * tf.exp(log_std))

    def loss_per_example(self, x: dict[str, tf.Tensor], y: tf.Tensor, y_pred: Any) -> tf.Tensor:
        inner = slice(self.margin, -self.margin or None)
        error = (y - y_pred[..., 0])[:, inner, inner] / TYPICAL_SIGNAL
        log_std = y_pred[:, inner, inner, 1]
        left = ops.square(ops.stop_gradient(error))
        return ops.mean(ops.square(error) + 0.5 * left * ops.exp(-2.0 * log_std) + log_std, axis=(1, 2))

    def endpoints(self) -> Endpoints:
        specs = [tf.TensorSpec((None, None, None), tf.float32, name) for name in ("wiener", "information", "precision")]

        def infer(**maps):
            posterior = self.distribution(maps)
            return {"mean": posterior.loc, "std": posterior.scale}

        return {"posterior": (infer, specs), "serving_default": (infer, specs)}

    def get_config(self) -> dict[str, Any]:
        names = ("pixel_scale", "widths", "margin")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
