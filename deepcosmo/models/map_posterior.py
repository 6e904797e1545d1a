"""Posteriors of parameters given maps: a compressor that knows the symmetries of the sky, and a density behind it."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from deepcosmo.models.base import ProbabilisticModel
from deepcosmo.models.conditional import ConditionalDensity, stateless_seed
from deepcosmo.models.prepared import DENSITIES
from deepcosmo.models.regression import Regression
from deepcosmo.nn.field_statistics import FieldStatistics
from deepcosmo.nn.gaussian_scores import GaussianScores
from deepcosmo.nn.linear_fit import LinearFit
from deepcosmo.nn.power import Power
from deepcosmo.nn.resnet import MLP

__all__ = ["MapCompressor", "MapPosterior"]

_REACH = 3.0  # standard deviations, beyond which statistics grow as a logarithm only


@keras.saving.register_keras_serializable(package="deepcosmo")
class MapCompressor(keras.Model):
    """Summaries of periodic maps, by a network on their `FieldStatistics`, which know the symmetries of the sky.

    Statistics can be measured once and for all, with many realisations of the noise: where maps are asked for, their
    statistics (batch, n) will do, too.

    Args:
        statistics: `FieldStatistics`.
        scores: `GaussianScores`, which take the place of the band powers among the statistics; None to keep these.
        outputs: number of summaries.
        hidden: widths of the network.
    """

    def __init__(self, *, statistics, outputs, scores=None, hidden=(256, 128), **kwargs):
        super().__init__(**kwargs)
        self.statistics, self.scores, self.outputs, self.hidden = statistics, scores, outputs, tuple(hidden)
        features = statistics.dim
        if scores:
            features += scores.count - statistics.powers.dim
            if not scores.built:
                scores.build()
        self.scale = Power(dim=features, name="scale")
        self.linear = keras.layers.Dense(outputs, name="linear")
        self.network = MLP(inputs=features, outputs=outputs, hidden=self.hidden, output_scale=1e-4)
        for layer in (self.scale, self.network):
            layer.build()
        self.linear.build((None, features))
        self.built = True

    def call(self, maps):
        """Summaries (batch, outputs) of maps (batch, size, size, channels), or of their statistics (batch, n)."""
        scaled = self._scaled(self.features(maps))
        return self.linear(scaled) + self.network(scaled)

    def features(self, maps):
        """What the network sees (batch, n) of maps, or of their statistics."""
        statistics = maps if len(maps.shape) == 2 else self.statistics(maps)
        if not self.scores:
            return statistics
        powers = self.statistics.powers.dim
        return ops.concatenate([statistics[:, powers:], self.scores(statistics[:, :powers])], -1)

    def _scaled(self, features):
        value = self.scale(features)[0]
        size = ops.abs(value)
        return ops.where(size < _REACH, value, ops.sign(value) * (_REACH + ops.log1p(ops.maximum(size - _REACH, 0.0))))

    def adapt(self, maps, y):
        """Measures the scale of all features on maps (n, ...), or their statistics, and their regression on y (n, dim).

        The first summaries start as this regression, others at random.
        """
        features = [ops.convert_to_numpy(self.features(maps[i : i + 32])) for i in range(0, len(y), 32)]
        features = np.concatenate(features)
        self.scale.adapt(features)
        scaled = ops.convert_to_numpy(self._scaled(ops.convert_to_tensor(features)))
        fit = LinearFit(dim=y.shape[1], features=scaled.shape[1])
        fit.build()
        fit.adapt((y - y.mean(0)) / y.std(0), scaled)
        kernel = ops.convert_to_numpy(self.linear.kernel).copy()
        kernel[:, : fit.dim] = fit.matrix
        self.linear.kernel.assign(kernel)

    @property
    def map_shape(self):
        """(rows, columns, channels)."""
        return self.statistics.size, self.statistics.size, self.statistics.channels

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.outputs)

    def get_config(self):
        layers = {"statistics": self.statistics, "scores": self.scores}
        return {**super().get_config(), "outputs": self.outputs, "hidden": self.hidden,
                **{name: keras.saving.serialize_keras_object(layer) for name, layer in layers.items()}}  # fmt: skip

    @classmethod
    def from_config(cls, config):
        known = {cls.__name__: cls for cls in (FieldStatistics, GaussianScores)}
        layers = {name: keras.saving.deserialize_keras_object(config[name], custom_objects=known)
                  for name in ("statistics", "scores")}  # fmt: skip
        return cls(**{**config, **layers})


@keras.saving.register_keras_serializable(package="deepcosmo")
class MapPosterior(ProbabilisticModel):
    """p(theta | maps) by neural posterior estimation, with a compressor that is trained along.

    Wherever maps are asked for, their statistics will do if the compressor takes them.

    The loss is -ln p(theta | maps), which maximises the mutual information of summaries and parameters (Jeffrey, Alsing
    & Lanusse 2021, arXiv:2009.08459). `fit(maps, theta)` after `adapt(maps, theta)`.

    Args:
        compressor: `MapCompressor`, or any Keras model with an `adapt(maps, y)`.
        parameters: names of the parameters.
        bounds: (low, high) of each; no posterior mass lies outside. Infinite where there is no bound.
        density: one of `prepared.DENSITIES`, by name, or "regression".
        options: of the density's class, in place of the defaults.
    """

    def __init__(self, *, compressor, parameters, bounds, density="maf_mog", options=None, **kwargs):
        super().__init__(**kwargs)
        if len(bounds) != len(parameters) or not all(low < high for low, high in bounds):
            raise ValueError(f"bounds must be one (low, high) for each of {', '.join(parameters)}; got {bounds}")
        self.compressor, self.parameters, self.kind, self.options = compressor, tuple(parameters), density, options
        self.bounds = [tuple(map(float, pair)) for pair in bounds]
        self.dim = len(parameters)
        cls, defaults = {**DENSITIES, "regression": (Regression, {})}[density]
        context = compressor.compute_output_shape((1, 1, 1, 1))[-1]
        self.density: ConditionalDensity = cls(dim=self.dim, context_dim=context, **(defaults | (options or {})))
        self.built = True

    @property
    def bijector(self):
        """From unconstrained vectors onto parameters within their bounds, a TFP bijector."""
        import tensorflow_probability as tfp

        def of(low, high):
            if np.isinf(low) and np.isinf(high):
                return tfp.bijectors.Identity()
            if np.isinf(high):
                return tfp.bijectors.Chain([tfp.bijectors.Shift(low), tfp.bijectors.Softplus()])
            if np.isinf(low):
                return tfp.bijectors.Chain([tfp.bijectors.Shift(high), tfp.bijectors.Scale(-1.0),
                                            tfp.bijectors.Softplus()])  # fmt: skip
            return tfp.bijectors.Sigmoid(low, high)

        return tfp.bijectors.Blockwise([of(*pair) for pair in self.bounds])

    def adapt(self, maps, theta):
        """Measures all scales, and starts the summaries as a linear regression, on maps (n, ...) and theta (n, dim)."""
        z = self.bijector.inverse(tf.cast(theta, tf.float32)).numpy()
        self.compressor.adapt(maps, z)
        summaries = [ops.convert_to_numpy(self.compress(maps[i : i + 32])) for i in range(0, len(z), 32)]
        self.density.adapt(np.concatenate(summaries), z)

    def compress(self, maps):
        """Summaries (batch, n) of maps (batch, rows, columns, channels)."""
        return self.compressor(maps)

    def call(self, maps):
        return self.compress(maps)

    def distribution(self, maps):
        """The `tfd.Distribution` of the parameters given maps (batch, rows, columns, channels)."""
        return self.distribution_of_summaries(self.compress(maps))

    def distribution_of_summaries(self, summaries):
        """The `tfd.Distribution` of the parameters given summaries (batch, n)."""
        import tensorflow_probability as tfp

        return tfp.distributions.TransformedDistribution(self.density.distribution(summaries), self.bijector)

    def log_prob(self, theta, maps):
        """ln p(theta | maps) in nats (batch,), for theta (batch, dim)."""
        return self.log_prob_of_summaries(theta, self.compress(maps))

    def log_prob_of_summaries(self, theta, summaries):
        """As `log_prob`, for summaries (batch, n) of maps."""
        theta, bijector = ops.convert_to_tensor(theta, "float32"), self.bijector
        change = bijector.inverse_log_det_jacobian(theta, event_ndims=1)
        return self.density.log_prob(bijector.inverse(theta), summaries) + change

    def sample(self, n, maps, *, seed):
        """Draws (n, batch, dim) of the posteriors given maps; `seed` is an int or int32[2]."""
        return self.sample_of_summaries(n, self.compress(maps), seed=seed)

    def sample_of_summaries(self, n, summaries, *, seed):
        """As `sample`, for summaries (batch, n) of maps."""
        return self.bijector.forward(self.density.sample(n, summaries, seed=stateless_seed(seed)))

    def loss_per_example(self, x, y, y_pred):
        return -self.log_prob_of_summaries(y, y_pred)

    def endpoints(self):
        inner = self.compressor
        maps = tf.TensorSpec((None, *inner.map_shape), tf.float32, name="maps")
        theta = tf.TensorSpec((None, self.dim), tf.float32, name="theta")
        seed = tf.TensorSpec((2,), tf.int32, name="seed")
        compress = lambda maps: {"summaries": self.compress(maps)}, [maps]
        return {
            "compress": compress,
            "log_prob": (lambda theta, maps: {"log_prob": self.log_prob(theta, maps)}, [theta, maps]),
            "sample": (lambda maps, seed: {"theta": self.sample((), maps, seed=seed)}, [maps, seed]),
            "serving_default": compress,
        }

    def get_config(self):
        return {**super().get_config(), "compressor": keras.saving.serialize_keras_object(self.compressor),
                "parameters": self.parameters, "bounds": self.bounds, "density": self.kind,
                "options": self.options}  # fmt: skip

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "compressor": keras.saving.deserialize_keras_object(config["compressor"])})
