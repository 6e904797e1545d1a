"""Neural estimators of posterior, likelihood and likelihood ratio, trained on simulations.

    estimator = NPE(prior).fit(theta, x)
    posterior = estimator.posterior(x_observed)
    posterior.sample(10_000, seed=0)
"""

import abc
import functools
import warnings

import keras
import numpy as np
import tensorflow as tf

from deepcosmo.inference.sbi import simulations
from deepcosmo.inference.sbi.posterior import AmortizedPosterior, SampledPosterior
from deepcosmo.inference.sbi.support import unconstraining
from deepcosmo.inference.sbi.training import Training, train
from deepcosmo.models.prepared import DENSITIES, PreparedDensity
from deepcosmo.models.ratio import RatioEstimator
from deepcosmo.nn.linear_fit import LinearFit

__all__ = ["NLE", "NPE", "NRE", "Estimator"]


class Estimator(abc.ABC):
    """What the methods share: checked simulations, a network, posteriors.

    Args:
        prior: `tfd.Distribution` of parameter vectors (dim,), bounded or not. Densities and chains live behind the
            bijector from real vectors onto its support, so no posterior leaks out of it.
        density: "maf_mog" (autoregressive flow onto mixtures), "nsf" (splines), "maf", "realnvp" or "mdn".
        compressor: Keras model from data to summaries (batch, n). If it has weights to train they are trained along.
            None for vectors.
        options: dict of arguments of the density's class, e.g. {"hidden": (256, 256)}.

    Attributes:
        network: the trained Keras model, or None before `fit`.
        history: losses of each epoch, list of dicts; the loss is a negative log-density in nats.
    """

    def __init__(self, prior, *, density="maf_mog", compressor=None, options=None):
        if density not in DENSITIES:
            raise ValueError(f"density must be one of {', '.join(DENSITIES)}; got {density!r}")
        self.prior, self.bijector = prior, unconstraining(prior)
        self.dim = int(prior.event_shape[0])
        self.density, self.compressor, self.options = density, compressor, options
        self.network, self.history, self._typical = None, [], None

    def fit(self, theta, x, *, seed=0, invalid="raise", **settings):
        """Trains a new network on simulations.

        Args:
            theta: parameters (n, dim).
            x: data (n, ...) of these parameters: vectors, or arrays whose last axis are channels, with a compressor.
            seed: int; same seed, same network.
            invalid: what to do with NaN and infinite values: "raise", "drop", or "gaps" where NaN means "not measured".
            settings: fields of `Training`, such as `batch_size`, `patience`, `validation`, `strategy`, `progress`.

        Returns:
            This estimator.

        Raises:
            ValueError: theta and x of different length or wrong shape, NaN or infinite values, impossible parameters.
        """
        settings = Training(**settings)
        theta, x = simulations.checked(theta, x, self.prior, invalid)
        self._gaps = bool(np.isnan(x).any())
        self._x_shape = x.shape[1:]
        self._fit(theta, self._compressed(x), settings=settings, seed=seed, gaps=self._gaps)
        self._adapt_typical(x)
        return self

    @abc.abstractmethod
    def _fit(self, theta, x, *, settings, seed, gaps):
        """Trains `network`, writes `history`."""

    @abc.abstractmethod
    def posterior(self, x):
        """The posterior given the observation x, an array of the shape of one simulation."""

    def _train(self, make, x, y, *, settings, seed):
        """The model that `make()` creates, trained by `fit(x, y)`, and its history."""
        keras.utils.set_random_seed(seed)  # of the weights, which every copy shall have
        first = make()
        first.adapt(x, y)
        weights = first.get_weights()

        def model():
            network = make()
            network.set_weights(weights)
            return network

        return train(model, x, y, settings=settings, seed=seed, jit_compile=first.supports_xla)

    @property
    def _trained_along(self):
        """The compressor, if it is trained together with the density."""
        return self.compressor if self.compressor is not None and self.compressor.trainable_weights else None

    def _compressed(self, x):
        """x, or its summaries by a compressor that is trained already."""
        if self.compressor is None or self._trained_along is not None:
            return x
        return np.asarray(self.compressor.predict(x, verbose=0))

    def _observed(self, x):
        """One observation (1, ...), checked and compressed."""
        if self.network is None:
            raise RuntimeError(f"this {type(self).__name__} has no network yet: call fit(theta, x) first")
        x = np.asarray(x, "float32")
        if x.shape == (1, *self._x_shape):
            x = x[0]
        if x.shape != self._x_shape:
            raise ValueError(f"the observation must have the shape {self._x_shape} of a simulation; got {x.shape}")
        if np.isinf(x).any() or (np.isnan(x).any() and not self._gaps):
            raise ValueError("the observation holds NaN or infinite values, and the simulations did not")
        x = x[None]
        distance = float(self._distances(x)[0])
        if distance > self._typical["largest"]:
            warnings.warn(
                f"the observation is unlike all simulations: its summaries are at a Mahalanobis distance of "
                f"{distance:.1f} from their mean, the farthest simulation at {self._typical['largest']:.1f}. The model "
                "may be misspecified, and the posterior is an extrapolation", stacklevel=3)  # fmt: skip
        return self._compressed(x)

    # ---- how far an observation is from the simulations

    @abc.abstractmethod
    def _summaries(self, x):
        """Features of data (n, ...), for comparing them."""

    def _adapt_typical(self, x):
        some = self._summaries(x[:20000])
        fit = LinearFit(dim=some.shape[1], features=0)
        fit.build()
        fit.adapt(some, some[:, :0])
        self._typical = {"fit": fit, "largest": 0.0}
        self._typical["largest"] = float(self._distances(x[:20000]).max())

    def _distances(self, x):
        some = tf.constant(self._summaries(x))
        return np.linalg.norm(self._typical["fit"](some, some[:, :0])[0], axis=-1)


