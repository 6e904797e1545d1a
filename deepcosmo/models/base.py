"""The one base class: a Keras model whose output is a TFP distribution."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from deepcosmo._seeds import stateless_seed
from deepcosmo._types import Endpoints, Seed, TensorLike
from deepcosmo.models._precision import SinglePrecision

if TYPE_CHECKING:
    import tensorflow_probability as tfp

__all__ = ["ProbabilisticModel", "draws", "freeze", "never_empty"]


def draws(n: TensorLike) -> tf.Tensor:
    """How many draws there are along each axis, int32, of the `n` of `ProbabilisticModel.sample`: [] for ()."""
    return tf.reshape(tf.convert_to_tensor(n, tf.int32), [-1])


def freeze(layer: keras.layers.Layer) -> None:
    """Makes a layer, and all that is in it, not trainable.

    To a layer that says so already, as those do that were saved so, Keras does nothing; the layers in it may be
    trainable nevertheless.
    """
    layer.trainable = False
    for variable in layer.variables:
        variable.trainable = False


def never_empty(function: Callable[..., tf.Tensor], *batches: tf.Tensor) -> tf.Tensor:
    """A function of batches that may be empty; TensorFlow's convolutions and scattered updates need one example."""
    if batches[0].shape[0]:
        return function(*batches)
    n = tf.shape(batches[0])[0]
    missing = [[0, tf.maximum(1 - n, 0)]]
    return function(*[tf.pad(b, missing + [[0, 0]] * (b.shape.rank - 1), constant_values=1) for b in batches])[:n]


class _PerExampleMean(keras.losses.Loss):
    """Reduces per-example losses as Keras does: sample weights, and 1/replicas under `tf.distribute`."""

    def call(self, y_true, y_pred):
        del y_true
        return y_pred


class ProbabilisticModel(SinglePrecision, keras.Model):
    """A Keras model that predicts a distribution over its target, in the target's physical units.

    A subclass defines `call`, which returns tensors, and two methods built on it:

    - `distribution(x)`: the `tfd.Distribution` of the target given the input. Keras cannot return a
      distribution from `call`, so the layers own the weights and this method builds the distribution.
    - `loss_per_example(x, y, y_pred)`: shape (batch,); negative log-likelihood unless overridden.

    `model.compile(optimizer)` is all that `fit` needs. `endpoints()` names the functions that the
    model's SavedModel exposes. All models are sampled by `sample(n, x, seed=seed)`.
    """

    def distribution(self, x: Any = None) -> "tfp.distributions.Distribution":
        """The distribution of the target given the input `x`."""
        raise NotImplementedError

    def sample(self, n: int | Sequence[int] = (), x: Any = None, *, seed: Seed) -> Any:
        """Draws of the target, n for each input.

        All models and posteriors are called like this. Those of nothing that is given, as of an observation that they
        hold, take `n` alone; some have a default for it, and some more options by name.

        Args:
            n: number of draws, which may be 0; () for one without an axis of its own.
            x: what is given, in the form that `distribution` takes it. A batch of m makes m times n draws.
            seed: int or int32[2]. Same seed, same draws.

        Returns:
            (n, m, ...): the axis of the draws, if any, then those of the batch of x, then those of the target. Models
            of several columns return a dict of such arrays.
        """
        return self.distribution(x).sample(draws(n), seed=stateless_seed(seed))

    def loss_per_example(self, x: Any, y: Any, y_pred: Any) -> tf.Tensor:
        """Training loss of each example, shape (batch,), in nats."""
        raise NotImplementedError

    def endpoints(self) -> Endpoints:
        """Exported functions: name -> (function of tensors, list of `tf.TensorSpec`)."""
        raise NotImplementedError

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: tf.Tensor | None = None,
        training: bool = True,
    ) -> tf.Tensor:
        values = self.loss_per_example(x, y, y_pred)
        loss = _PerExampleMean(name="per_example_mean")(keras.ops.zeros_like(values), values, sample_weight)
        for regularisation in self.losses:
            loss = loss + self._aggregate_additional_loss(regularisation)
        return loss

    # Keras casts arrays and learning rates to the precision that it is set to: defined here, these are
    # `SinglePrecision`, too
    compile, fit = keras.Model.compile, keras.Model.fit
    evaluate, predict = keras.Model.evaluate, keras.Model.predict

    @property
    def jit_compile(self) -> bool:
        # Keras would compile all replicas into one XLA program, which cannot reach several devices' variables.
        return super().jit_compile and self.distribute_strategy.num_replicas_in_sync == 1

    @jit_compile.setter
    def jit_compile(self, value: bool | str) -> None:
        keras.Model.jit_compile.fset(self, value)

    # Two repairs for `MultiWorkerMirroredStrategy`, where `fit` of Keras 3 fails: the symbolic build
    # cannot reduce a per-replica batch, and per-step logs need an axis to be reduced over.

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        if iterator is not None and self._distribute_strategy is not None:
            _, _, batches = next(iter(iterator))
            first_replica = self._distribute_strategy.experimental_local_results
            data_batch = keras.tree.map_structure(lambda v: first_replica(v)[0], next(batches))
            iterator = None
        super()._maybe_symbolic_build(iterator=iterator, data_batch=data_batch)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        return {name: tf.reshape(v, [1]) for name, v in super().train_step(data).items()}

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        return {name: tf.reshape(v, [1]) for name, v in super().test_step(data).items()}
