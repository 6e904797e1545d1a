"""Posteriors of parameters given maps: a compressor of maps, and a density behind it."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from deepcosmo._graphs import apart
from deepcosmo._quantities import refuse_masked
from deepcosmo._types import Endpoints, Seed, TensorLike
from deepcosmo.models.densities.bounds import onto_bounds
from deepcosmo.models.densities.committee import Committee
from deepcosmo.models.densities.conditional import ConditionalDensity
from deepcosmo.models.densities.encoded import EncodedDensity
from deepcosmo.models.densities.prepared import DENSITIES
from deepcosmo.models.densities.regression import Regression
from deepcosmo.models.maps.compressors import OneStepCompressor, RegressionStep, in_batches
from deepcosmo.models.maps.newton_step import NewtonStep, NoStep, from_noise, to_noise

if TYPE_CHECKING:
    import tensorflow_probability as tfp
    from typing_extensions import Self

__all__ = ["MapPosterior"]


@keras.saving.register_keras_serializable(package="deepcosmo")
class MapPosterior(EncodedDensity):
    """p(theta | maps) by neural posterior estimation, with a compressor that is trained along if it has what to train.

    Wherever maps are asked for, what the compressor sees of them will do, too. Where that is an estimate and a score, a
    `NewtonStep` leads to the middle of the posterior, and the density is that of what is left; so it is where
    summaries start with a regression of the parameters, in units of what that leaves.

    The loss is -ln p(theta | maps), which maximises the mutual information of summaries and parameters (Jeffrey, Alsing
    & Lanusse 2021, arXiv:2009.08459). `fit(maps, theta)` after `adapt(maps, theta)`.

    Args:
        compressor: `MapCompressor`, `OneStepCompressor`, or any Keras model with an `adapt(maps, y)`.
        parameters: names of the parameters.
        bounds: (low, high) of each; no posterior mass lies outside. Infinite where there is no bound.
        density: one of `prepared.DENSITIES`, by name, or "regression".
        options: of the density's class, in place of the defaults.
        members: of a `Committee` of such densities, if more than one.
    """

    def __init__(
        self,
        *,
        compressor: keras.Model,
        parameters: Sequence[str],
        bounds: Sequence[tuple[float, float]],
        density: str = "maf_mog",
        options: dict[str, Any] | None = None,
        members: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if len(bounds) != len(parameters) or not all(low < high for low, high in bounds):
            raise ValueError(f"bounds must be one (low, high) for each of {', '.join(parameters)}; got {bounds}")
        self.compressor, self.parameters, self.kind, self.options = compressor, tuple(parameters), density, options
        self.bounds, self.members = [tuple(map(float, pair)) for pair in bounds], members
        self.dim = len(parameters)
        cls, defaults = {**DENSITIES, "regression": (Regression, {})}[density]
        context = compressor.compute_output_shape((1, 1, 1, 1))[-1]
        if not isinstance(compressor, OneStepCompressor):
            self.step: NoStep | RegressionStep | NewtonStep = NoStep(dim=self.dim)
        elif compressor.near_step is not None:
            self.step = RegressionStep(compressor)
        else:
            self.step = NewtonStep(dim=self.dim, others=context - 2 * self.dim, name="step")
            self.step.build()
        one = functools.partial(cls, dim=self.dim, context_dim=context, **(defaults | (options or {})))
        self.density: ConditionalDensity = one() if members == 1 else Committee(members=[one() for _ in range(members)])
        self.built = True

    def bijector(self) -> "tfp.bijectors.Bijector":
        """From unconstrained vectors onto parameters within their bounds, a TFP bijector."""
        # no property: Keras reads those of a model when it loads weights, and TFP takes as long to import as they do
        return onto_bounds(self.bounds)

    def adapt(self, maps: np.ndarray, theta: np.ndarray) -> None:
        """Measures all scales on maps (n, ...) and theta (n, dim), and fits what is linear: the first summaries, and
        `NewtonStep`."""
        z = self.bijector().inverse(tf.cast(theta, tf.float32)).numpy()
        self.compressor.adapt(maps, z)
        summaries = in_batches(self.encode, maps)
        self.step.adapt(z, summaries)
        left, _, context = self._left(z, summaries)
        self.density.adapt(ops.convert_to_numpy(context), ops.convert_to_numpy(left))

    def _left(self, z, summaries):
        """What the density is of (..., batch, dim) for unconstrained parameters z (..., batch, dim), the logarithm of
        the derivative, and what the density is conditioned on (batch, n)."""
        mean, factor, context = self.step(summaries)
        return *to_noise(z, mean, factor), context

    def _left_of(self, theta, summaries):
        """As `_left`, for parameters theta (..., batch, dim)."""
        theta, bijector = ops.convert_to_tensor(theta, "float32"), self.bijector()
        left, change, context = self._left(bijector.inverse(theta), summaries)
        return left, change + bijector.inverse_log_det_jacobian(theta, event_ndims=1), context

    def estimate(self, maps: TensorLike) -> tf.Tensor:
        """Means (batch, dim) of the unconstrained parameters, of densities that have one: "regression" and "mdn"."""
        mean, factor, context = self.step(self.encode(maps))
        return from_noise(self.density.distribution(context).mean(), mean, factor)

    def encode(self, x: TensorLike) -> tf.Tensor:
        """Summaries (batch, n) of maps (batch, rows, columns, channels)."""
        refuse_masked(x, "maps")
        return self.compressor(x)

    def compress(self, maps: TensorLike) -> tf.Tensor:
        """As `encode`."""
        return self.encode(maps)

    def distribution(self, maps: TensorLike) -> "tfp.distributions.Distribution":
        """The `tfd.Distribution` of the parameters given maps (batch, rows, columns, channels)."""
        return self.distribution_of_features(self.encode(maps))

    def distribution_of_features(self, features: tf.Tensor) -> "tfp.distributions.Distribution":
        """The `tfd.Distribution` of the parameters given summaries (batch, n)."""
        import tensorflow_probability as tfp

        mean, factor, context = self.step(features)
        bijectors = [self.bijector(), tfp.bijectors.Shift(mean), tfp.bijectors.ScaleMatvecTriL(factor)]
        density = self.density.distribution(context)
        return tfp.distributions.TransformedDistribution(density, tfp.bijectors.Chain(bijectors))

    def log_prob_of_features(self, y: TensorLike, features: tf.Tensor) -> tf.Tensor:
        """ln p(theta | maps) in nats (batch,), for theta (batch, dim) and summaries (batch, n) of maps; -inf where
        theta is not within its bounds."""
        left, change, context = self._left_of(y, features)
        inside = ops.all(ops.isfinite(self.bijector().inverse(ops.convert_to_tensor(y, "float32"))), -1)
        return ops.where(inside, self.density.log_prob(left, context) + change, -np.inf)

    def sample_of_features(self, n: int | Sequence[int], features: tf.Tensor, *, seed: Seed) -> tf.Tensor:
        """Draws (n, batch, dim) of the posteriors given summaries (batch, n); `seed` is an int or int32[2]."""
        mean, factor, context = self.step(features)
        return self.bijector().forward(from_noise(self.density.sample(n, context, seed=seed), mean, factor))

    def loss_per_example(self, x: tf.Tensor, y: tf.Tensor, y_pred: Any) -> tf.Tensor:
        left, change, context = self._left_of(y, y_pred)
        return self.density.loss_per_example(context, left, self.density(context)) - change

    def endpoints(self) -> Endpoints:
        inner = self.compressor
        maps = tf.TensorSpec((None, *inner.map_shape), tf.float32, name="maps")
        theta = tf.TensorSpec((None, self.dim), tf.float32, name="theta")
        seed = tf.TensorSpec((2,), tf.int32, name="seed")
        # one function for all: what it knows of the sky and of cosmology fills tens of megabytes of a graph
        seen = apart(self.encode)
        compress = lambda maps: {"summaries": seen(maps)}, [maps]
        log_prob = lambda theta, maps: {"log_prob": self.log_prob_of_features(theta, seen(maps))}, [theta, maps]
        sample = lambda maps, seed: {"theta": self.sample_of_features((), seen(maps), seed=seed)}, [maps, seed]
        return {"compress": compress, "log_prob": log_prob, "sample": sample, "serving_default": compress}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "compressor": keras.saving.serialize_keras_object(self.compressor),
            "parameters": self.parameters,
            "bounds": self.bounds,
            "density": self.kind,
            "options": self.options,
            "members": self.members,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Self":
        return cls(**{**config, "compressor": keras.saving.deserialize_keras_object(config["compressor"])})
