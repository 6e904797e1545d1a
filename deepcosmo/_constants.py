"""Arrays that graphs share."""

import tensorflow as tf

from deepcosmo._types import TensorLike

__all__ = ["shared"]


def shared(array: TensorLike, dtype: tf.DType | None = None) -> tf.Tensor:
    """An array as a tensor outside of all graphs.

    An array becomes a constant of each graph that uses it, as often as it is used there, and so a part of each endpoint
    of a SavedModel. This tensor is captured, and written once.
    """
    with tf.init_scope():
        return tf.constant(array, dtype)
