"""Summaries of the maps of one sky: networks on features that know what maps can tell."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from deepcosmo._types import Tensor
from deepcosmo.models._precision import SinglePrecision
from deepcosmo.models.base import freeze
from deepcosmo.models.maps.near_step import NearStep
from deepcosmo.nn.resnet import MLP
from deepcosmo.nn.transforms.linear_fit import LinearFit
from deepcosmo.nn.transforms.power import Power, tempered

if TYPE_CHECKING:
    import tensorflow_probability as tfp
    from typing_extensions import Self

    from deepcosmo.models.maps.field_statistics import FieldStatistics
    from deepcosmo.models.maps.gaussian_scores import GaussianScores
    from deepcosmo.models.maps.lognormal_scores import LognormalScores
    from deepcosmo.models.maps.posterior import MapPosterior

__all__ = ["MapCompressor", "NewtonPilot", "OneStepCompressor", "RegressionStep", "in_batches"]

_FADE = 0.3, 0.5  # shares of universes like ours between which the step of a `NewtonPilot` fades in
_AT_ONCE = 32  # maps that are measured together: scores of each take 30 MB or more without XLA


def in_batches(function: Callable[[np.ndarray], Tensor], maps: np.ndarray) -> np.ndarray:
    """A function of maps (n, rows, columns, channels), or of what was measured of them (n, m), a few at a time."""
    few = _AT_ONCE if len(maps.shape) == 4 else 4096
    return np.concatenate([ops.convert_to_numpy(function(maps[i : i + few])) for i in range(0, len(maps), few)])


@keras.saving.register_keras_serializable(package="deepcosmo")
class MapCompressor(SinglePrecision, keras.Model):
    """Summaries of periodic maps, by a network on their `FieldStatistics`, which know the symmetries of the sky.

    Where maps are asked for, their statistics (batch, n) will do, too.

    Args:
        statistics: `FieldStatistics`.
        scores: `GaussianScores`, which take the place of the band powers among the statistics; None to keep these.
        outputs: number of summaries.
        hidden: widths of the network.
    """

    def __init__(
        self,
        *,
        statistics: "FieldStatistics",
        outputs: int,
        scores: "GaussianScores | None" = None,
        hidden: Sequence[int] = (256, 128),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        features = statistics.dim
        if scores:
            features += scores.count - statistics.powers.dim
            if not scores.built:
                scores.build()
        self.statistics, self.scores, self.outputs, self.hidden = statistics, scores, outputs, tuple(hidden)
        self.scale = Power(dim=features, name="scale")
        self.linear = keras.layers.Dense(outputs, name="linear")
        self.network = MLP(inputs=features, outputs=outputs, hidden=self.hidden, output_scale=1e-4)
        for layer in (self.scale, self.network):
            layer.build()
        self.linear.build((None, features))
        self.built = True

    def features(self, maps: Tensor) -> Tensor:
        """What the network sees (batch, n) of maps (batch, size, size, channels), or of their statistics (batch, m)."""
        statistics = maps if len(maps.shape) == 2 else self.statistics(maps)
        if not self.scores:
            return statistics
        powers = self.statistics.powers.dim
        return ops.concatenate([statistics[:, powers:], self.scores(statistics[:, :powers])], -1)

    def call(self, maps: Tensor) -> Tensor:
        """Summaries (batch, outputs) of maps (batch, size, size, channels), or of their statistics (batch, n)."""
        scaled = _scaled(self.scale, self.features(maps))
        return self.linear(scaled) + self.network(scaled)

    def adapt(self, maps: np.ndarray, y: np.ndarray) -> None:
        """Measures the scale of all features and the regression of y (n, dim) on them, on maps (n, ...) or their
        statistics.

        The first summaries start as this regression, others at random.
        """
        scaled = _adapted(self.scale, in_batches(self.features, maps))
        fit = LinearFit(dim=y.shape[1], features=scaled.shape[1])
        fit.build()
        fit.adapt((y - y.mean(0)) / y.std(0), scaled)
        kernel = ops.convert_to_numpy(self.linear.kernel).copy()
        kernel[:, : fit.dim] = fit.matrix
        self.linear.kernel.assign(kernel)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (input_shape[0], self.outputs)

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """(rows, columns, channels)."""
        return self.statistics.size, self.statistics.size, self.statistics.channels

    def get_config(self) -> dict[str, Any]:
        layers = {"statistics": self.statistics, "scores": self.scores}
        layers = {name: keras.saving.serialize_keras_object(layer) for name, layer in layers.items()}
        return {**super().get_config(), "outputs": self.outputs, "hidden": self.hidden, **layers}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Self":
        return cls(**_with_layers(config, "statistics", "scores"))


@keras.saving.register_keras_serializable(package="deepcosmo")
class OneStepCompressor(SinglePrecision, keras.Model):
    """Summaries of maps by an estimate of the parameters and by the score of the likelihood there.

    One step of Newton's from an estimate that is good, along a score that is exact, makes one as good as there is (Le
    Cam). `LognormalScores` are nearly so. How long the step must be `MapPosterior` finds by `NewtonStep`, or what is
    fitted near our universe tells. Where maps are asked for, the estimates and scores (batch, n) that `measure` makes
    of them will do, too.

    Args:
        pilot: what makes the estimate: a trained `MapPosterior` with density "regression" or "mdn", whose mean it is,
            or a `NewtonPilot`. Not trained along.
        scores: `LognormalScores`.
        near: whether summaries are estimates, scores and a `NearStep`, which fades out where universes are not like
            ours, in units of their scales. A linear regression of the unconstrained parameters on all these then comes
            first (batch, dim + n). Nothing is trained along: `MapPosterior` learns the density of what the regression
            leaves.
    """

    def __init__(
        self, *, pilot: "MapPosterior | NewtonPilot", scores: "LognormalScores", near: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if pilot.kind not in ("regression", "mdn", NewtonPilot.kind):
            raise ValueError(f"the pilot must have the density 'regression' or 'mdn'; got {pilot.kind!r}")
        self.pilot, self.scores = pilot, scores
        freeze(pilot)
        self.count, self.near_step = pilot.dim + scores.dim, None
        if near:
            self.count += pilot.dim + 1
            self.near_step = NearStep(survey=scores.survey, bijector=pilot.bijector, others=scores.dim - pilot.dim)
            self.scale = Power(dim=self.count, name="scale")
            self.regression = LinearFit(dim=pilot.dim, features=self.count, name="regression")
            for layer in (self.near_step, self.scale, self.regression):
                layer.build()
        self.built = True

    def measure(self, maps: Tensor) -> Tensor:
        """Estimates and scores (batch, dim + scores) of maps (batch, size, size, channels)."""
        count = maps.shape[0]
        if count is None or count <= _AT_ONCE:
            return self._measure(maps)
        return ops.concatenate([self._measure(maps[i : i + _AT_ONCE]) for i in range(0, count, _AT_ONCE)])

    def _measure(self, maps):
        estimate = self.pilot.estimate(maps)
        return ops.concatenate([estimate, self.scores(maps, self.pilot.bijector().forward(estimate))], -1)

    def features(self, maps: Tensor) -> Tensor:
        """What there is (batch, count) to know of maps, or of what was measured of them."""
        found = maps if len(maps.shape) == 2 else self.measure(maps)
        if self.near_step is None:
            return found
        step, share = self.near_step(found)
        return ops.concatenate([found, share * step, share], -1)

    def call(self, maps: Tensor) -> Tensor:
        """Summaries (batch, n) of maps (batch, size, size, channels), or of what was measured."""
        features = self.features(maps)
        if self.near_step is None:
            return features
        scaled = _scaled(self.scale, features)
        nothing = ops.zeros_like(scaled[:, : self.pilot.dim])
        return ops.concatenate([self.regression.invert(nothing, scaled), scaled], -1)

    def adapt(self, maps: np.ndarray, y: np.ndarray) -> None:
        """Fits the step, scales and regression to unconstrained parameters y (n, dim) and maps (n, ...), or what was
        measured of them; where there are none, does nothing."""
        if self.near_step is None:
            return
        found = maps if len(maps.shape) == 2 else in_batches(self.measure, maps)
        self.near_step.adapt(y, found)
        self.regression.adapt(y, _adapted(self.scale, in_batches(self.features, found)))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (input_shape[0], self.count + (0 if self.near_step is None else self.pilot.dim))

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """(rows, columns, channels)."""
        return self.scores.survey.shape

    def get_config(self) -> dict[str, Any]:
        layers = {"pilot": self.pilot, "scores": self.scores}
        layers = {name: keras.saving.serialize_keras_object(layer) for name, layer in layers.items()}
        layers["pilot"].pop("compile_config", None)  # how it was trained
        return {**super().get_config(), "near": self.near_step is not None, **layers}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Self":
        return cls(**_with_layers(config, "pilot", "scores"))


class RegressionStep:
    """In place of `NewtonStep`, the normal distribution of parameters about the regression that the summaries of a
    `OneStepCompressor` start with."""

    def __init__(self, compressor: OneStepCompressor) -> None:
        self.regression, self.dim = compressor.regression, compressor.pilot.dim

    def adapt(self, y: Any, features: Any) -> None:
        """Does nothing: the compressor has fitted it."""

    def __call__(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean = features[:, : self.dim]
        return mean, ops.broadcast_to(self.regression.factor, (*ops.shape(mean), self.dim)), features


@keras.saving.register_keras_serializable(package="deepcosmo")
class NewtonPilot(SinglePrecision, keras.Model):
    """An estimate of parameters by a `NearStep` from another, for a second step from there.

    A score tells all only at the true parameters. So where posteriors are narrow a score at a better estimate tells
    more. The step fades in where a third to a half of the universes are like ours; elsewhere
    the estimate is the first. Polynomials of few coefficients hardly know the universes that they were fitted to better
    than others, so the second step may be trained on the same.

    Args:
        compressor: `OneStepCompressor` of estimates and scores alone, which will do in place of maps.
    """

    kind = "newton"
    dim: int

    def __init__(self, *, compressor: OneStepCompressor, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if compressor.near_step is not None:
            raise ValueError("the compressor must give estimates and scores alone: near=False")
        self.compressor, self.dim = compressor, compressor.pilot.dim
        freeze(compressor)
        self.near_step = NearStep(
            survey=compressor.scores.survey, bijector=self.bijector, others=compressor.scores.dim - self.dim
        )
        self.near_step.build()
        self.built = True

    def bijector(self) -> "tfp.bijectors.Bijector":
        """From unconstrained vectors onto parameters within their bounds, a TFP bijector."""
        return self.compressor.pilot.bijector()

    def adapt(self, maps: np.ndarray, theta: np.ndarray) -> None:
        """Fits the step to maps (n, ...), or what was measured of them, and parameters (n, dim)."""
        z = self.bijector().inverse(ops.convert_to_tensor(theta, "float32"))
        self.near_step.adapt(ops.convert_to_numpy(z), in_batches(self.compressor, maps))

    def estimate(self, maps: Tensor) -> Tensor:
        """Unconstrained parameters (batch, dim) of maps (batch, size, size, channels), or of what was measured."""
        found = self.compressor(maps)
        step, share = self.near_step(found)
        low, high = _FADE
        return found[:, : self.dim] + ops.clip((share - low) / (high - low), 0.0, 1.0) * step

    def call(self, maps: Tensor) -> Tensor:
        return self.estimate(maps)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "compressor": keras.saving.serialize_keras_object(self.compressor)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Self":
        return cls(**_with_layers(config, "compressor"))


def _scaled(scale, features):
    return tempered(scale(features)[0])


def _adapted(scale, features):
    """Features (n, count) scaled by what is measured of them, as a NumPy array."""
    scale.adapt(features)
    return ops.convert_to_numpy(_scaled(scale, ops.convert_to_tensor(features)))


def _with_layers(config, *names):
    """A configuration with its layers."""
    return {**config, **{name: keras.saving.deserialize_keras_object(config[name]) for name in names}}
