"""Constants and functions that graphs share."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from deepcosmo._types import TensorLike

__all__ = ["apart", "shared"]


def shared(array: TensorLike, dtype: tf.DType | None = None) -> tf.Tensor:
    """An array as a tensor outside of all graphs.

    An array becomes a constant of each graph that uses it, as often as it is used there, and so a part of each endpoint
    of a SavedModel. This tensor is captured, and written once.
    """
    with tf.init_scope():
        return tf.constant(array, dtype)


def apart(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of tensors that graphs call as one, traced once for all of them.

    TensorFlow infers the shapes in a function at each call of it, and again at each call of what calls it: seconds, for
    one of thousands of operations. Of a conditional's branch it takes them as they are.
    """
    graph = tf.function(function, autograph=False)
    return lambda *arguments: tf.switch_case(tf.constant(0), [lambda: graph(*arguments)])
