"""Priors as users have them, and their parameters as networks want them: real vectors, of a precision that will do."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from deepcosmo._types import Prior, TensorLike
from deepcosmo.inference.sbi.bounds import bounds_of
from deepcosmo.models.densities.bounds import onto_bounds
from deepcosmo.nn.transforms.outliers import moved_in

__all__ = ["Support", "offsets", "unconstraining", "vectors"]

tfd, tfb = tfp.distributions, tfp.bijectors
DRAWS = 256  # of the prior, on which its bijector must prove itself
POINTS = 100  # of the prior, where another one would show
COARSEST = 1e-4  # step between two numbers of float32 that still counts as small, in units of a column's spread


class Support:
    """The parameters of a prior, as users have them and as real vectors behind a bijector onto the prior's support.

    Real vectors z are float32, as networks are. Parameters are float64 where the prior is, or where float32 is too
    coarse for it, as it is for Julian dates; else float32.

    Args:
        prior: see `vectors`.

    Attributes:
        prior: `tfd.Distribution` of vectors (dim,), of that precision.
        bijector: from z onto its support, so that no density leaks out of it.
        dtype: of parameters, a NumPy type.
        origin: what is subtracted of parameters (dim,) before they become float32, zero where there is no need.

    Raises:
        ValueError: the prior has a batch or another event shape, or no bijector that keeps its own draws and their
            dimension.
    """

    def __init__(self, prior: Prior) -> None:
        self.prior = vectors(prior)
        self.origin = offsets(self._draws())
        if self.origin.any() and self.prior.dtype != tf.float64:
            try:
                self.prior = in_double_precision(self.prior)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"float32 is too coarse for the prior {self.prior.name}: make it of float64 arrays, "
                    "or subtract an offset from its parameters"
                ) from error
        self.bijector, self.dtype = unconstraining(self.prior), self.prior.dtype.as_numpy_dtype
        self.dim = int(self.prior.event_shape[0])
        shift = offsets(self.bijector.inverse(self._draws()).numpy()).astype(self.dtype)
        if shift.any():
            self.bijector = tfb.Chain([self.bijector, tfb.Shift(shift)])

    def _draws(self):
        return self.prior.sample(DRAWS, seed=[0, 0]).numpy()

    def parameters(self, z: tf.Tensor) -> tf.Tensor:
        """Parameters (..., dim) of real vectors."""
        return self.bijector.forward(tf.cast(z, self.dtype))

    def unconstrained(self, theta: TensorLike) -> np.ndarray:
        """Real vectors (n, dim) of parameters, a NumPy array.

        Rounding puts some of a hundred thousand draws of a prior onto its very bounds, where they are infinite: those
        count as the outermost of the others.
        """
        z = self.bijector.inverse(tf.constant(theta, self.dtype)).numpy()
        return moved_in(z, np.isinf(z)).astype("float32")

    def interior(self, theta: TensorLike) -> tuple[tf.Tensor, tf.Tensor]:
        """Which parameters (n, dim) are possible (n,), and real vectors (n, dim) of these; zeros for the others.

        Bounds count as outside: for the bijector they are infinitely far away, and no draw but a rounded one lies
        there.
        """
        theta = tf.cast(theta, self.dtype)
        z = self.bijector.inverse(theta)
        inside = tf.math.is_finite(self.prior.log_prob(theta)) & tf.reduce_all(tf.math.is_finite(z), -1)
        return inside, tf.cast(tf.where(inside[:, None], z, tf.zeros_like(z)), tf.float32)

    def log_slope(self, z: tf.Tensor) -> tf.Tensor:
        """ln of the volume of parameters over that of real vectors z (..., dim)."""
        return tf.cast(self.bijector.forward_log_det_jacobian(tf.cast(z, self.dtype), event_ndims=1), tf.float32)

    def log_prior(self, z: tf.Tensor) -> tf.Tensor:
        """ln of the prior density of the parameters of real vectors z (..., dim), per volume of parameters."""
        return tf.cast(self.prior.log_prob(self.parameters(z)), tf.float32)

    def centred(self, theta: TensorLike) -> tf.Tensor:
        """Parameters (..., dim) as inputs of networks, float32."""
        return tf.cast(tf.cast(theta, self.dtype) - self.origin.astype(self.dtype), tf.float32)

    def fingerprint(self) -> dict[str, np.ndarray]:
        """Arrays by name that another prior, or another bijector onto its support, would not have."""
        points = self.prior.sample(POINTS, seed=[0, 0]).numpy()
        return {
            "points": points,
            "log_prior": self.prior.log_prob(points).numpy(),
            "unconstrained": self.bijector.inverse(points).numpy(),
        }

    def check(self, fingerprint: Mapping[str, np.ndarray]) -> None:
        """Raises ValueError if this is not the prior that a fingerprint was taken of."""
        points, log_prior, z = (fingerprint[name] for name in ("points", "log_prior", "unconstrained"))
        if points.shape[1] != self.dim:
            raise ValueError(f"the estimator is of {points.shape[1]} parameters, and the prior of {self.dim}")
        points = points.astype(self.dtype)
        found = self.prior.log_prob(points).numpy()
        differs = ~np.isclose(found, log_prior, 1e-3, 1e-3)
        if differs.any():
            i = differs.argmax()
            raise ValueError(
                f"this is not the prior that the estimator was trained with: ln p({points[i]}) is "
                f"{found[i]:.4g}, and was {log_prior[i]:.4g}"
            )
        if not np.allclose(self.bijector.inverse(points), z, 1e-3, 1e-3):
            raise ValueError(
                "the prior has the density of the one that the estimator was trained with, but another "
                "bijector onto its support"
            )


def vectors(prior: Any) -> tfp.distributions.Distribution:
    """A prior as a `tfd.Distribution` of vectors (dim,).

    Args:
        prior: that, or a joint distribution of TFP, or a list of distributions, independent ones, one after the other.
            Columns are in the order in which `tf.nest.flatten` has the parts of a draw: those of a dict by name.

    Raises:
        ValueError: it has a batch, another event shape, or is no distribution.
    """
    if isinstance(prior, list | tuple) and prior:
        parts = prior
        if len({getattr(part, "dtype", None) for part in parts}) > 1:
            parts = [in_double_precision(part) for part in parts]
        prior = tfd.Blockwise(list(parts))
    elif isinstance(prior, tfd.JointDistribution):
        prior = tfd.Blockwise(prior)
    if not hasattr(prior, "event_shape"):
        raise ValueError(
            "prior must be a tfd.Distribution of vectors, a joint distribution or a list of "
            f"distributions; got {type(prior).__name__}"
        )
    if prior.event_shape.rank != 1 or prior.batch_shape.rank != 0:
        raise ValueError(
            f"prior must be a distribution of vectors, event shape (dim,), without batch; got event shape "
            f"{prior.event_shape} and batch shape {prior.batch_shape}: wrap it in tfd.Independent, or give a list of "
            "distributions, one for each parameter"
        )
    return prior


def unconstraining(prior: tfp.distributions.Distribution) -> tfp.bijectors.Bijector:
    """The bijector of a prior of vectors (dim,), a `tfd.Distribution`, from real vectors onto its support.

    Raises:
        ValueError: it has none that keeps its own draws and their dimension.
    """
    prior = vectors(prior)
    draws = prior.sample(DRAWS, seed=[0, 0])
    for make in (_of_distribution, _onto_box):
        try:
            bijector = make(prior)
            z = bijector.inverse(draws)
        except (AttributeError, NotImplementedError, ValueError):  # there is none
            continue
        except TypeError:  # of TFP's simplex under NumPy 2.4
            break
        if z.shape != draws.shape:
            break
        if np.allclose(bijector.forward(tf.identity(z)), draws, 1e-3, 1e-4):
            return bijector
    raise ValueError(
        f"the prior {prior.name} has no bijector from real vectors of its length onto its support: choose "
        "parameters each of which has an interval, a half line or all numbers, whatever the others are"
    )


def offsets(data: np.ndarray) -> np.ndarray:
    """What is to be subtracted of columns (n, dim), float64, before they become float32: medians where float32 would be
    too coarse, zero elsewhere. NaN does not count."""
    data = np.asarray(data, "float64")
    data = np.where(np.isfinite(data), data, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of columns that are all NaN
        low, middle, high = np.nanquantile(data, [0.16, 0.5, 0.84], axis=0)
    step = np.spacing(np.abs(middle).astype("float32"))
    return np.where(step > COARSEST * (high - low) / 2, middle, 0.0)


def in_double_precision(value: Any) -> Any:
    """A distribution, or what it is made of, in float64."""
    if isinstance(value, tfd.Distribution | tfb.Bijector):
        return type(value)(**in_double_precision(value.parameters))
    if isinstance(value, dict):
        return {name: in_double_precision(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [in_double_precision(part) for part in value]
    if isinstance(value, float | np.ndarray | np.floating) or tf.is_tensor(value):
        array = np.asarray(value)
        return array.astype("float64") if array.dtype.kind == "f" else value
    return value


def _of_distribution(prior):
    """The bijector of the distribution itself."""
    if not isinstance(prior, tfd.Blockwise):
        return prior.experimental_default_event_space_bijector()
    parts = tf.nest.flatten(getattr(prior.distributions, "model", prior.distributions))
    if not all(isinstance(part, tfd.Distribution) and part.event_shape.rank < 2 for part in parts):
        raise NotImplementedError("parts depend on each other")
    return tfb.Blockwise(
        [part.experimental_default_event_space_bijector() for part in parts],
        block_sizes=[max(1, int(np.prod(part.event_shape))) for part in parts],
    )


def _onto_box(prior):
    """That of a prior whose parameters have bounds each of its own, found by its density."""
    return onto_bounds(bounds_of(prior))