class _OfFeatures(Estimator):
    """Estimators whose network makes features of the data, and which a compressor can be trained along with."""

    def _summaries(self, x):
        x = self._compressed(x)
        return np.concatenate([self.network(x[i : i + 1000]).numpy() for i in range(0, len(x), 1000)])


class _OfLikelihood(Estimator):
    """Estimators of a likelihood or ratio, whose posteriors are sampled by chains."""

    @abc.abstractmethod
    def _log_likelihood_of(self, x):
        """Function of unconstrained parameters z (n, dim): ln p(x | z) (n,) up to a constant, for x (1, ...)."""

    def posterior(self, x):
        return SampledPosterior(self.prior, self.bijector, self._log_likelihood_of(self._observed(x)))


class NPE(_OfFeatures):
    """Neural posterior estimation: a density of the parameters given the data (Papamakarios & Murray 2016,
    arXiv:1605.06376). Its posteriors cost nothing more for each new observation.

    Arguments as of `Estimator`.
    """

    def _fit(self, theta, x, *, settings, seed, gaps):
        simulations.warn_if_not_of(self.prior, theta)
        z = self.bijector.inverse(theta).numpy()
        make = functools.partial(PreparedDensity, dim=self.dim, x_shape=x.shape[1:], density=self.density, gaps=gaps,
                                 compressor=self._trained_along, options=self.options)  # fmt: skip
        self.network, self.history = self._train(make, x, z, settings=settings, seed=seed)

    def posterior(self, x):
        return AmortizedPosterior(self.prior, self.bijector, self.network, self.network(self._observed(x))[0])

    def sample(self, n, x, *, seed):
        """Draws of the posteriors of many data at once: (n, m, dim) for x (m, ...), as calibration wants them."""
        features = self.network(self._compressed(np.asarray(x, "float32")))
        return self.bijector.forward(self.network.sample_of_features(n, features, seed=seed)).numpy()

    def log_prob(self, theta, x):
        """ln p(theta_i | x_i) in nats (m,), for theta (m, dim) and x (m, ...)."""
        theta = tf.convert_to_tensor(theta, tf.float32)
        features = self.network(self._compressed(np.asarray(x, "float32")))
        change = self.bijector.inverse_log_det_jacobian(theta, event_ndims=1)
        return (self.network.log_prob_of_features(self.bijector.inverse(theta), features) + change).numpy()


class NLE(_OfLikelihood):
    """Neural likelihood estimation: a density of the data given the parameters (Papamakarios, Sterratt & Murray 2019,
    arXiv:1805.07226), which Hamiltonian Monte Carlo turns into posteriors.

    Data must be vectors, or have a compressor that is trained already. Arguments as of `Estimator`.
    """

    def _fit(self, theta, x, *, settings, seed, gaps):
        if self._trained_along is not None:
            raise ValueError("NLE cannot train a compressor along, as the likelihood is one of its output: train it "
                             "first, or use NPE")
        if gaps:
            raise ValueError('NLE has no likelihood of data that are missing: use NPE for invalid="gaps"')
        if x.ndim != 2:
            raise ValueError(f"x of shape {x.shape} needs a compressor that is trained already")
        make = functools.partial(PreparedDensity, dim=x.shape[1], x_shape=(self.dim,), density=self.density,
                                 transform_y=True, options=self.options)  # fmt: skip
        self.network, self.history = self._train(make, theta, x, settings=settings, seed=seed)

    def _summaries(self, x):
        x = tf.constant(self._compressed(x))
        return self.network.scale_y(x)[0].numpy()

    def log_likelihood(self, z, x):
        """ln p(x | theta(z)) in nats (...), for unconstrained parameters z (..., dim) and one x (n,)."""
        features = self.network(self.bijector.forward(tf.reshape(z, [-1, self.dim])))
        x = tf.broadcast_to(x, [tf.shape(features)[0], len(x)])
        return tf.reshape(self.network.log_prob_of_features(x, features), tf.shape(z)[:-1])

    def _log_likelihood_of(self, x):
        x = tf.constant(x[0])
        return lambda z: self.log_likelihood(z, x)


class NRE(_OfFeatures, _OfLikelihood):
    """Neural ratio estimation: likelihood over evidence, by the classifier of `RatioEstimator` (NRE-C).

    Arguments as of `Estimator`, without `density`; `options` are those of `RatioEstimator`.
    """

    def __init__(self, prior, *, compressor=None, options=None):
        super().__init__(prior, compressor=compressor, options=options)

    def _fit(self, theta, x, *, settings, seed, gaps):
        make = functools.partial(RatioEstimator, dim=self.dim, x_shape=x.shape[1:], gaps=gaps,
                                 compressor=self._trained_along, **(self.options or {}))  # fmt: skip
        self.network, self.history = self._train(make, x, theta, settings=settings, seed=seed)

    def log_ratio(self, z, features):
        """ln p(x | theta(z)) / p(x) (...), for unconstrained parameters z (..., dim) and features (n,) of one x."""
        theta = self.bijector.forward(tf.reshape(z, [-1, self.dim]))
        features = tf.broadcast_to(features, [tf.shape(theta)[0], features.shape[0]])
        return tf.reshape(self.network.log_ratio_of_features(theta, features), tf.shape(z)[:-1])

    def _log_likelihood_of(self, x):
        features = self.network(x)[0]
        return lambda z: self.log_ratio(z, features)
