"""Score networks: the prior of a field, learned by denoising it at all noise levels."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from deepcosmo._seeds import stateless_seed
from deepcosmo._types import Endpoints, Seed, TensorLike
from deepcosmo.models.base import ProbabilisticModel, draws, never_empty
from deepcosmo.models.kappa.spectrum import AngularSpectrum
from deepcosmo.nn.fourier import filtered
from deepcosmo.nn.unet import UNet
from deepcosmo.physics import fields
from deepcosmo.physics.catalog import PIXEL_SCALE

if TYPE_CHECKING:
    import tensorflow_probability as tfp

__all__ = ["KappaScore"]

LARGEST = 2.0  # logarithm of a pixel's scatter over that of a Gaussian prior


def noise_levels(steps: int, *, largest: float, smallest: float = 4e-3) -> list[float]:
    """Noise levels of a reverse diffusion: a geometric series, list of floats."""
    return np.geomspace(largest, smallest, steps).tolist()


def reverse_diffusion(
    x: tf.Tensor, levels: Sequence[float], seed: tf.Tensor, draw: Callable[..., tf.Tensor], clean: tf.Tensor
) -> tf.Tensor:
    """Takes maps x with white noise of standard deviation `levels[0]` through decreasing levels to maps without noise.

    At each level `draw(x, clean, sigma, seed)` chooses a noise-free map given x, and perhaps the one of the level
    before, and x moves on to a map between both at the next level. If these maps have the right mean and covariance,
    this is exact where all is Gaussian however few the steps, and elsewhere in the limit of many.
    """
    for i, (sigma, following) in enumerate(zip(levels, [*levels[1:], None], strict=True)):
        to_draw, to_move = tf.unstack(tf.random.split(tf.random.fold_in(seed, i), 2))
        clean = draw(x, clean, sigma, to_draw)
        if following is not None:
            kept = (following / sigma) ** 2
            noise = following * math.sqrt(1 - kept) * tf.random.stateless_normal(x.shape, to_move)
            x = clean + kept * (x - clean) + noise
    return clean


@tf.function(autograph=False)
def _moments(model, x, sigma):
    return model.moments(x, tf.fill(tf.shape(x)[:1], sigma))


@keras.saving.register_keras_serializable(package="deepcosmo")
class KappaScore(ProbabilisticModel):
    """Prior of convergence maps as the score of their density, smoothed by white noise of any level.

        score(x, sigma) = gradient of ln p_sigma(x) = (denoise(x, sigma) - x) / sigma^2,   p_sigma = p * N(0, sigma^2)

    (Tweedie's formula.) The denoised map is the Wiener filter's, exact for a Gaussian prior with the stored spectrum,
    plus a residual that a U-Net adds for all that is not Gaussian (Remy et al. 2023, arXiv:2201.05561). Noise leaves
    more open at peaks than in voids; the U-Net tells how much, as a factor for each pixel on the scatter that a
    Gaussian prior leaves. Trained by denoising score matching (Vincent 2011): `fit` takes ({"noisy": x, "sigma":
    sigma}, kappa), maps (batch, rows, columns) with white noise of standard deviation sigma (batch,) per pixel. The
    loss is the squared error of the denoised map over that of the Wiener filter for a Gaussian map, plus the negative
    log-likelihood of the error with its scatter, in nats per pixel less those of a Gaussian prior, whose loss is 1.

    Maps have `pixel_scale` arcmin per pixel, are taken as periodic by the Gaussian part, and may have any size whose
    rows and columns are multiples of `multiple`; the outer `margin` pixels do not count in the loss.

    Args:
        pixel_scale: arcmin.
        widths: channels of the levels of the U-Net.
        spectral_norm: bound on the spectral norms of its convolutions, or None.
        margin: pixels.
    """

    def __init__(
        self,
        *,
        pixel_scale: float = PIXEL_SCALE,
        widths: Sequence[int] = (16, 32, 64, 64),
        spectral_norm: float | None = 1.0,
        margin: int = 16,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pixel_scale, self.widths, self.margin = pixel_scale, tuple(widths), margin
        self.spectral_norm = spectral_norm
        self.network = UNet(widths=widths, outputs=2, spectral_norm=spectral_norm, name="network")
        self.network.build((None, None, None, 2), (None, 6))
        self.multiple = self.network.multiple
        self.spectrum = AngularSpectrum(pixel_scale=pixel_scale, name="spectrum")
        self.spectrum.build()
        self.built = True

    def _wiener_filter(self, shape, sigma):
        """The filter's factor for each mode, and the variances per pixel of what it leaves open and of what it keeps.

        For maps of `shape` with noise `sigma` (batch,): (batch, columns // 2 + 1, rows), (batch,) and (batch,).
        """
        power, noise = self.spectrum.power(shape)[None], ops.square(sigma)[:, None, None]
        share = power / (power + noise)
        weight = (fields.multiplicity(shape[1])[:, None] / np.prod(shape)).astype("float32")
        left, kept = (ops.sum(share * of * weight, axis=(1, 2)) for of in (noise, power))
        return share, left, kept

    # ---- denoising

    def call(self, x: dict[str, tf.Tensor]) -> tf.Tensor:
        """The denoised map and the logarithm of its scatter over a Gaussian prior's: (batch, rows, columns, 2)."""
        return ops.stack(self._posterior(x["noisy"], x["sigma"])[:2], -1)

    def denoise(self, x: TensorLike, sigma: TensorLike, *, residual: bool = True) -> tf.Tensor:
        """Mean of all maps that, with white noise added, may have become x.

        Args:
            x: (batch, rows, columns).
            sigma: standard deviation of the noise per pixel (batch,).
            residual: False for the Gaussian part alone.
        """
        return self._posterior(x, sigma, residual)[0]

    def moments(self, x: TensorLike, sigma: TensorLike, *, residual: bool = True) -> tuple[tf.Tensor, tf.Tensor]:
        """As `denoise`, and the scatter of these maps over that of a Gaussian prior's, each (batch, rows, columns)."""
        mean, log_scatter, _ = self._posterior(x, sigma, residual)
        return mean, ops.exp(log_scatter)

    def _posterior(self, x, sigma, residual=True):
        """Mean, logarithm of the scatter over that of a Gaussian prior, and the latter (batch, 1, 1)."""
        share, left, kept = self._wiener_filter(x.shape[1:3], sigma)
        wiener, scale = filtered(x, share), ops.sqrt(left)[:, None, None]
        if not residual:
            return wiener, ops.zeros_like(wiener), scale
        level = ops.log(sigma / 0.1)
        amplitude = ops.log(ops.mean(ops.square(wiener), (1, 2)) / kept + 1e-3)  # universes differ in it
        condition = [level / 3, ops.sin(level), ops.cos(level), ops.sin(2 * level), ops.cos(2 * level), amplitude]
        seen = ops.stack([wiener / scale, (x - wiener) / ops.sqrt(scale**2 + sigma[:, None, None] ** 2)], -1)
        mean, log_scatter = ops.unstack(never_empty(self.network, seen, ops.stack(condition, -1)), axis=-1)
        return wiener + scale * mean, LARGEST * ops.tanh(log_scatter / LARGEST), scale

    def distribution(self, x: dict[str, tf.Tensor]) -> "tfp.distributions.Distribution":
        """Of each pixel's convergence, given the noisy map: a `tfd.Normal` of batch shape (batch, rows, columns).

        Its mean is the denoised map.
        """
        import tensorflow_probability as tfp

        mean, log_scatter, scale = self._posterior(x["noisy"], x["sigma"])
        return tfp.distributions.Normal(mean, scale * tf.exp(log_scatter))

    def score(self, x: TensorLike, sigma: TensorLike, *, residual: bool = True) -> tf.Tensor:
        """Gradient of ln p_sigma at x; arguments as of `denoise`."""
        return (self.denoise(x, sigma, residual=residual) - x) / ops.square(sigma)[:, None, None]

    # ---- samples

    def sample(
        self,
        n: int | Sequence[int] = 1,
        shape: Sequence[int] | None = None,
        *,
        seed: "Seed | None" = None,
        count: int | Sequence[int] | None = None,
        steps: int = 64,
    ) -> tf.Tensor:
        """Maps of the prior, by a reverse diffusion; see `ProbabilisticModel.sample`.

        Args:
            n: number of maps; () for one without an axis of its own.
            shape: (rows, columns). It may also come first, with the seed behind it and the number of maps as `count`.
            seed: int or int32[2]. Same seed, same maps.
            count: another name of n.
            steps: of the diffusion. Few lose what is rare: with 24, two thirds of the pixels above 0.06 on scales of 2'
                are missing.

        Returns:
            (n, rows, columns).
        """
        if np.shape(n) == (2,):
            n, shape, seed = 1, n, shape if seed is None else seed
        if shape is None or seed is None:
            raise TypeError("maps are drawn by sample(n, (rows, columns), seed=...)")
        n = tuple(draws(n if count is None else count).numpy().tolist())
        return tf.reshape(self._sample(math.prod(n), shape, seed, steps), (*n, *shape))  # type: ignore[misc]

    def _sample(self, count, shape, seed, steps):
        # more than is wanted: the edges of a map are not those of the sky
        grid = tuple(-(-(n + 4 * self.margin) // self.multiple) * self.multiple for n in shape)
        seeds = tf.random.split(stateless_seed(seed), 3)
        power = self.spectrum.power(grid)[None]
        levels = noise_levels(steps, largest=3.0)

        def coloured(power, seed):
            return filtered(tf.random.stateless_normal((count, *grid), seed), ops.sqrt(power))

        def draw(x, _, sigma, seed):
            mean, scatter = _moments(self, x, tf.constant(sigma, tf.float32))
            return mean + scatter * coloured(power * sigma**2 / (power + sigma**2), seed)

        clean = coloured(power, seeds[0])
        x = clean + levels[0] * tf.random.stateless_normal(clean.shape, seeds[1])
        return reverse_diffusion(x, levels, seeds[2], draw, clean)[:, : shape[0], : shape[1]]

    def loss_per_example(self, x: dict[str, tf.Tensor], y: tf.Tensor, y_pred: Any) -> tf.Tensor:
        inner = slice(self.margin, -self.margin or None)
        _, left, _ = self._wiener_filter(y.shape[1:3], x["sigma"])
        error = ops.square(y_pred[..., 0] - y)[:, inner, inner] / left[:, None, None]
        log_scatter = y_pred[:, inner, inner, 1]
        likelihood = 0.5 * ops.stop_gradient(error) * ops.exp(-2.0 * log_scatter) + log_scatter - 0.5
        return ops.mean(error + likelihood, axis=(1, 2))

    def endpoints(self) -> Endpoints:
        specs = [tf.TensorSpec((None, 384, 384), tf.float32, name="noisy"), tf.TensorSpec((None,), tf.float32, "sigma")]

        def denoise(noisy, sigma):
            return {"denoised": self.denoise(noisy, sigma)}

        def score(noisy, sigma):
            return {"score": self.score(noisy, sigma)}

        return {"denoise": (denoise, specs), "score": (score, specs), "serving_default": (denoise, specs)}

    def get_config(self) -> dict[str, Any]:
        names = ("pixel_scale", "widths", "spectral_norm", "margin")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
