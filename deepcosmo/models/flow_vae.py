"""Flow-VAE: galaxies of a given magnitude, size and redshift."""

import warnings

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from deepcosmo.models.conditional import stateless_seed
from deepcosmo.models.flows import MAF
from deepcosmo.models.vae import GalaxyVAE

__all__ = ["FlowVAE"]


@keras.saving.register_keras_serializable(package="deepcosmo")
class FlowVAE(GalaxyVAE):
    """A `GalaxyVAE` whose prior is learned: z ~ p(z | mag_auto, flux_radius, zphot), a normalising flow.

    Sampling is flow, then decoder (Lanusse et al. 2021, arXiv:2008.03833). A second, small flow is the joint density of
    the three conditions, so that a whole population can be drawn without a catalogue.

    `fit` takes the feature dicts of the data set `cosmos_stamps`, whose `attrs` hold the conditions. Its loss is minus
    the evidence lower bound under the learned prior, minus log p(conditions). Feature dicts that hold `latent`,
    draws of z from the posterior, train the flows alone, which is hundreds of times faster.

    Args:
        flow: arguments of the conditional flow, `deepcosmo.models.MAF`.
        **kwargs: as of `GalaxyVAE`.
    """

    conditions = {"mag_auto": "mag", "flux_radius": "pix", "zphot": ""}
    units = {"image": "ct/s", **conditions}

    def __init__(self, *, flow=None, **kwargs):
        super().__init__(**kwargs)
        self.flow_arguments = dict(flow or {"transforms": 5, "hidden": (64, 64)})
        self.prior = MAF(dim=self.latent, context_dim=3, name="prior", **self.flow_arguments)
        self.population = MAF(dim=3, transforms=4, hidden=(32, 32), name="population")
        self.condition_range = self.add_weight(shape=(2, 3), initializer="zeros", trainable=False,
                                               name="condition_range")

    # ---- conditions

    def adapt(self, latent, conditions):
        """Measures the scales of latent vectors (n, latent) and of `conditions`, and the range of the latter."""
        context = self._context(self._stack(conditions))
        self.prior.adapt(context, latent)
        self.population.adapt(context)
        values = np.stack([np.asarray(conditions[name], "float32") for name in self.conditions], axis=-1)
        self.condition_range.assign(np.quantile(values, [0.0005, 0.9995], axis=0))

    def _stack(self, conditions):
        missing = [name for name in self.conditions if name not in conditions]
        if missing:
            raise ValueError(f"conditions are {', '.join(self.conditions)}; missing: {', '.join(missing)}")
        return ops.stack([ops.cast(conditions[name], "float32") for name in self.conditions], axis=-1)

    @staticmethod
    def _context(values):
        """(mag_auto, flux_radius, zphot) -> (mag_auto, log flux_radius, log(1 + zphot))."""
        mag, radius, redshift = ops.unstack(values, axis=-1)
        return ops.stack([mag, ops.log(radius), ops.log(1.0 + redshift)], axis=-1)

    def checked_conditions(self, conditions):
        """Conditions (n, 3) of a dict of arrays (n,); values outside the trained range are warned of."""
        values = self._stack(conditions)
        if tf.executing_eagerly():
            if not np.all(np.isfinite(values)) or np.any(values[:, 1] <= 0) or np.any(values[:, 2] <= -1):
                raise ValueError("conditions must be finite, flux_radius positive and zphot above -1")
            low, high = self.condition_range.numpy()
            for i, name in enumerate(self.conditions):
                outside = int(np.sum((values[:, i] < low[i]) | (values[:, i] > high[i])))
                if outside:
                    warnings.warn(f"{name} of {outside} galaxies is outside the trained range "
                                  f"[{low[i]:.3g}, {high[i]:.3g}]", stacklevel=3)
        return values

    # ---- training

    def call(self, x):
        """Posterior mean and scale_tril, as of `GalaxyVAE`, and the context of the prior."""
        context = self._context(self._stack(x["attrs"]))
        if "latent" in x:
            return x["latent"], None, context
        return (*self._encode(x), context)

    def loss_per_example(self, x, y, y_pred):
        z, scale_tril, context = y_pred
        loss = -self.population.log_prob(context)
        if scale_tril is None:
            return loss - self.prior.log_prob(z, context)
        noise = keras.random.normal(ops.shape(z), seed=self.seed_generator)
        z = z + ops.squeeze(ops.matmul(scale_tril, ops.expand_dims(noise, -1)), -1)
        log_scale = ops.log(ops.diagonal(scale_tril, axis1=1, axis2=2))
        log_posterior = -ops.sum(0.5 * noise**2 + log_scale, -1) - 0.5 * self.latent * np.log(2 * np.pi)
        return loss + log_posterior - self.prior.log_prob(z, context) - self.log_likelihood(x, z)

    # ---- sampling

    def sample_conditions(self, n, *, seed):
        """Conditions of n galaxies of the population down to F814W = 25.2: a dict of arrays (n,)."""
        mag, log_radius, log_redshift = ops.unstack(self.population.sample(n, seed=seed), axis=-1)
        values = ops.stack([mag, ops.exp(log_radius), ops.exp(log_redshift) - 1.0], axis=-1)
        values = ops.clip(values, self.condition_range[0], self.condition_range[1])
        return dict(zip(self.conditions, ops.unstack(values, axis=-1), strict=True))

    def sample_latent(self, conditions, *, seed):
        """z ~ p(z | conditions), (n, latent). `conditions`: dict of mag_auto, flux_radius, zphot, each (n,)."""
        return self.prior.sample((), self._context(self.checked_conditions(conditions)), seed=seed)

    def sample(self, n=None, *, conditions=None, seed):
        """Galaxies (n, size, size), counts/s per pixel, free of PSF and noise, at 0.05 arcsec FWHM.

        Args:
            n: number of galaxies of the whole population; or
            conditions: dict of mag_auto (AB), flux_radius (px of 0.03 arcsec) and zphot, each (n,).
            seed: int or int32[2]. Same seed, same galaxies.
        """
        if (n is None) == (conditions is None):
            raise ValueError("sample takes either a number of galaxies or their conditions")
        first, second = tf.unstack(tf.random.split(stateless_seed(seed), 2))
        if conditions is None:
            conditions = self.sample_conditions(n, seed=first)
        return self.decode(self.sample_latent(conditions, seed=second))

    def draw(self, number, *, seed):
        """What `deepcosmo sample` writes: galaxies (`image`) of the whole population, and their conditions."""
        first, second = tf.unstack(tf.random.split(stateless_seed(seed), 2))
        conditions = self.sample_conditions(number, seed=first)
        galaxies = self.decode(self.sample_latent(conditions, seed=second))
        return {"image": galaxies.numpy()} | {name: value.numpy() for name, value in conditions.items()}

    def endpoints(self):
        endpoints = super().endpoints()
        n, seed = endpoints["sample"][1]
        given = [tf.TensorSpec((None,), tf.float32, name=name) for name in self.conditions]

        def sample(n, seed):
            first, second = tf.unstack(tf.random.split(seed, 2))
            conditions = self.sample_conditions(n, seed=first)
            return {"galaxy": self.decode(self.sample_latent(conditions, seed=second)), **conditions}

        def sample_at(mag_auto, flux_radius, zphot, seed):
            conditions = {"mag_auto": mag_auto, "flux_radius": flux_radius, "zphot": zphot}
            return {"galaxy": self.sample(conditions=conditions, seed=seed)}

        return {**endpoints, "sample": (sample, [n, seed]), "sample_at": (sample_at, [*given, seed])}

    def get_config(self):
        return super().get_config() | dict(flow=self.flow_arguments)
