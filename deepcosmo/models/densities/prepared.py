"""Densities that prepare their own data: what simulation-based inference trains."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from deepcosmo._quantities import refuse_masked
from deepcosmo._types import Endpoints, Seed, TensorLike
from deepcosmo.models.densities.conditional import ConditionalDensity
from deepcosmo.models.densities.encoded import EncodedDensity
from deepcosmo.models.densities.flows import MAF, NSF, MAFMoG, RealNVP
from deepcosmo.models.densities.mdn import MDN
from deepcosmo.nn.transforms.linear_fit import LinearFit
from deepcosmo.nn.transforms.outliers import far_out
from deepcosmo.nn.transforms.power import Power, tempered
from deepcosmo.nn.transforms.standardise import Standardise

if TYPE_CHECKING:
    import tensorflow_probability as tfp
    from typing_extensions import Self

__all__ = ["DENSITIES", "PreparedDensity"]

_NETWORK = {"hidden": (128, 128), "residual": True}
DENSITIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "mdn": (MDN, {"full_covariance": True, **_NETWORK}),
    "maf": (MAF, {"transforms": 5, **_NETWORK}),
    "maf_mog": (MAFMoG, {"transforms": 3, **_NETWORK}),
    "realnvp": (RealNVP, {"transforms": 6, **_NETWORK}),
    "nsf": (NSF, {"transforms": 3, "kind": "autoregressive", **_NETWORK}),
}


@keras.saving.register_keras_serializable(package="deepcosmo")
class PreparedDensity(EncodedDensity):
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

    def __init__(
        self,
        *,
        dim: int,
        x_shape: Sequence[int],
        density: str = "maf_mog",
        compressor: keras.Model | None = None,
        gaps: bool = False,
        transform_y: bool = False,
        options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if density not in DENSITIES:
            raise ValueError(f"density must be one of {', '.join(DENSITIES)}; got {density!r}")
        self.x_shape, self.kind, self.gaps, self.transform_y = tuple(x_shape), density, gaps, transform_y
        self.of_vectors = compressor is None
        if self.of_vectors and len(self.x_shape) != 1:
            raise ValueError(
                f"x of shape (n, {', '.join(map(str, self.x_shape))}) needs a compressor: a Keras model "
                "that makes vectors of it"
            )
        self.dim, self.options = dim, dict(options or {})
        self.compressor = keras.layers.Identity() if compressor is None else compressor
        self.scaling = (_Columns if self.of_vectors else _Channels)(self.x_shape[-1])
        self.scale_x = self.scaling.layer
        self.scale_y = (Power if transform_y else _AsItIs)(dim=dim, name="scale_y")
        channels = self.x_shape[-1] * (2 if gaps else 1)
        features = self.compressor.compute_output_shape((1, *self.x_shape[:-1], channels))[-1]
        # features of a compressor are unknown before it is trained
        self.linear = LinearFit(dim=dim, features=features if self.of_vectors else 0, name="linear")
        for layer in (self.scale_x, self.scale_y, self.linear):
            layer.build()
        cls, defaults = DENSITIES[density]
        self.density: ConditionalDensity = cls(dim=dim, context_dim=features, **(defaults | self.options))
        self.built = True

    @property
    def supports_xla(self) -> bool:
        """Whether XLA is known to make the training faster: not for splines, nor for convolutions on CPU."""
        return self.kind != "nsf" and self.of_vectors

    def adapt(self, x: np.ndarray, y: np.ndarray) -> None:
        """Measures all scales and the linear regression, on arrays (n, *x_shape) and (n, dim), without what lies far
        out of the columns of vectors."""
        x, y = np.asarray(x, "float32"), np.asarray(y, "float32")
        self.scaling.adapt(x)
        self.scale_y.adapt(y)
        features = np.zeros((len(y), 0))
        if self.of_vectors:
            features = np.array(self.encode(x))
            features[:, : x.shape[1]][far_out(x)] = 0.0  # few of them would decide on the regression
        self.linear.adapt(ops.convert_to_numpy(self.scale_y(y)[0]), features)

    def encode(self, x: tf.Tensor) -> tf.Tensor:
        """Features (batch, n) of x (batch, *x_shape)."""
        refuse_masked(x, "x")
        x = ops.convert_to_tensor(x, "float32")
        known = ops.logical_not(ops.isnan(x)) if self.gaps else None
        value = self.scaling(ops.where(known, x, 0.0) if self.gaps else x)
        if self.gaps:
            value = ops.concatenate([ops.where(known, value, 0.0), ops.cast(known, value.dtype)], -1)
        return self.compressor(value)

    def own_compressor(self) -> keras.Model | None:
        """The compressor that is trained along."""
        return self.compressor

    def left(self, y: tf.Tensor, features: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What the regression on features (..., n) leaves of y (..., dim), and ln of the slope of that (...)."""
        y, log_slope = self.scale_y(y)
        left, change = self.linear(y, features[..., : self.linear.features])
        return left, change + ops.sum(log_slope, -1)

    def whole(self, left: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        """y (..., dim), of which the regression on features (..., n) leaves this."""
        return self.scale_y.invert(self.linear.invert(left, features[..., : self.linear.features]))

    def log_prob_of_features(self, y: TensorLike, features: tf.Tensor) -> tf.Tensor:
        """As `log_prob`, for features (..., n) of x."""
        left, change = self.left(ops.convert_to_tensor(y, "float32"), features)
        batch = tf.broadcast_dynamic_shape(tf.shape(left)[:-1], tf.shape(features)[:-1])
        rows = (
            tf.reshape(tf.broadcast_to(v, tf.concat([batch, v.shape[-1:]], 0)), [-1, v.shape[-1]])
            for v in (left, features)
        )
        return tf.reshape(self.density.log_prob(*rows), batch) + change

    def mean_of_features(self, features: tf.Tensor) -> tf.Tensor:
        """Means (batch, dim) of a density of normal components, for features (batch, n) of x."""
        return self.whole(self.density.distribution(features).mean(), features)

    def sample_of_features(self, n: int | Sequence[int], features: tf.Tensor, *, seed: Seed) -> tf.Tensor:
        """As `sample`, for features (..., n) of x."""
        left = self.density.sample(n, tf.reshape(features, [-1, features.shape[-1]]), seed=seed)
        shape = tf.concat([tf.shape(left)[:-2], tf.shape(features)[:-1], [self.dim]], 0)
        return self.whole(tf.reshape(left, shape), features)

    def _features(self, x):
        """Features (..., n) of x (..., *x_shape)."""
        refuse_masked(x, "x")
        x = tf.convert_to_tensor(x, tf.float32)
        batch = tf.shape(x)[: len(x.shape) - len(self.x_shape)]
        features = self.encode(tf.reshape(x, [-1, *self.x_shape]))
        return tf.reshape(features, tf.concat([batch, features.shape[-1:]], 0))

    def distribution(self, x: TensorLike) -> "tfp.distributions.Distribution":
        """The `tfd.Distribution` of y given x (batch, *x_shape)."""
        import tensorflow_probability as tfp

        features = self.encode(x)
        shift = self.linear.invert(ops.zeros((ops.shape(features)[0], self.dim)), features[:, : self.linear.features])
        bijectors = [
            _as_bijector(self.scale_y),
            tfp.bijectors.Shift(shift),
            tfp.bijectors.ScaleMatvecTriL(self.linear.factor.value),
        ]
        return tfp.distributions.TransformedDistribution(
            self.density.distribution(features), tfp.bijectors.Chain(bijectors)
        )

    def loss_per_example(self, x: tf.Tensor, y: tf.Tensor, y_pred: Any) -> tf.Tensor:
        return -self.log_prob_of_features(y, y_pred)

    def endpoints(self) -> Endpoints:
        y = tf.TensorSpec((None, self.dim), tf.float32, name="y")
        x = tf.TensorSpec((None, *self.x_shape), tf.float32, name="x")
        seed = tf.TensorSpec((2,), tf.int32, name="seed")
        log_prob = lambda y, x: {"log_prob": self.log_prob(y, x)}, [y, x]
        sample = lambda x, seed: {"y": self.sample((), x, seed=seed)}, [x, seed]
        return {"log_prob": log_prob, "sample": sample, "serving_default": log_prob}

    def get_config(self) -> dict[str, Any]:
        compressor = None if self.of_vectors else keras.saving.serialize_keras_object(self.compressor)
        return {
            **super().get_config(),
            "dim": self.dim,
            "x_shape": self.x_shape,
            "density": self.kind,
            "compressor": compressor,
            "gaps": self.gaps,
            "transform_y": self.transform_y,
            "options": self.options,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Self":
        return cls(**{**config, "compressor": keras.saving.deserialize_keras_object(config["compressor"])})


class _Columns:
    """How vectors are scaled."""

    def __init__(self, dim):
        self.layer = Power(dim=dim, name="scale_x")

    def adapt(self, x):
        self.layer.adapt(x)

    def __call__(self, x):
        return tempered(self.layer(x)[0])


class _Channels:
    """How arrays are scaled."""

    def __init__(self, dim):
        self.layer = Standardise(dim=dim, name="scale_x")

    def adapt(self, x):
        values = x.reshape(-1, x.shape[-1])
        self.layer.adapt([np.where(np.isnan(values), np.nanmean(values, 0), values)])

    def __call__(self, x):
        return self.layer(x)


class _AsItIs(keras.layers.Layer):
    """In place of `Power`, what changes nothing."""

    def __init__(self, *, dim, **kwargs):
        super().__init__(**kwargs)
        self.dim = dim

    def build(self, input_shape=None):
        pass

    def adapt(self, data):
        pass

    def call(self, x):
        return x, ops.zeros_like(x)

    def invert(self, y):
        return y


def _as_bijector(scale):
    import tensorflow_probability as tfp

    return tfp.bijectors.Inline(
        forward_fn=scale.invert,
        inverse_fn=lambda y: scale(y)[0],
        inverse_log_det_jacobian_fn=lambda y: scale(y)[1],
        forward_min_event_ndims=0,
        name="Scale",
    )
