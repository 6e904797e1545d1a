"""What all estimators share: checked simulations, a network, files."""

import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from deepcosmo._types import PathLike, Prior, Seed, Tensor
from deepcosmo._warnings import warn
from deepcosmo.inference.sbi import simulations
from deepcosmo.inference.sbi.mcmc import Sampler
from deepcosmo.inference.sbi.networks.scored import Scored
from deepcosmo.inference.sbi.posterior import Posterior, SampledPosterior
from deepcosmo.inference.sbi.saving import Saved, save
from deepcosmo.inference.sbi.support import Support
from deepcosmo.inference.sbi.training import Training, copied, trained
from deepcosmo.inference.sbi.typical import Typical
from deepcosmo.models._precision import SinglePrecision
from deepcosmo.models.base import freeze
from deepcosmo.models.densities.prepared import DENSITIES
from deepcosmo.nn.transforms.outliers import extreme

if TYPE_CHECKING:
    import keras
    from typing_extensions import Self

__all__ = ["Estimator", "OfFeatures", "OfLikelihood"]

TAKEN_BY = {"scores": "NPE, NLE or NRE", "joint_ratios": "NRE"}
SOME = 20_000  # simulations that tell what is typical


class Estimator(SinglePrecision, abc.ABC):
    """What the methods share: checked simulations, a network, posteriors.

    Args:
        prior: `tfd.Distribution` of parameter vectors (dim,), bounded or not; or a joint distribution, or a list of
            distributions, as `support.vectors` has them. Densities and chains live behind the bijector from real
            vectors onto its support, so no posterior leaks out of it. Parameters are float32, but float64 where the
            prior is or float32 is too coarse for it.
        density: "maf_mog" (autoregressive flow onto mixtures), "nsf" (splines), "maf", "realnvp" or "mdn".
        compressor: Keras model from data to summaries (batch, n). If it has weights to train they are trained along.
            None for vectors.
        options: dict of arguments of the density's class, e.g. {"hidden": (256, 256)}.

    Attributes:
        support: `Support` of the prior.
        network: the trained Keras model, or None before `fit`.
        history: losses of each epoch, list of dicts; the loss is a negative log-density in nats.
    """

    network: Any  # None before `fit`, as those below
    _form: Any
    _typical: Any
    _takes: tuple[str, ...] = ("scores",)  # of what simulators may know besides data

    def __init__(
        self,
        prior: Prior,
        *,
        density: str = "maf_mog",
        compressor: "keras.Model | None" = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        if density not in DENSITIES:
            raise ValueError(f"density must be one of {', '.join(DENSITIES)}; got {density!r}")
        self.prior, self.support = prior, Support(prior)
        self.dim = self.support.dim
        self.density, self.compressor, self.options = density, compressor, options
        self.network, self.history = None, []
        self._form, self._typical, self._along, self._sampler = None, None, False, None

    def fit(
        self,
        theta: ArrayLike,
        x: ArrayLike,
        *,
        scores: ArrayLike | None = None,
        joint_ratios: tuple[ArrayLike, ArrayLike] | None = None,
        seed: int = 0,
        invalid: str = "raise",
        **settings: Any,
    ) -> "Self":
        """Trains a new network on simulations.

        Args:
            theta: parameters (n, dim).
            x: data (n, ...) of these parameters: vectors, or arrays whose last axis are channels, with a compressor.
                Masked values count as NaN.
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
        given = simulations.checked(theta, x, self.support, invalid, scores, joint_ratios)
        for name, value in (("scores", scores), ("joint_ratios", joint_ratios)):
            if value is not None and name not in self._takes:
                raise ValueError(f"{type(self).__name__} has no use for {name}: give them to {TAKEN_BY[name]}")
        x, self._form = given["x"], simulations.Form.of(given["x"])
        self._along = self.compressor is not None and bool(self.compressor.trainable_weights)
        gaps = self._form.gaps
        if self._compressed_before:
            self._form, gaps = self._form.without_offset(), False
        given["x"] = self._compressed(self._form.centred(x))
        lost = ~np.isfinite(given["x"].reshape(len(x), -1)).all(1)
        if self._compressed_before and lost.any():
            raise ValueError(f"the compressor makes NaN or infinite summaries of {lost.sum()} of {len(x)} simulations")
        self._fit(**given, settings=settings, seed=seed, gaps=gaps)
        summaries = self._summaries(given["x"][:SOME])
        self._typical = Typical.of(summaries[~extreme(x[:SOME])])
        self._sampler = None  # of the network before
        return self

    @abc.abstractmethod
    def _fit(self, *, theta, x, scores=None, settings, seed, gaps):
        """Trains `network`, writes `history`."""

    def _train(self, make, x, targets, scores, *, settings, seed):
        """Trains the model that `make()` creates on x and targets; with scores, its slope in the parameters, too."""
        if scores is None:
            self.network, self.history = trained(make, x, targets, settings=settings, seed=seed)
            return
        scored = lambda: Scored(make(), self._log_density, self._roles, dim=self.dim)  # noqa: E731
        model, self.history = trained(scored, x, {"targets": targets, "scores": scores}, settings=settings, seed=seed)
        self.network = model.network

    @staticmethod
    @abc.abstractmethod
    def _roles(x, targets, features):
        """Which of the network's inputs, targets and features are parameters, and which are data."""

    @staticmethod
    @abc.abstractmethod
    def _log_density(network, theta, data):
        """ln of the density or ratio (n,), for parameters (n, dim) and data (n, ...) as `_roles` gives them."""

    @abc.abstractmethod
    def posterior(self, x: ArrayLike) -> Posterior:
        """The posterior given the observation x, an array of the shape of one simulation."""

    # ---- files

    def save(self, path: PathLike) -> None:
        """Writes the trained estimator to one file, for `sbi.load(path, prior)`."""
        save(self, path)

    def state(self) -> Saved:
        """All that `sbi.save` writes.

        Raises:
            RuntimeError: there is no network yet.
        """
        if self.network is None:
            raise RuntimeError(f"this {type(self).__name__} has no network to save: call fit(theta, x) first")
        facts = {
            "density": self.density,
            "options": self.options,
            "history": self.history,
            "x_shape": self._form.shape,
            "gaps": self._form.gaps,
            "along": self._along,
            "largest": self._typical.largest,
        }
        arrays = {"origin": self._form.origin, "bias": self._typical.bias, "inverse": self._typical.inverse}
        models = {"network": self.network} | ({"compressor": self.compressor} if self._compressed_before else {})
        return Saved(kind=type(self).__name__, facts=facts, arrays=arrays | self.support.fingerprint(), models=models)

    @classmethod
    def of_state(cls, saved: Saved, prior: Prior) -> "Self":
        """The trained estimator that `state` was taken of.

        Raises:
            ValueError: another prior than that.
        """
        facts, arrays, compressor = saved.facts, saved.arrays, saved.models.get("compressor")
        if compressor is not None:
            freeze(compressor)
        network = saved.models["network"]
        if facts["along"]:
            compressor = network.own_compressor()
        estimator = cls._created(prior, facts, compressor)
        estimator.support.check(arrays)
        estimator.network, estimator.history, estimator._along = network, facts["history"], facts["along"]
        origin = arrays.get("origin", np.zeros(facts["x_shape"][-1]))
        estimator._form = simulations.Form(shape=tuple(facts["x_shape"]), gaps=facts["gaps"], origin=origin)
        estimator._typical = Typical(bias=arrays["bias"], inverse=arrays["inverse"], largest=facts["largest"])
        return estimator

    @classmethod
    def _created(cls, prior, facts, compressor):
        return cls(prior, density=facts["density"], options=facts["options"], compressor=compressor)

    # ---- data

    @property
    def _compressed_before(self):
        """Whether a compressor that is trained already makes summaries for the network."""
        return self.compressor is not None and not self._along

    def _own_compressor(self):
        """A copy of the compressor for a network that it is trained along with, or None."""
        return copied(self.compressor) if self._along else None

    def _compressed(self, x):
        """x, or its summaries by a compressor that is trained already."""
        return _in_batches(self.compressor, x) if self._compressed_before else x

    def _require_network(self):
        if self.network is None:
            raise RuntimeError(f"this {type(self).__name__} has no network yet: call fit(theta, x) first")

    def _several(self, x):
        """Data (m, ...), checked and compressed."""
        self._require_network()
        return self._compressed(self._form.several(x))

    def _observed(self, x):
        """One observation (1, ...), checked and compressed."""
        self._require_network()
        x = self._compressed(self._form.one(x))
        distance, largest = float(self._typical.distances(self._summaries(x))[0]), self._typical.largest
        if distance > largest:
            warn(
                f"the observation is unlike all simulations: its summaries are at a Mahalanobis distance of "
                f"{distance:.1f} from their mean, the farthest simulation at {largest:.1f}. The model may be "
                "misspecified, and the posterior is an extrapolation"
            )
        return x

    @abc.abstractmethod
    def _summaries(self, x):
        """Features of compressed data (n, ...), for comparing them."""


class OfFeatures(Estimator):
    """Estimators whose network makes features of the data, and which a compressor can be trained along with."""

    def _summaries(self, x):
        return _in_batches(self.network, x)


class OfLikelihood(Estimator):
    """Estimators of a likelihood or ratio, whose posteriors are sampled by chains."""

    @abc.abstractmethod
    def _data(self, x):
        """What the network makes of data (m, ...) that are checked and compressed: vectors (m, n)."""

    def several(self, x: ArrayLike) -> Tensor:
        """Data (m, ...) as `log_likelihood` has them."""
        return self._data(self._several(x))

    def observed(self, x: ArrayLike) -> Tensor:
        """One observation, as `several` has them; warns if it is unlike all simulations."""
        return self._data(self._observed(x))

    def log_likelihood(self) -> Callable[[Tensor, Tensor], Tensor]:
        """The function of parameters (n, dim) and as many rows of `several`: ln p(x | theta) up to a constant (n,)."""
        network = self.network  # posteriors keep theirs when another one is trained
        return lambda theta, data: self._log_density(network, self.support.centred(theta), data)

    def _chains(self):
        """The sampler of this network, compiled once for all observations."""
        if self._sampler is None:
            self._sampler = Sampler(self.support, self.log_likelihood())
        return self._sampler

    def posterior(self, x: ArrayLike) -> SampledPosterior:
        return SampledPosterior(self._chains(), self.observed(x))

    def sample(self, n: int, x: ArrayLike, *, seed: Seed) -> np.ndarray:
        """Draws of the posteriors of many data at once: (n, m, dim) for x (m, ...), as calibration wants them.

        Fewer chains for each than those of `posterior`: warns if they have not mixed.
        """
        return self._chains().sample_many(n, self.several(x), seed=seed)


def _in_batches(model, x, size=1000):
    """What a model makes of data (n, ...), n at a time."""
    return np.concatenate([np.asarray(model(x[i : i + size])) for i in range(0, max(1, len(x)), size)])
