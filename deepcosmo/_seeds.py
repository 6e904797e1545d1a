"""Seeds: one rule for everything that draws random numbers."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from deepcosmo._types import Seed

__all__ = ["stateless_seed"]


def stateless_seed(seed: Seed) -> tf.Tensor:
    """The int32[2] seed of TensorFlow's stateless functions that stands for an integer or for two integers.

    Raises:
        ValueError: `seed` is negative, 2^62 or larger, not an integer, or neither a number nor a pair.
    """
    if isinstance(seed, int | np.integer):
        if not 0 <= seed < 2**62:
            raise ValueError(f"A seed must lie in [0, 2^62), not {seed}.")
        return tf.constant([seed >> 31, seed & 0x7FFFFFFF], tf.int32)
    seed = tf.convert_to_tensor(seed)
    if not seed.dtype.is_integer or seed.shape not in ((), (2,)):
        raise ValueError(f"A seed is an integer or int32[2], not {seed.dtype.name}{list(seed.shape)}.")
    if seed.shape.rank == 0:
        seed = tf.stack([tf.zeros_like(seed), seed])
    return tf.cast(seed, tf.int32)
