"""Variational auto-encoder of galaxy stamps whose likelihood is the physics of each image."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from numpy.typing import ArrayLike

from deepcosmo._seeds import stateless_seed
from deepcosmo._types import Endpoints, Seed, TensorLike
from deepcosmo.models.base import ProbabilisticModel, draws, never_empty
from deepcosmo.models.galaxies.laplace import laplace
from deepcosmo.models.galaxies.observations import checked_image, checked_noise, checked_psf
from deepcosmo.models.galaxies.profiles import LightProfileDecoder, StampEncoder, psf_transfer
from deepcosmo.nn.fourier import fourier, inverse_fourier
from deepcosmo.physics.fields import multiplicity

if TYPE_CHECKING:
    import tensorflow_probability as tfp

__all__ = ["GalaxyVAE"]


@keras.saving.register_keras_serializable(package="deepcosmo")
class GalaxyVAE(ProbabilisticModel):
    """x ~ N(PSF * g(z), noise covariance), z ~ N(0, 1): a galaxy model that knows how each stamp was observed.

    The PSF and the noise of every stamp enter the likelihood (Lanusse et al. 2021, arXiv:2008.03833), so the
    decoded galaxy g(z) is free of both: it is positive and has the resolution of a Gaussian of 0.05 arcsec FWHM,
    half that of HST/ACS. The noise is stationary: its covariance is diagonal in Fourier space.

    `fit` takes the feature dicts of the data set `cosmos_stamps`, of which it reads `image` (batch, size, size),
    `psf` (batch, psf_size, psf_size) and `noise_std` (batch,); the loss is minus the evidence lower bound
    (Kingma & Welling 2014, arXiv:1312.6114) in nats, with the entropy of the noise left out.

    Images are in counts/s per pixel (zero point 25.94 mag), at `pixel_scale` arcsec per pixel; a galaxy's centre is
    near the middle of the stamp, that of a PSF on pixel [psf_size // 2, psf_size // 2].

    Args:
        latent: dimension of z.
        size: pixels on a side of the stamps.
        psf_size: pixels on a side of the PSF images.
        decoder_units: widths of the decoder's hidden layers.
        encoder_units: width of the encoder's residual blocks.
    """

    pixel_scale = 0.03
    resolution = 0.05  # arcsec FWHM of the Gaussian that galaxies are seen through where no PSF is given
    zero_point = 25.94
    units = {"image": "ct/s"}

    def __init__(
        self,
        *,
        latent: int = 32,
        size: int = 128,
        psf_size: int = 64,
        decoder_units: Sequence[int] = (256, 256),
        encoder_units: int = 320,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.latent, self.size, self.psf_size = latent, size, psf_size
        self.decoder_units, self.encoder_units = tuple(decoder_units), encoder_units
        outputs = 2 * latent + latent * (latent - 1) // 2
        self.encoder = StampEncoder(outputs=outputs, size=size, units=encoder_units, name="encoder")
        self.decoder = LightProfileDecoder(size=size, units=self.decoder_units, name="decoder")
        self.encoder.build((None, size, size), (None, psf_size, psf_size), (None,))
        self.decoder.build((None, latent))
        self.noise_power = self.add_weight(shape=(size, size), initializer="ones", trainable=False, name="noise_power")
        self.seed_generator = keras.random.SeedGenerator(0)
        # the half plane of `fourier` stands for the whole one
        self._modes = multiplicity(size)[:, None].astype("float32")
        self._lower = np.zeros((latent, latent), "int32")  # from 1 on, row by row; 0 on and above the diagonal
        self._lower[np.tril_indices(latent, -1)] = 1 + np.arange(latent * (latent - 1) // 2)
        self.built = True

    def set_noise_power(self, power: ArrayLike) -> None:
        """Sets the shape of the noise spectrum: (size, size) in the order of `np.fft.fft2`, scaled to mean 1.

        `deepcosmo.physics.galaxies.acs_noise_power()` for COSMOS, ones for white noise.
        """
        power = np.asarray(power, "float32")
        if power.shape != (self.size, self.size) or not np.all(power > 0):
            raise ValueError(f"noise power must be positive, of shape ({self.size}, {self.size}); got {power.shape}")
        self.noise_power.assign(power / power.mean())

    # ---- encoder

    def call(self, x: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        return self._encode(x)

    def _encode(self, x):
        """Posterior mean (batch, latent) and scale_tril (batch, latent, latent) of the stamps of a feature dict."""
        h = never_empty(self.encoder, x["image"], x["psf"], x["noise_std"])
        mean, log_scale, lower = ops.split(h, [self.latent, 2 * self.latent], axis=-1)
        # the strictly lower triangle and, in the first place, what is 0 elsewhere
        entries = ops.pad(ops.tanh(lower), ((0, 0), (1, 0)))
        unit = ops.take(entries, self._lower, axis=-1) + np.eye(self.latent, dtype="float32")
        scale = ops.exp(ops.expand_dims(5.0 * ops.tanh(log_scale / 5.0) - 2.0, -1))  # between e^-7 and e^3
        return 3.0 * mean, scale * unit

    def posterior(
        self, image: TensorLike, psf: TensorLike, noise_std: TensorLike, *, iterations: int = 0
    ) -> "tfp.distributions.Distribution":
        """q(z | image, PSF, noise).

        Args:
            image: stamps (n, size, size) or (n, size, size, 1), counts/s per pixel.
            psf: one PSF image (height, width) or n of them, their peak on pixel [height // 2, width // 2], of unit sum;
                others are normalised, with a warning. Of PSFs whose light is not centred there a warning says by how
                much; they are used as they are, since it depends on the image what is off centre.
            noise_std: standard deviation of the noise per pixel, counts/s: a number or (n,).
            iterations: steps of Levenberg-Marquardt that start from the encoder's answer and end in the Laplace
                approximation at the most probable z: slower, and exact where the likelihood is sharp.

        Returns:
            `tfd.MultivariateNormalTriL` over z, batch shape (n,).

        Raises:
            ValueError: wrong shapes, values that are not finite or masked, noise that is not positive, units other than
                those of counts/s.
        """
        import tensorflow_probability as tfp

        mean, scale_tril = self._posterior(self.checked(image, psf, noise_std), iterations)
        return tfp.distributions.MultivariateNormalTriL(mean, scale_tril=scale_tril)

    def _posterior(self, x, iterations):
        """Mean and scale_tril of `posterior`, of a feature dict that is checked."""
        mean, scale_tril = self._encode(x)
        return self._refined(x, mean, iterations) if iterations and mean.shape[0] else (mean, scale_tril)

    def _refined(self, x, mean, iterations, at_once=8):
        """Laplace approximation from `mean`, a few stamps at once: the Jacobian takes 2 * latent galaxies for each."""
        parts = []
        for start in range(0, mean.shape[0], at_once):
            part = {name: value[start : start + at_once] for name, value in x.items()}

            def residual(z, part=part):
                repeats = z.shape[0] // part["image"].shape[0]
                return self._whitened_residual({k: tf.repeat(v, repeats, axis=0) for k, v in part.items()}, z)

            parts.append(laplace(residual, mean[start : start + at_once], iterations))
        return [tf.concat(values, axis=0) for values in zip(*parts, strict=True)]

    # ---- decoder

    def decode(self, z: TensorLike, psf: "TensorLike | None" = None) -> tf.Tensor:
        """Galaxies of latent vectors, without noise.

        Args:
            z: latent vectors (n, latent).
            psf: one PSF image (height, width) or n of them (n, height, width), centred on pixel
                [height // 2, width // 2], to convolve the galaxies with; None leaves them as the decoder draws them,
                seen through a Gaussian of 0.05 arcsec FWHM.

        Returns:
            Images (n, size, size, 1), counts/s per pixel.
        """
        return self._seen(ops.convert_to_tensor(z, "float32"), None if psf is None else self.checked_psf(psf))

    def _seen(self, z, psf):
        """As `decode`, through PSFs that are checked."""
        galaxies = self._galaxies(z)
        return (galaxies if psf is None else inverse_fourier(self._convolved(galaxies, psf)))[..., None]

    def _galaxies(self, z):
        """The decoder; outside graphs as one, which takes a second to trace and is then four times as fast."""
        return self._decoder_graph(z) if tf.executing_eagerly() else self.decoder(z)

    @functools.cached_property  # not a plain attribute, which Keras would try to save
    def _decoder_graph(self):
        signature = [tf.TensorSpec((None, self.latent), tf.float32)]
        return tf.function(self.decoder, input_signature=signature, autograph=False)

    def reconstruct(
        self, image: TensorLike, psf: TensorLike, noise_std: TensorLike, *, iterations: int = 0
    ) -> tf.Tensor:
        """The stamps of the posterior means: denoised images (n, size, size, 1). Arguments as of `posterior`."""
        x = self.checked(image, psf, noise_std)
        return self._seen(self._posterior(x, iterations)[0], x["psf"])

    def sample(self, n: int | Sequence[int] = 64, *, seed: Seed, psf: "TensorLike | None" = None) -> tf.Tensor:
        """Galaxies (n, size, size, 1) of z ~ N(0, 1), as from `decode`; see `ProbabilisticModel.sample`."""
        n = draws(n)
        z = tf.random.stateless_normal((tf.reduce_prod(n), self.latent), stateless_seed(seed))
        return tf.reshape(self.decode(z, psf), tf.concat([n, [self.size, self.size, 1]], 0))

    def draw(self, number: int, *, seed: Seed) -> dict[str, np.ndarray]:
        """What `deepcosmo sample` writes: a dict with `image`, galaxies (number, size, size)."""
        return {"image": self.sample(number, seed=seed)[..., 0].numpy()}

    # ---- likelihood and bound

    def _convolved(self, galaxies, psf):
        g_re, g_im = fourier(galaxies)
        p_re, p_im = psf_transfer(psf, self.size)
        return g_re * p_re - g_im * p_im, g_re * p_im + g_im * p_re

    def _whitened_residual(self, x, z):
        """Residuals in units of their standard deviation, (batch, modes); half their sum of squares is -log p(x|z)."""
        m_re, m_im = self._convolved(self._galaxies(z), x["psf"])
        x_re, x_im = fourier(x["image"])
        variance = ops.transpose(self.noise_power)[: self.size // 2 + 1] * self.size**2
        weight = ops.sqrt(self._modes / variance) / ops.reshape(x["noise_std"], (-1, 1, 1))
        residual = ops.stack([(x_re - m_re) * weight, (x_im - m_im) * weight], axis=1)
        return ops.reshape(residual, (-1, 2 * (self.size // 2 + 1) * self.size))

    def log_likelihood(self, x: dict[str, tf.Tensor], z: tf.Tensor) -> tf.Tensor:
        """log p(image | z, PSF, noise) of a feature dict (batch,), in nats, without the normalisation of the noise."""
        return -0.5 * ops.sum(self._whitened_residual(x, z) ** 2, axis=-1)

    def _kl_to_prior(self, mean, scale_tril):
        """KL of the Gaussian posterior to N(0, 1), (batch,), in nats."""
        log_scale = ops.log(ops.diagonal(scale_tril, axis1=1, axis2=2))
        return 0.5 * (ops.sum(mean**2, -1) + ops.sum(scale_tril**2, (1, 2)) - self.latent) - ops.sum(log_scale, -1)

    def _negative_elbo(self, x, posterior, noise):
        mean, scale_tril = posterior
        z = mean + ops.squeeze(ops.matmul(scale_tril, ops.expand_dims(noise, -1)), -1)
        return self._kl_to_prior(mean, scale_tril) - self.log_likelihood(x, z)

    def loss_per_example(self, x: dict[str, tf.Tensor], y: Any, y_pred: Any) -> tf.Tensor:
        noise = keras.random.normal(ops.shape(y_pred[0]), seed=self.seed_generator)
        return self._negative_elbo(x, y_pred, noise)

    def elbo(self, image: TensorLike, psf: TensorLike, noise_std: TensorLike, *, seed: Seed = 0) -> tf.Tensor:
        """Evidence lower bound on log p(image), (n,), nats per stamp in counts/s, from one draw of z ~ q.

        Arguments as of `posterior`; same seed (int or int32[2]), same draw.
        """
        return self._elbo(self.checked(image, psf, noise_std), seed, self._negative_elbo)

    def _elbo(self, x, seed, negative):
        """The bound of `negative(x, posterior, noise)`, which leaves out the noise's normalisation."""
        posterior = self._encode(x)
        noise = tf.random.stateless_normal(tf.shape(posterior[0]), stateless_seed(seed))
        return self._noise_normalisation(x) - negative(x, posterior, noise)

    def _noise_normalisation(self, x):
        """Logarithm of the noise's density at its mode (n,): what `log_likelihood` leaves out."""
        log_power = ops.sum(ops.log(self.noise_power))
        return -0.5 * log_power - self.size**2 * (ops.log(x["noise_std"]) + 0.5 * np.log(2 * np.pi))

    # ---- export and input

    def endpoints(self) -> Endpoints:
        image = tf.TensorSpec((None, self.size, self.size), tf.float32, name="image")
        psf = tf.TensorSpec((None, None, None), tf.float32, name="psf")
        noise_std = tf.TensorSpec((None,), tf.float32, name="noise_std")
        z = tf.TensorSpec((None, self.latent), tf.float32, name="z")
        n, seed = tf.TensorSpec((), tf.int32, name="n"), tf.TensorSpec((2,), tf.int32, name="seed")

        def encode(image, psf, noise_std):
            mean, scale_tril = self._encode(self.checked(image, psf, noise_std))
            return {"mean": mean, "scale_tril": scale_tril}

        return {
            "encode": (encode, [image, psf, noise_std]),
            "decode": (lambda z: {"galaxy": self.decode(z)}, [z]),
            "render": (lambda z, psf: {"image": self.decode(z, psf)}, [z, psf]),
            "elbo": (
                lambda image, psf, noise_std, seed: {"elbo": self.elbo(image, psf, noise_std, seed=seed)},
                [image, psf, noise_std, seed],
            ),
            "sample": (lambda n, seed: {"galaxy": self.sample(n, seed=seed)}, [n, seed]),
            "serving_default": (encode, [image, psf, noise_std]),
        }

    def checked(self, image: TensorLike, psf: TensorLike, noise_std: TensorLike) -> dict[str, tf.Tensor]:
        """A feature dict of float32 tensors: Python refuses bad values by ValueError, a graph when it runs."""
        image = checked_image(image, self.size)
        noise_std, psf = checked_noise(noise_std, image), self.checked_psf(psf)
        n = image.shape[0]
        if n is not None and psf.shape[0] not in (None, 1, n):
            raise ValueError(f"psf must be one image or one for each of the {n} stamps; got {psf.shape[0]}")
        psf = tf.broadcast_to(psf, (tf.shape(image)[0], self.psf_size, self.psf_size))
        return {"image": image, "psf": psf, "noise_std": noise_std}

    def checked_psf(self, psf: TensorLike) -> tf.Tensor:
        """PSF images (1 or n, psf_size, psf_size): padded or cut about the central pixel, normalised to unit sum."""
        return checked_psf(psf, self.psf_size)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | dict(
            latent=self.latent,
            size=self.size,
            psf_size=self.psf_size,
            decoder_units=self.decoder_units,
            encoder_units=self.encoder_units,
        )
