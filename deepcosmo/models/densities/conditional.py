"""Densities p(y | context) of vectors: what regression, mixture density networks and flows share."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from keras import ops

from deepcosmo._quantities import refuse_masked
from deepcosmo._seeds import stateless_seed
from deepcosmo._types import Endpoints, Seed, TensorLike
from deepcosmo.models.base import ProbabilisticModel
from deepcosmo.nn.transforms.standardise import Standardise

if TYPE_CHECKING:
    import tensorflow_probability as tfp

__all__ = ["ConditionalDensity"]


class ConditionalDensity(ProbabilisticModel):
    """A density p(y | context) of a vector `y`, given a vector of context or nothing.

    `fit(context, y)` trains it; without a context (`context_dim=0`), `fit(y)` does. `adapt`, called before
    with the same arguments, measures the mean and scale of each column: the networks see standardised
    columns, everything else is in the units of the data.

    A subclass creates its networks and defines `_distribution(features)`, with `features` the standardised
    context, or None.

    Args:
      dim: Length of `y`.
      context_dim: Length of the context; 0 for none.
    """

    def __init__(self, *, dim: int, context_dim: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if dim < 1 or context_dim < 0:
            raise ValueError(f"Need dim >= 1 and context_dim >= 0, not {dim} and {context_dim}.")
        self.dim, self.context_dim = dim, context_dim
        self.standardise_y = Standardise(dim=dim, name="standardise_y")
        self.standardise_y.build()
        if context_dim:
            self.standardise_context = Standardise(dim=context_dim, name="standardise_context")
            self.standardise_context.build()

    def adapt(self, context: Any, y: Any = None) -> None:
        """Measures mean and scale of all columns, as given to `fit`: arrays or a batched `Dataset`."""
        name = type(self).__name__
        if isinstance(context, tf.data.Dataset):
            paired = isinstance(context.element_spec, tuple)
            contexts = context.map(lambda *batch: batch[0]).as_numpy_iterator() if paired else None
            ys = context.map(lambda *batch: batch[paired]).as_numpy_iterator()
        else:
            contexts, ys = ([context], [y]) if y is not None else (None, [context])
        if self.context_dim:
            if contexts is None:
                raise ValueError(f"{name}.adapt needs (context, y): context_dim is {self.context_dim}.")
            self.standardise_context.adapt(self._checked(c, self.context_dim, "context") for c in contexts)
        self.standardise_y.adapt(self._checked(v, self.dim, "y") for v in ys)

    def call(self, context: tf.Tensor) -> tf.Tensor:
        """The standardised context. A model without a context returns its input."""
        return self.standardise_context(context) if self.context_dim else context

    def loss_per_example(self, x: tf.Tensor, y: tf.Tensor | None, y_pred: Any) -> tf.Tensor:
        if self.context_dim:
            if y is None:
                raise ValueError(f"{type(self).__name__} is fitted on (context, y), and y is missing.")
            return -self._distribution(y_pred).log_prob(self._checked(y, self.dim, "y"))
        return -self._distribution(None).log_prob(self._checked(x if y is None else y, self.dim, "y"))

    def distribution(self, context: "TensorLike | None" = None) -> "tfp.distributions.Distribution":
        """The `tfd.Distribution` of `y`.

        Args:
          context: (..., context_dim); its leading axes are the batch shape of the distribution.
        """
        return self._distribution(self._features(context))

    def log_prob(self, y: TensorLike, context: "TensorLike | None" = None) -> tf.Tensor:
        """log p(y | context) in nats per unit of y.

        Args:
          y: (..., dim).
          context: (..., context_dim), broadcast against `y`.

        Returns:
          (...)
        """
        return self.distribution(context).log_prob(self._checked(y, self.dim, "y"))

    def sample(self, n: int | Sequence[int] = (), context: "TensorLike | None" = None, *, seed: Seed) -> tf.Tensor:
        """Draws from p(y | context); see `ProbabilisticModel.sample`.

        Args:
          n: Number of draws for each context; () for one, without an axis of its own.
          context: (..., context_dim).
          seed: int or int32[2]. Same seed, same numbers.

        Returns:
          (n, ..., dim)
        """
        return self.distribution(context).sample(n, seed=stateless_seed(seed))

    def endpoints(self) -> Endpoints:
        y = tf.TensorSpec((None, self.dim), tf.float32, name="y")
        context = tf.TensorSpec((None, self.context_dim), tf.float32, name="context")
        seed = tf.TensorSpec((2,), tf.int32, name="seed")
        if self.context_dim:
            log_prob = lambda y, context: {"log_prob": self.log_prob(y, context)}, [y, context]
            sample = lambda context, seed: {"y": self.sample((), context, seed=seed)}, [context, seed]
        else:
            n = tf.TensorSpec((), tf.int32, name="n")
            log_prob = lambda y: {"log_prob": self.log_prob(y)}, [y]
            sample = lambda n, seed: {"y": self.sample(n, seed=seed)}, [n, seed]
        return {"log_prob": log_prob, "sample": sample, "serving_default": log_prob}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dim": self.dim, "context_dim": self.context_dim}

    def _features(self, context):
        """The standardised context, checked; None for a model without."""
        name = type(self).__name__
        if not self.context_dim:
            if context is not None and np.shape(context)[-1:] != (0,):
                raise ValueError(f"This {name} has no context (context_dim=0), but one was given.")
            return None
        if context is None:
            raise ValueError(f"This {name} needs a context of shape (..., {self.context_dim}).")
        return self.standardise_context(self._checked(context, self.context_dim, "context"))

    def _checked(self, value, dim, name):
        refuse_masked(value, name)
        value = ops.convert_to_tensor(value, "float32")
        if value.shape.rank is None or value.shape.rank < 1 or value.shape[-1] not in (dim, None):
            form = f"(..., {dim}), not {tuple(value.shape)}"
            raise ValueError(f"{type(self).__name__}: {name} must have shape {form}.")
        return value
