"""Neural estimators of posterior, likelihood and likelihood ratio, trained on simulations.

    estimator = NPE(prior).fit(theta, x)
    posterior = estimator.posterior(x_observed)
    posterior.sample(10_000, seed=0)
"""

import abc
import warnings

import numpy as np
import tensorflow as tf

from deepcosmo.inference.sbi import simulations
from deepcosmo.inference.sbi.mcmc import Sampler
from deepcosmo.inference.sbi.networks.atomic import Atomic
from deepcosmo.inference.sbi.networks.ratio import RatioEstimator
from deepcosmo.inference.sbi.networks.scored import Scored
from deepcosmo.inference.sbi.posterior import AmortizedPosterior, SampledPosterior
from deepcosmo.inference.sbi.support import interior, unconstrained, unconstraining
from deepcosmo.inference.sbi.training import Training, copied, trained
from deepcosmo.models.densities.prepared import DENSITIES, PreparedDensity
from deepcosmo.nn.transforms.linear_fit import LinearFit

__all__ = ["APT", "METHODS", "NLE", "NPE", "NRE", "Estimator"]


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

    _takes = ("scores",)  # of what simulators may know besides data

    def __init__(self, prior, *, density="maf_mog", compressor=None, options=None):
        if density not in DENSITIES:
            raise ValueError(f"density must be one of {', '.join(DENSITIES)}; got {density!r}")
        self.prior, self.bijector = prior, unconstraining(prior)
        self.dim = int(prior.event_shape[0])
        self.density, self.compressor, self.options = density, compressor, options
        self.network, self.history = None, []
        self._along, self._typical, self._sampler = False, None, None

    def fit(self, theta, x, *, scores=None, joint_ratios=None, seed=0, invalid="raise", **settings):
        """Trains a new network on simulations.

        Args:
            theta: parameters (n, dim).
            x: data (n, ...) of these parameters: vectors, or arrays whose last axis are channels, with a compressor.
            scores: gradients in theta of ln p(x, latent variables | theta) (n, dim), of a differentiable simulator: the
                logarithm of the density is trained to have the right slope, too, so that fewer simulations do.
            joint_ratios: for `NRE` alone, (others, logarithms) of a simulator that knows them: other parameters (n, k,
                dim), k at least 1, each a draw of what theta are drawn from, and ln p(x, latent variables | other) - ln
                p(x, latent variables | theta) (n, k), which may be -inf.
            seed: int; same seed, same network. It seeds the generators of Python, NumPy and TensorFlow, too, as
                `keras.utils.set_random_seed` does.
            invalid: what to do with NaN and infinite values: "raise", "drop", or "gaps" where NaN means "not measured".
            settings: fields of `Training`, such as `batch_size`, `patience`, `validation`, `strategy`, `progress`.

        Returns:
            This estimator.

        Raises:
            ValueError: theta, x, scores or joint ratios of different length or wrong shape, NaN or infinite values,
                impossible parameters.
        """
        settings = Training(**settings)
        theta, x, scores, joint_ratios = simulations.checked(theta, x, self.prior, invalid, scores, joint_ratios)
        for name, given in (("scores", scores), ("joint_ratios", joint_ratios)):
            if given is not None and name not in self._takes:
                takers = " or ".join(method for method, cls in METHODS.items() if name in cls._takes)
                raise ValueError(f"{type(self).__name__} has no use for {name}: give them to {takers}")
        self._gaps, self._x_shape = bool(np.isnan(x).any()), x.shape[1:]
        self._along = self.compressor is not None and bool(self.compressor.trainable_weights)
        compressed = self._compressed(x)
        gaps = self._gaps
        if compressed is not x:
            lost, gaps = ~np.isfinite(compressed.reshape(len(x), -1)).all(1), False
            if lost.any():
                raise ValueError(f"the compressor makes NaN or infinite summaries of {lost.sum()} of {len(x)} "
                                 "simulations")
        if joint_ratios is not None:
            theta = np.concatenate([theta, joint_ratios], -1)  # as `RatioEstimator` has them
        self._fit(theta, compressed, scores, settings=settings, seed=seed, gaps=gaps)
        self._adapt_typical(x)
        self._sampler = None  # of the network before
        return self

    @abc.abstractmethod
    def _fit(self, theta, x, scores, *, settings, seed, gaps):
        """Trains `network`, writes `history`."""

    def _trained(self, make, x, y, scores, log_density, *, parameters, settings, seed):
        """As `trained`; with scores, those of `log_density`, in the parameters that are "x" or "y", count."""
        if scores is None:
            return trained(make, x, y, settings=settings, seed=seed)
        model, history = trained(lambda: Scored(make(), log_density, parameters=parameters, dim=self.dim), x,
                                 np.concatenate([y, scores], -1), settings=settings, seed=seed)
        return model.network, history

    @abc.abstractmethod
    def posterior(self, x):
        """The posterior given the observation x, an array of the shape of one simulation."""

    def save(self, path):
        """Writes the trained estimator to one file, for `sbi.load(path, prior)`."""
        from deepcosmo.inference.sbi import saving

        saving.save(self, path)

    def _own_compressor(self):
        """A copy of the compressor for a network that it is trained along with, or None."""
        return copied(self.compressor) if self._along else None

    def _compressed(self, x):
        """x, or its summaries by a compressor that is trained already."""
        if self.compressor is None or self._along:
            return x
        return np.asarray(self.compressor.predict(x, verbose=0))

    def _require_network(self):
        if self.network is None:
            raise RuntimeError(f"this {type(self).__name__} has no network yet: call fit(theta, x) first")

    def _several(self, x):
        """Data (m, ...), compressed."""
        self._require_network()
        x = np.asarray(x, "float32")
        if x.shape[1:] != self._x_shape:
            raise ValueError(f"data must have the shape (m, {', '.join(map(str, self._x_shape))}); got {x.shape}")
        bad = self._unlike(x)
        if bad.any():
            raise ValueError(f"{bad.sum()} of {len(x)} data hold NaN or infinite values, and the simulations did not")
        return self._compressed(x)

    def _unlike(self, x):
        """Which data (m, ...) hold values (m,) that no simulation can have held."""
        values = x.reshape(len(x), -1)
        return np.isinf(values).any(1) | (np.isnan(values).any(1) & (not self._gaps))

    def _observed(self, x):
        """One observation (1, ...), checked and compressed."""
        self._require_network()
        x = np.asarray(x, "float32")
        if x.shape == (1, *self._x_shape):
            x = x[0]
        if x.shape != self._x_shape:
            raise ValueError(f"the observation must have the shape {self._x_shape} of a simulation; got {x.shape}")
        x = x[None]
        if self._unlike(x).any():
            raise ValueError("the observation holds NaN or infinite values, and the simulations did not")
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
    def _data(self, x):
        """What the network makes of data (m, ...) that are checked and compressed: vectors (m, n)."""

    @abc.abstractmethod
    def _log_likelihood(self, network, theta, data):
        """ln p(x | theta) up to a constant (n,), for parameters (n, dim) and rows (n, ...) of `_data`."""

    def _chains(self):
        """The sampler of this network, compiled once for all observations."""
        if self._sampler is None:
            network = self.network  # posteriors keep theirs when another one is trained
            self._sampler = Sampler(self.prior, self.bijector,
                                    lambda theta, data: self._log_likelihood(network, theta, data))
        return self._sampler

    def posterior(self, x):
        return SampledPosterior(self._chains(), self._data(self._observed(x)))

    def sample(self, n, x, *, seed):
        """Draws of the posteriors of many data at once: (n, m, dim) for x (m, ...), as calibration wants them.

        Fewer chains for each than those of `posterior`: warns if they have not mixed.
        """
        return self._chains().sample_many(n, self._data(self._several(x)), seed=seed)


