"""Flow-VAE: galaxies of a given magnitude, size and redshift."""

import functools
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from numpy.typing import ArrayLike

from deepcosmo._seeds import stateless_seed
from deepcosmo._types import Endpoints, Seed, TensorLike
from deepcosmo._warnings import warn
from deepcosmo.models.base import draws
from deepcosmo.models.densities.flows import MAF
from deepcosmo.models.galaxies.catalog import CatalogFlow
from deepcosmo.models.galaxies.observations import numbers
from deepcosmo.models.galaxies.vae import GalaxyVAE

__all__ = ["FlowVAE"]

_KNOTS = 12


@keras.saving.register_keras_serializable(package="deepcosmo")
class FlowVAE(GalaxyVAE):
    """A `GalaxyVAE` whose prior is learned: z ~ p(z | mag_auto, flux_radius, zphot), a normalising flow.

    Sampling is flow, then decoder (Lanusse et al. 2021, arXiv:2008.03833), and every galaxy has the flux of its
    `mag_auto`: what of it falls inside the stamp is, at each `flux_radius`, that of the training's galaxies. A frozen
    `CatalogFlow` is the joint density of the conditions, so that a whole population can be drawn without a catalogue.
    `posterior` keeps the prior N(0, 1) of the `GalaxyVAE`: it needs no conditions.

    `fit` takes the feature dicts of the data set `cosmos_stamps`, whose `attrs` hold the conditions. Its loss is minus
    the evidence lower bound under the learned prior. Feature dicts that hold `latent`, draws of z from the posterior,
    train the flow alone, which is hundreds of times faster.

    Args:
        flow: arguments of the conditional flow, `deepcosmo.models.MAF`.
        catalogue: arguments of the `CatalogFlow`.
        **kwargs: as of `GalaxyVAE`.
    """

    conditions = {"mag_auto": "mag", "flux_radius": "pix", "zphot": ""}
    units = {"image": "ct/s", **conditions}

    def __init__(
        self, *, flow: dict[str, Any] | None = None, catalogue: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.flow_arguments = dict(flow or {"transforms": 6, "hidden": (128, 128)})
        self.catalogue_arguments = dict(catalogue or {})
        self.prior = MAF(dim=self.latent, context_dim=3, name="prior", **self.flow_arguments)
        self.population = CatalogFlow(name="population", **self.catalogue_arguments)
        self.population.trainable = False
        self.condition_range = self.add_weight(
            shape=(2, 3), initializer="zeros", trainable=False, name="condition_range"
        )
        # mean share of the flux that lies inside the stamp, at knots equally spaced in log flux_radius
        self.inside = self.add_weight(shape=(_KNOTS,), initializer="ones", trainable=False, name="inside")

    # ---- conditions

    def adapt(self, latent: np.ndarray, conditions: Mapping[str, ArrayLike], inside: np.ndarray) -> None:
        """Measures what training leaves alone, from galaxies whose latent vectors are known.

        Args:
            latent: (n, latent).
            conditions: dict of (n,) arrays; their scales and ranges are those of the model.
            inside: share of each galaxy's flux that lies inside its stamp, (n,).
        """
        self.prior.adapt(self._context(self._stack(conditions)), latent)
        values = np.stack([np.asarray(conditions[name], "float32") for name in self.conditions], axis=-1)
        self.condition_range.assign(np.quantile(values, [0.0005, 0.9995], axis=0))
        shares = np.asarray(self._knots(values[:, 1]), float)
        gram = shares.T @ shares + 1e-3 * np.eye(_KNOTS)  # knots that no galaxy is near stay at 1
        self.inside.assign(1.0 + np.linalg.solve(gram, shares.T @ (np.asarray(inside, float) - 1.0)))

    def _stack(self, conditions):
        missing = [name for name in self.conditions if name not in conditions]
        if missing:
            raise ValueError(f"conditions are {', '.join(self.conditions)}; missing: {', '.join(missing)}")
        return ops.stack([numbers(conditions[name], unit, name) for name, unit in self.conditions.items()], axis=-1)

    @staticmethod
    def _context(values):
        """(mag_auto, flux_radius, zphot) -> (mag_auto, log flux_radius, log(1 + zphot))."""
        mag, radius, redshift = ops.unstack(values, axis=-1)
        return ops.stack([mag, ops.log(radius), ops.log(1.0 + redshift)], axis=-1)

    def _knots(self, radius):
        """Weights (n, knots) of a linear interpolation in log flux_radius, constant beyond the trained range."""
        low, high = ops.unstack(ops.log(ops.maximum(self.condition_range[:, 1], [1.0, 2.0])))  # zeros before `adapt`
        place = (_KNOTS - 1) * ops.clip((ops.log(radius) - low) / (high - low), 0.0, 1.0)
        return ops.relu(1.0 - ops.abs(place[:, None] - np.arange(_KNOTS, dtype="float32")))

    def checked_conditions(self, conditions: Mapping[str, ArrayLike]) -> tf.Tensor:
        """Conditions (n, 3) of a dict of arrays (n,); values outside the trained range are warned of."""
        unknown = [name for name in conditions if name not in self.conditions]
        if unknown:
            raise ValueError(f"conditions are {', '.join(self.conditions)}; unknown: {', '.join(unknown)}")
        shapes = {name: np.shape(value) for name, value in conditions.items()}
        if any(len(shape) != 1 for shape in shapes.values()) or len(set(shapes.values())) > 1:
            raise ValueError(f"conditions must be arrays (n,) of one length; got shapes {shapes}")
        values = self._stack(conditions)
        if tf.executing_eagerly():
            if not np.all(np.isfinite(values)) or np.any(values[:, 1] <= 0) or np.any(values[:, 2] <= -1):
                raise ValueError("conditions must be finite, flux_radius positive and zphot above -1")
            low, high = self.condition_range.numpy()
            for i, name in enumerate(self.conditions):
                outside = int(np.sum((values[:, i] < low[i]) | (values[:, i] > high[i])))
                if outside:
                    warn(f"{name} of {outside} galaxies is outside the trained range [{low[i]:.3g}, {high[i]:.3g}]")
        return values

    # ---- training

    def call(self, x: dict[str, Any]) -> tuple[tf.Tensor | None, ...]:
        """Posterior mean and scale_tril, as of `GalaxyVAE`, and the context of the prior."""
        context = self._context(self._stack(x["attrs"]))
        if "latent" in x:
            return x["latent"], None, context
        return (*self._encode(x), context)

    def loss_per_example(self, x: Any, y: Any, y_pred: Any) -> tf.Tensor:
        z, scale_tril, context = y_pred
        if scale_tril is None:
            return -self.prior.log_prob(z, context)
        noise = keras.random.normal(ops.shape(z), seed=self.seed_generator)
        return self._negative_conditional_elbo(x, (z, scale_tril), noise, context)

    def _negative_conditional_elbo(self, x, posterior, noise, context):
        mean, scale_tril = posterior
        z = mean + ops.squeeze(ops.matmul(scale_tril, ops.expand_dims(noise, -1)), -1)
        log_scale = ops.log(ops.diagonal(scale_tril, axis1=1, axis2=2))
        log_posterior = -ops.sum(0.5 * noise**2 + log_scale, -1) - 0.5 * self.latent * np.log(2 * np.pi)
        return log_posterior - self.prior.log_prob(z, context) - self.log_likelihood(x, z)

    def elbo(
        self,
        image: TensorLike,
        psf: TensorLike,
        noise_std: TensorLike,
        *,
        conditions: Mapping[str, ArrayLike] | None = None,
        seed: Seed = 0,
    ) -> tf.Tensor:
        """Evidence lower bound on log p(image | conditions); without conditions on log p(image) where z ~ N(0, 1)."""
        if conditions is None:
            return super().elbo(image, psf, noise_std, seed=seed)
        x, context = self.checked(image, psf, noise_std), self._context(self.checked_conditions(conditions))
        return self._elbo(x, seed, functools.partial(self._negative_conditional_elbo, context=context))

    # ---- sampling

    def sample_conditions(self, n: int, *, seed: Seed) -> dict[str, tf.Tensor]:
        """Conditions of n galaxies of the population down to F814W = 25.2: a dict of arrays (n,)."""
        drawn = self.population.sample(n, seed=seed)
        return {name: drawn[name] for name in self.conditions}

    def sample_latent(self, conditions: Mapping[str, ArrayLike], *, seed: Seed) -> tf.Tensor:
        """z ~ p(z | conditions), (n, latent). `conditions`: dict of mag_auto, flux_radius, zphot, each (n,)."""
        return self._latent(self.checked_conditions(conditions), seed)

    def _latent(self, values, seed):
        return self.prior.sample((), self._context(values), seed=seed)

    def sample(
        self,
        n: Any = None,
        conditions: Mapping[str, ArrayLike] | None = None,
        *,
        seed: Seed,
        psf: "TensorLike | None" = None,
    ) -> tf.Tensor:
        """Galaxies without noise, counts/s per pixel; see `ProbabilisticModel.sample`.

        Args:
            n: number of galaxies, by default 64 of the population, or one for each of the conditions. Conditions may
                stand here, too.
            conditions: dict of mag_auto (AB), flux_radius (px of 0.03 arcsec) and zphot, each (m,); None draws
                them from the population.
            seed: int or int32[2]. Same seed, same galaxies.
            psf: as of `decode`: one, or one for each of the conditions or galaxies of the population.

        Returns:
            (n, size, size, 1) of the population, (n, m, size, size, 1) of conditions, and of these without n
            (m, size, size, 1).
        """
        if isinstance(n, Mapping):
            n, conditions = (), n
        if n is None:
            n = 64 if conditions is None else ()
        return self._sample(n, conditions, seed, psf)[0]

    def _sample(self, n, conditions, seed, psf=None):
        first, second = tf.unstack(tf.random.split(stateless_seed(seed), 2))
        shape, each = draws(n), ()
        if conditions is None:
            conditions = self.sample_conditions(tf.reduce_prod(shape), seed=first)
            values = self._stack(conditions)
        else:
            values = self.checked_conditions(conditions)
            shape, each = tf.concat([shape, tf.shape(values)[:1]], 0), shape
        z = tf.reshape(self.prior.sample(each, self._context(values), seed=second), (-1, self.latent))
        repeats = tf.reduce_prod(draws(each))
        values = tf.tile(values, [repeats, 1])
        if psf is not None:
            psf = self.checked_psf(psf)
            psf = psf if psf.shape[0] == 1 else tf.tile(psf, [repeats, 1, 1])
        galaxies = self._seen(z, psf)
        flux = 10.0 ** (0.4 * (self.zero_point - values[:, 0])) * ops.matmul(self._knots(values[:, 1]), self.inside)
        galaxies = galaxies * ops.reshape(flux / ops.sum(galaxies, (1, 2, 3)), (-1, 1, 1, 1))
        return tf.reshape(galaxies, tf.concat([shape, galaxies.shape[1:]], 0)), conditions

    def draw(self, number: int, *, seed: Seed) -> dict[str, np.ndarray]:
        """What `deepcosmo sample` writes: galaxies (`image`) of the whole population, and their conditions."""
        galaxies, conditions = self._sample(number, None, seed)
        return {"image": galaxies[..., 0].numpy()} | {name: value.numpy() for name, value in conditions.items()}

    def endpoints(self) -> Endpoints:
        endpoints = super().endpoints()
        n, seed = endpoints["sample"][1]
        given = [tf.TensorSpec((None,), tf.float32, name=name) for name in self.conditions]

        def sample(n, seed):
            galaxies, conditions = self._sample(n, None, seed)
            return {"galaxy": galaxies, **conditions}

        def at(mag_auto, flux_radius, zphot):
            return {"mag_auto": mag_auto, "flux_radius": flux_radius, "zphot": zphot}

        def sample_at(mag_auto, flux_radius, zphot, seed):
            return {"galaxy": self.sample(at(mag_auto, flux_radius, zphot), seed=seed)}

        def log_prob(z, mag_auto, flux_radius, zphot):
            context = self._context(self._stack(at(mag_auto, flux_radius, zphot)))
            return {"log_prob": self.prior.log_prob(z, context)}

        return {
            **endpoints,
            "sample": (sample, [n, seed]),
            "sample_at": (sample_at, [*given, seed]),
            "log_prob": (log_prob, [*endpoints["decode"][1], *given]),
        }

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | dict(flow=self.flow_arguments, catalogue=self.catalogue_arguments)
