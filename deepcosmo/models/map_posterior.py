"""Posteriors of parameters given maps: a compressor that knows the symmetries of the sky, and a density behind it."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from deepcosmo.models.base import ProbabilisticModel
from deepcosmo.models.conditional import ConditionalDensity, stateless_seed
from deepcosmo.models.prepared import DENSITIES
from deepcosmo.nn.isotropic import BandPowers, IsotropicFilters, modes_of
from deepcosmo.nn.linear_fit import LinearFit
from deepcosmo.nn.resnet import MLP
from deepcosmo.nn.standardise import Standardise

__all__ = ["MapCompressor", "MapPosterior"]


@keras.saving.register_keras_serializable(package="deepcosmo")
class MapCompressor(keras.Model):
    """Summaries of periodic maps that shifts, flips and quarter turns of the map leave alone.

    Band powers, and averages over the map of functions of filtered maps: a first layer of isotropic filters, in which
    a small network sees all filters at one place, and a second layer of filters of what it makes of them. Each knows
    what a scattering transform knows (Cheng et al. 2020, arXiv:2006.08561), with filters and non-linearities that are
    learned. The summaries start as a linear regression on all of these; what a network adds to it starts near zero.

    Args:
        size: pixels on a side.
        channels: maps of one sky.
        noise_std: standard deviation of the noise of a pixel, by which maps are divided.
        outputs: number of summaries.
        bands: of the band powers.
        filters: numbers of filters of the first and of the second layer.
        widths: of the networks behind the first and the second layer.
        hidden: of the network that makes summaries of averages.
    """

    def __init__(self, *, size, channels, noise_std, outputs, bands=20, filters=(24, 24), widths=(48, 32),
                 hidden=(256, 128), **kwargs):  # fmt: skip
        super().__init__(**kwargs)
        self.size, self.channels, self.noise_std, self.outputs = size, channels, float(noise_std), outputs
        self.bands, self.filters, self.widths, self.hidden = bands, tuple(filters), tuple(widths), tuple(hidden)
        self.powers = BandPowers(size=size, channels=channels, bands=bands)
        self.first = IsotropicFilters(inputs=channels, filters=filters[0], size=size // 2)
        self.second = IsotropicFilters(inputs=widths[0], filters=filters[1], size=size // 4, nodes=12)
        self.local = [_Pointwise(inputs=i, width=w, name=f"pointwise_{k}")
                      for k, (i, w) in enumerate(zip(filters, widths, strict=True))]  # fmt: skip
        features = bands * channels * (channels + 1) // 2 + sum(widths)
        self.standardise = Standardise(dim=features, name="standardise")
        self.linear = keras.layers.Dense(outputs, name="linear")
        self.network = MLP(inputs=features, outputs=outputs, hidden=hidden, output_scale=1e-4)
        for layer in (self.first, self.second, *self.local, self.standardise, self.network):
            layer.build()
        self.linear.build((None, features))
        self.built = True

    def features(self, maps):
        """Averages (batch, n) of maps (batch, size, size, channels)."""
        modes = modes_of(maps / self.noise_std)
        first = self.local[0](self.first.of_modes(modes))
        second = self.local[1](self.second(first))
        return ops.concatenate([self.powers.of_modes(modes), *(ops.mean(v, (1, 2)) for v in (first, second))], -1)

    def call(self, maps):
        scaled = self.standardise(self.features(maps))
        return self.linear(scaled) + self.network(scaled)

    def adapt(self, maps, y):
        """Measures the scale of all averages on maps (n, ...), and their regression on y (n, dim).

        The first summaries start as this regression, others at random.
        """
        features = np.concatenate([ops.convert_to_numpy(self.features(maps[i : i + 32])) for i in range(0, len(y), 32)])
        self.standardise.adapt([features])
        scaled = ops.convert_to_numpy(self.standardise(features))
        fit = LinearFit(dim=y.shape[1], features=scaled.shape[1])
        fit.build()
        fit.adapt((y - y.mean(0)) / y.std(0), scaled)
        kernel = ops.convert_to_numpy(self.linear.kernel).copy()
        kernel[:, : fit.dim] = fit.matrix
        self.linear.kernel.assign(kernel)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.outputs)

    def get_config(self):
        names = ("size", "channels", "noise_std", "outputs", "bands", "filters", "widths", "hidden")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable(package="deepcosmo")
class _Pointwise(keras.layers.Layer):
    """Two dense layers at each place: (..., inputs) -> (..., width)."""

    def __init__(self, *, inputs, width, **kwargs):
        super().__init__(**kwargs)
        self.inputs, self.width = inputs, width
        self.layers = [keras.layers.Dense(width, activation="silu") for _ in range(2)]

    def build(self, input_shape=None):
        self.layers[0].build((None, self.inputs))
        self.layers[1].build((None, self.width))

    def call(self, x):
        return self.layers[1](self.layers[0](x))

    def get_config(self):
        return {**super().get_config(), "inputs": self.inputs, "width": self.width}


@keras.saving.register_keras_serializable(package="deepcosmo")
class MapPosterior(ProbabilisticModel):
    """p(theta | maps) by neural posterior estimation, with a compressor that is trained along.

    The loss is -ln p(theta | maps), which maximises the mutual information of summaries and parameters (Jeffrey, Alsing
    & Lanusse 2021, arXiv:2009.08459). `fit(maps, theta)` after `adapt(maps, theta)`.

    Args:
        compressor: `MapCompressor`, or any Keras model with an `adapt(maps, y)`.
        parameters: names of the parameters.
        bounds: (low, high) of each; no posterior mass lies outside. Infinite where there is no bound.
        density: one of `prepared.DENSITIES`, by name.
        options: of the density's class, in place of the defaults.
    """

    def __init__(self, *, compressor, parameters, bounds, density="maf_mog", options=None, **kwargs):
        super().__init__(**kwargs)
        if len(bounds) != len(parameters) or not all(low < high for low, high in bounds):
            raise ValueError(f"bounds must be one (low, high) for each of {', '.join(parameters)}; got {bounds}")
        self.compressor, self.parameters, self.kind, self.options = compressor, tuple(parameters), density, options
        self.bounds = [tuple(map(float, pair)) for pair in bounds]
        self.dim = len(parameters)
        cls, defaults = DENSITIES[density]
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
        maps = tf.TensorSpec((None, inner.size, inner.size, inner.channels), tf.float32, name="maps")
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