class NPE(_OfFeatures):
    """Neural posterior estimation: a density of the parameters given the data (Papamakarios & Murray 2016,
    arXiv:1605.06376). Its posteriors cost nothing more for each new observation.

    Scores: Zeghal et al. 2022 (arXiv:2207.05636). Arguments as of `Estimator`.
    """

    def _fit(self, theta, x, scores, *, settings, seed, gaps):
        simulations.warn_if_not_of(self.prior, theta)
        z = unconstrained(self.bijector, theta)
        scores = self._scores_of_posterior(z, scores)
        self.network, self.history = self._trained(
            lambda: self._density(x, gaps), x, z, scores, PreparedDensity.log_prob_of_features, parameters="y",
            settings=settings, seed=seed)  # fmt: skip

    def _density(self, x, gaps):
        return PreparedDensity(dim=self.dim, x_shape=x.shape[1:], density=self.density, gaps=gaps,
                               compressor=self._own_compressor(), options=self.options)  # fmt: skip

    def _scores_of_posterior(self, z, scores):
        """Gradients in unconstrained parameters z (n, dim) of the logarithm of likelihood times prior, if any."""
        if scores is None:
            return None
        z = tf.constant(z)
        with tf.GradientTape() as tape:
            tape.watch(z)
            theta = self.bijector.forward(z)
            change = self.bijector.forward_log_det_jacobian(z, event_ndims=1)
            value = tf.reduce_sum(theta * scores, -1) + self.prior.log_prob(theta) + change
        return tape.gradient(value, z).numpy()

    def posterior(self, x):
        return AmortizedPosterior(self.prior, self.bijector, self.network, self.network(self._observed(x))[0])

    def sample(self, n, x, *, seed):
        """Draws of the posteriors of many data at once: (n, m, dim) for x (m, ...), as calibration wants them."""
        features = self.network(self._several(x))
        return self.bijector.forward(self.network.sample_of_features(n, features, seed=seed)).numpy()

    def log_prob(self, theta, x):
        """ln p(theta_i | x_i) in nats (m,), for theta (m, dim) and x (m, ...); -inf outside of the prior and on its
        bounds."""
        features = self.network(self._several(x))
        inside, z = interior(self.prior, self.bijector, tf.convert_to_tensor(theta, tf.float32))
        value = self.network.log_prob_of_features(z, features)
        value -= self.bijector.forward_log_det_jacobian(z, event_ndims=1)
        return tf.where(inside, value, -np.inf).numpy()


