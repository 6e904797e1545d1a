"""Densities that prepare their own data: what simulation-based inference trains."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from deepcosmo._seeds import stateless_seed
from deepcosmo.models.base import ProbabilisticModel
from deepcosmo.models.densities.conditional import ConditionalDensity
from deepcosmo.models.densities.flows import MAF, NSF, MAFMoG, RealNVP
from deepcosmo.models.densities.mdn import MDN
from deepcosmo.nn.transforms.linear_fit import LinearFit
from deepcosmo.nn.transforms.power import Power, tempered
from deepcosmo.nn.transforms.standardise import Standardise

__all__ = ["DENSITIES", "PreparedDensity"]

_NETWORK = {"hidden": (128, 128), "residual": True}
DENSITIES = {
    "mdn": (MDN, {"full_covariance": True, **_NETWORK}),
    "maf": (MAF, {"transforms": 5, **_NETWORK}),
    "maf_mog": (MAFMoG, {"transforms": 3, **_NETWORK}),
    "realnvp": (RealNVP, {"transforms": 6, **_NETWORK}),
    "nsf": (NSF, {"transforms": 3, "kind": "autoregressive", **_NETWORK}),
}


@keras.saving.register_keras_serializable(package="deepcosmo")
class PreparedDensity(ProbabilisticModel):
    """p(y | x) of vectors y, given data x of any kind, in the units of both.

    Vectors x become features by a power transformation of each column, whose far tails count logarithmically. Other
    arrays are standardised by channel, and a compressor, any Keras model, makes features of them; it is trained along,
    which maximises the information that they carry on y (Jeffrey, Alsing & Lanusse 2021, arXiv:2009.08459). What a
    linear regression on the features leaves of y is what the density learns. `adapt(x, y)` measures all of that and
    comes before `fit(x, y)`.

    Args:
        dim: length of y.
        x_shape: shape of x without the batch.
        density: one of `DENSITIES`, by name.
        compressor: Keras model from (batch, *x_shape) to features (batch, n); None for vectors.
        gaps: whether NaN in x means that nothing was measured. Features then tell where: a column more for each column
            of a vector, as many channels more for a compressor.
        transform_y: whether y too passes a power transformation.
        options: of the density's class, in place of the defaults.
    """

    def __init__(self, *, dim, x_shape, density="maf_mog", compressor=None, gaps=False, transform_y=False,
                 options=None, **kwargs):  # fmt: skip
        super().__init__(**kwargs)
        if density not in DENSITIES:
            raise ValueError(f"density must be one of {', '.join(DENSITIES)}; got {density!r}")
        self.x_shape, self.kind, self.gaps, self.transform_y = tuple(x_shape), density, gaps, transform_y
        if compressor is None and len(self.x_shape) != 1:
            raise ValueError(f"x of shape (n, {', '.join(map(str, self.x_shape))}) needs a compressor: a Keras model "
                             "that makes vectors of it")
        self.dim, self.compressor, self.options = dim, compressor, dict(options or {})
        self.scale_x = (Standardise if compressor else Power)(dim=self.x_shape[-1], name="scale_x")
        self.scale_x.build()
        if compressor:
            shape = (*self.x_shape[:-1], self.x_shape[-1] * (2 if gaps else 1))
            features = compressor.compute_output_shape((1, *shape))[-1]
        else:
            features = self.x_shape[0] * (2 if gaps else 1)
        self.scale_y = None
        if transform_y:
            self.scale_y = Power(dim=dim, name="scale_y")
            self.scale_y.build()
        # features of a compressor are unknown before it is trained
        self.linear = LinearFit(dim=dim, features=0 if compressor else features, name="linear")
        self.linear.build()
        cls, defaults = DENSITIES[density]
        self.density: ConditionalDensity = cls(dim=dim, context_dim=features, **(defaults | self.options))
        self.built = True

    @property
    def supports_xla(self):
        """Whether XLA is known to make the training faster: not for splines, nor for convolutions on CPU."""
        return self.kind != "nsf" and self.compressor is None

    def adapt(self, x, y):
        """Measures all scales and the linear regression, on arrays (n, *x_shape) and (n, dim)."""
        x, y = np.asarray(x, "float32"), np.asarray(y, "float32")
        if self.compressor is None:
            self.scale_x.adapt(x)
        else:
            values = x.reshape(-1, x.shape[-1])
            self.scale_x.adapt([np.where(np.isnan(values), np.nanmean(values, 0), values) if self.gaps else values])
        if self.scale_y:
            self.scale_y.adapt(y)
            y = ops.convert_to_numpy(self.scale_y(y)[0])
        features = np.zeros((len(y), 0)) if self.compressor else ops.convert_to_numpy(self.call(x))
        self.linear.adapt(y, features)

    def call(self, x):
        """Features (batch, n) of x (batch, *x_shape)."""
        x = ops.convert_to_tensor(x, "float32")
        known = ops.logical_not(ops.isnan(x)) if self.gaps else None
        if self.gaps:
            x = ops.where(known, x, 0.0)
        if self.compressor is None:
            value = tempered(self.scale_x(x)[0])
        else:
            value = self.scale_x(x)
        if self.gaps:
            value = ops.concatenate([ops.where(known, value, 0.0), ops.cast(known, value.dtype)], -1)
        return value if self.compressor is None else self.compressor(value)

    def log_prob_of_features(self, y, features):
        """As `log_prob`, for features (..., n) of x."""
        if len(y.shape) == 1:
            return self.log_prob_of_features(y[None], features)[0]
        if len(features.shape) == 1:
            features = ops.broadcast_to(features, (*ops.shape(y)[:-1], features.shape[0]))
        log_det = 0.0
        if self.scale_y:
            y, log_slope = self.scale_y(y)
            log_det = ops.sum(log_slope, -1)
        left, change = self.linear(y, self._linear_features(features))
        return self.density.log_prob(left, features) + change + log_det

    def mean_of_features(self, features):
        """Means (batch, dim) of a density of normal components, for features (batch, n) of x."""
        return self.linear.invert(self.density.distribution(features).mean(), self._linear_features(features))

    def sample_of_features(self, n, features, *, seed):
        """As `sample`, for features (..., n) of x."""
        if len(features.shape) == 1:
            return self.sample_of_features(n, features[None], seed=seed)[..., 0, :]
        left = self.density.sample(n, features, seed=stateless_seed(seed))
        y = self.linear.invert(left, self._linear_features(features))
        return self.scale_y.invert(y) if self.scale_y else y

    def _linear_features(self, features):
        return features[..., :0] if self.compressor else features

    def log_prob(self, y, x):
        """ln p(y | x) in nats (...), for y (..., dim) and x (..., *x_shape) of at most one batch axis."""
        return self.log_prob_of_features(ops.convert_to_tensor(y, "float32"), self._features(x))

    def sample(self, n, x, *, seed):
        """Draws (n, ..., dim) for x (..., *x_shape) of at most one batch axis; `seed` is an int or int32[2]."""
        return self.sample_of_features(n, self._features(x), seed=seed)

    def _features(self, x):
        x = ops.convert_to_tensor(x, "float32")
        return self(x) if len(x.shape) > len(self.x_shape) else self(x[None])[0]

    def distribution(self, x):
        """The `tfd.Distribution` of y given x (batch, *x_shape)."""
        import tensorflow_probability as tfp

        features = self(x)
        shift = self.linear.invert(ops.zeros((ops.shape(features)[0], self.dim)), self._linear_features(features))
        bijectors = [tfp.bijectors.Shift(shift), tfp.bijectors.ScaleMatvecTriL(self.linear.factor.value)]
        if self.scale_y:
            bijectors.insert(0, _as_bijector(self.scale_y))
        return tfp.distributions.TransformedDistribution(self.density.distribution(features),
                                                         tfp.bijectors.Chain(bijectors))

    def loss_per_example(self, x, y, y_pred):
        return -self.log_prob_of_features(y, y_pred)

    def endpoints(self):
        y = tf.TensorSpec((None, self.dim), tf.float32, name="y")
        x = tf.TensorSpec((None, *self.x_shape), tf.float32, name="x")
        seed = tf.TensorSpec((2,), tf.int32, name="seed")
        log_prob = lambda y, x: {"log_prob": self.log_prob(y, x)}, [y, x]
        sample = lambda x, seed: {"y": self.sample((), x, seed=seed)}, [x, seed]
        return {"log_prob": log_prob, "sample": sample, "serving_default": log_prob}

    def get_config(self):
        compressor = self.compressor and keras.saving.serialize_keras_object(self.compressor)
        return {**super().get_config(), "dim": self.dim, "x_shape": self.x_shape, "density": self.kind,
                "compressor": compressor, "gaps": self.gaps, "transform_y": self.transform_y,
                "options": self.options}  # fmt: skip

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "compressor": keras.saving.deserialize_keras_object(config["compressor"])})


def _as_bijector(power):
    import tensorflow_probability as tfp

    return tfp.bijectors.Inline(
        forward_fn=power.invert,
        inverse_fn=lambda y: power(y)[0],
        inverse_log_det_jacobian_fn=lambda y: power(y)[1],
        forward_min_event_ndims=0,
        name="Power",
    )
