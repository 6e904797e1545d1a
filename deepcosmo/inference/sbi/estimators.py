"""Neural estimators of posterior, likelihood and likelihood ratio, trained on simulations.

estimator = NPE(prior).fit(theta, x)
posterior = estimator.posterior(x_observed)
posterior.sample(10_000, seed=0)
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from deepcosmo._types import Prior, Seed
from deepcosmo.inference.sbi import simulations
from deepcosmo.inference.sbi.base import OfFeatures, OfLikelihood
from deepcosmo.inference.sbi.networks.atomic import Atomic
from deepcosmo.inference.sbi.networks.ratio import RatioEstimator
from deepcosmo.inference.sbi.posterior import AmortizedPosterior
from deepcosmo.inference.sbi.training import trained
from deepcosmo.models.densities.prepared import PreparedDensity
from deepcosmo.nn.transforms.outliers import far_out, moved_in

if TYPE_CHECKING:
    import keras

__all__ = ["APT", "METHODS", "NLE", "NPE", "NRE"]


class NPE(OfFeatures):
    """Neural posterior estimation: a density of the parameters given the data (Papamakarios & Murray 2016,
    arXiv:1605.06376). Its posteriors cost nothing more for each new observation.

    Scores: Zeghal et al. 2022 (arXiv:2207.05636). Arguments as of `Estimator`.
    """

    def _fit(self, *, theta, x, scores=None, settings, seed, gaps):
        simulations.warn_if_not_of(self.support.prior, theta)
        z = self.support.unconstrained(theta)
        scores = None if scores is None else self._scores_of_posterior(z, scores)
        self._train(lambda: self._density(x, gaps), x, z, scores, settings=settings, seed=seed)

    def _density(self, x, gaps):
        return PreparedDensity(
            dim=self.dim,
            x_shape=x.shape[1:],
            density=self.density,
            gaps=gaps,
            compressor=self._own_compressor(),
            options=self.options,
        )

    def _scores_of_posterior(self, z, scores):
        """Gradients in unconstrained parameters z (n, dim) of the logarithm of likelihood times prior."""
        z = tf.constant(z)
        with tf.GradientTape() as tape:
            tape.watch(z)
            shifted = self.support.centred(self.support.parameters(z))
            value = tf.reduce_sum(shifted * scores, -1) + self.support.log_prior(z) + self.support.log_slope(z)
        return tape.gradient(value, z).numpy()

    @staticmethod
    def _roles(x, targets, features):
        return targets, features

    @staticmethod
    def _log_density(network, theta, data):
        return network.log_prob_of_features(theta, data)

    def posterior(self, x: ArrayLike) -> AmortizedPosterior:
        return AmortizedPosterior(self.support, self.network, self.network(self._observed(x))[0])

    def sample(self, n: int, x: ArrayLike, *, seed: Seed) -> np.ndarray:
        """Draws of the posteriors of many data at once: (n, m, dim) for x (m, ...), as calibration wants them."""
        features = self.network(self._several(x))
        return self.support.parameters(self.network.sample_of_features(n, features, seed=seed)).numpy()

    def log_prob(self, theta: ArrayLike, x: ArrayLike) -> np.ndarray:
        """ln p(theta_i | x_i) in nats (m,), for theta (m, dim) and x (m, ...); -inf outside of the prior and on its
        bounds."""
        features = self.network(self._several(x))
        inside, z = self.support.interior(simulations.floats(theta))
        value = self.network.log_prob_of_features(z, features) - self.support.log_slope(z)
        return tf.where(inside, value, -np.inf).numpy()


class APT(NPE):
    """NPE from parameters of any distribution that covers the posterior, by the loss of `Atomic`.

    Arguments as of `Estimator`.
    """

    _takes = ()

    def _fit(self, *, theta, x, settings, seed, gaps):
        z = self.support.unconstrained(theta)
        log_prior = self.support.log_prior(z) + self.support.log_slope(z)
        model, self.history = trained(
            lambda: Atomic(self._density(x, gaps)),
            x,
            {"targets": z, "log_prior": log_prior.numpy()},
            settings=settings,
            seed=seed,
        )
        self.network = model.network


class NLE(OfLikelihood):
    """Neural likelihood estimation: a density of the data given the parameters (Papamakarios, Sterratt & Murray 2019,
    arXiv:1805.07226), which Hamiltonian Monte Carlo turns into posteriors.

    Data must be vectors, or have a compressor that is trained already; what lies far out of them counts as the
    outermost of the others. Scores: SCANDAL of Brehmer, Louppe, Pavez & Cranmer 2018 (arXiv:1805.12244). Arguments as
    of `Estimator`.
    """

    def _fit(self, *, theta, x, scores=None, settings, seed, gaps):
        if self._along:
            raise ValueError(
                "NLE cannot train a compressor along, as the likelihood is one of its output: train it "
                "first, or use NPE"
            )
        if gaps:
            raise ValueError('NLE has no likelihood of data that are missing: use NPE for invalid="gaps"')
        if x.ndim != 2:
            raise ValueError(f"x of shape {x.shape} needs a compressor that is trained already")

        def make():
            return PreparedDensity(
                dim=x.shape[1], x_shape=(self.dim,), density=self.density, transform_y=True, options=self.options
            )

        self._train(
            make, self.support.centred(theta).numpy(), moved_in(x, far_out(x)), scores, settings=settings, seed=seed
        )

    @staticmethod
    def _roles(x, targets, features):
        return x, targets

    @staticmethod
    def _log_density(network, theta, data):
        return network.log_prob_of_features(data, network(theta))

    def _summaries(self, x):
        return self.network.scale_y(tf.constant(x))[0].numpy()

    def _data(self, x):
        return tf.constant(x)


class NRE(OfFeatures, OfLikelihood):
    """Neural ratio estimation: likelihood over evidence, by the classifier of `RatioEstimator` (NRE-C).

    Scores add their squared error to its cross-entropy, as CASCAL does to that of two hypotheses (Brehmer et al. 2018,
    arXiv:1805.00020). With joint ratios, too, it is ALICES (Stoye et al. 2018, arXiv:1808.00973), and ALICE with these
    alone. Arguments as of `Estimator`, without `density`; `options` are those of `RatioEstimator`.
    """

    _takes = ("scores", "joint_ratios")

    def __init__(
        self, prior: Prior, *, compressor: "keras.Model | None" = None, options: dict[str, Any] | None = None
    ) -> None:
        super().__init__(prior, compressor=compressor, options=options)

    @classmethod
    def _created(cls, prior, facts, compressor):
        return cls(prior, options=facts["options"], compressor=compressor)

    def _fit(self, *, theta, x, scores=None, others=None, log_joint=None, settings, seed, gaps):
        def make():
            return RatioEstimator(
                dim=self.dim, x_shape=x.shape[1:], gaps=gaps, compressor=self._own_compressor(), **(self.options or {})
            )

        targets = {"theta": self.support.centred(theta).numpy()}
        if others is not None:
            targets |= {"others": self.support.centred(others).numpy(), "log_joint": log_joint}
        self._train(make, x, targets, scores, settings=settings, seed=seed)

    @staticmethod
    def _roles(x, targets, features):
        return targets["theta"], features

    @staticmethod
    def _log_density(network, theta, data):
        return network.log_ratio_of_features(theta, data)

    def _data(self, x):
        return self.network(x)


METHODS = {cls.__name__: cls for cls in (NPE, APT, NLE, NRE)}