class APT(NPE):
    """NPE from parameters of any distribution that covers the posterior, by the loss of `Atomic`.

    Arguments as of `Estimator`.
    """

    _takes = ()

    def _fit(self, theta, x, scores, *, settings, seed, gaps):
        z = unconstrained(self.bijector, theta)
        log_prior = self.prior.log_prob(self.bijector.forward(z))
        log_prior += self.bijector.forward_log_det_jacobian(z, event_ndims=1)
        model, self.history = trained(lambda: Atomic(self._density(x, gaps)), x,
                                      np.concatenate([z, log_prior[:, None]], -1), settings=settings, seed=seed)
        self.network = model.network


class NLE(_OfLikelihood):
    """Neural likelihood estimation: a density of the data given the parameters (Papamakarios, Sterratt & Murray 2019,
    arXiv:1805.07226), which Hamiltonian Monte Carlo turns into posteriors.

    Data must be vectors, or have a compressor that is trained already. Scores: SCANDAL of Brehmer, Louppe, Pavez &
    Cranmer 2018 (arXiv:1805.12244). Arguments as of `Estimator`.
    """

    def _fit(self, theta, x, scores, *, settings, seed, gaps):
        if self._along:
            raise ValueError("NLE cannot train a compressor along, as the likelihood is one of its output: train it "
                             "first, or use NPE")
        if gaps:
            raise ValueError('NLE has no likelihood of data that are missing: use NPE for invalid="gaps"')
        if x.ndim != 2:
            raise ValueError(f"x of shape {x.shape} needs a compressor that is trained already")

        def make():
            return PreparedDensity(dim=x.shape[1], x_shape=(self.dim,), density=self.density, transform_y=True,
                                   options=self.options)  # fmt: skip

        self.network, self.history = self._trained(
            make, theta, x, scores, PreparedDensity.log_prob_of_features, parameters="x", settings=settings, seed=seed
        )

    def _summaries(self, x):
        x = tf.constant(self._compressed(x))
        return self.network.scale_y(x)[0].numpy()

    def _data(self, x):
        return tf.constant(x)

    def _log_likelihood(self, network, theta, data):
        return network.log_prob_of_features(data, network(theta))


class NRE(_OfFeatures, _OfLikelihood):
    """Neural ratio estimation: likelihood over evidence, by the classifier of `RatioEstimator` (NRE-C).

    Scores add their squared error to its cross-entropy, as CASCAL does to that of two hypotheses (Brehmer et al. 2018,
    arXiv:1805.00020). With joint ratios, too, it is ALICES (Stoye et al. 2018, arXiv:1808.00973), and ALICE with these
    alone. Arguments as of `Estimator`, without `density`; `options` are those of `RatioEstimator`.
    """

    _takes = ("scores", "joint_ratios")

    def __init__(self, prior, *, compressor=None, options=None):
        super().__init__(prior, compressor=compressor, options=options)

    def _fit(self, theta, x, scores, *, settings, seed, gaps):
        def make():
            return RatioEstimator(dim=self.dim, x_shape=x.shape[1:], gaps=gaps, compressor=self._own_compressor(),
                                  **(self.options or {}))  # fmt: skip

        self.network, self.history = self._trained(
            make, x, theta, scores, RatioEstimator.log_ratio_of_features, parameters="y", settings=settings, seed=seed
        )

    def _data(self, x):
        return self.network(x)

    def _log_likelihood(self, network, theta, data):
        return network.log_ratio_of_features(theta, data)


METHODS = {cls.__name__: cls for cls in (NPE, APT, NLE, NRE)}
