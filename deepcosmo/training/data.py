"""Batches of a stage, as a function of the recipe's seed and of the step, never of what ran before."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from deepcosmo.training.recipe import Stage

__all__ = ["training_batches", "validation_batches"]


def _options():
    # By example, not by file: every worker makes the same global batch and takes its own part of it.
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return options


def _examples(stage, split):
    examples = stage.data(split)
    if examples.cardinality() in (0, tf.data.INFINITE_CARDINALITY):
        raise ValueError(f"stage {stage.name!r}: its {split} data must be finite, with at least one example")
    return examples


def _size(examples):
    size = int(examples.cardinality())
    if size == tf.data.UNKNOWN_CARDINALITY:
        size = int(examples.reduce(np.int64(0), lambda count, _: count + 1))
    return size


def training_batches(
    stage: Stage, *, seed: Sequence[int] | np.ndarray, first_epoch: int = 0
) -> tuple[tf.data.Dataset, int]:
    """Training batches from an epoch on, without end.

    The examples form one infinite stream, pass after pass over the data, each pass in its own seeded
    order. Batch `i` is examples `i * batch_size` to `(i + 1) * batch_size` of it, so a resumed run
    starts in the middle of the stream.

    Args:
        stage: the `Stage`.
        seed: two int32, different for every stage.
        first_epoch: the epoch to start with, from 0.

    Returns:
        The `tf.data.Dataset` and the number of its batches that make an epoch.
    """
    examples = _examples(stage, "train")
    size = _size(examples)
    steps = stage.steps_per_epoch or max(1, size // stage.batch_size)
    first_pass, skip = divmod(first_epoch * steps * stage.batch_size, size)

    def one_pass(number):
        if stage.shuffle == 1:
            return examples
        # Inside this function the global seed is the function's own. It must not be 0 beside a tensor.
        tf.random.set_seed(int(seed[0]) % (2**31 - 2) + 1)
        return examples.shuffle(stage.shuffle, seed=number, reshuffle_each_iteration=False)

    batches = tf.data.Dataset.counter(first_pass).flat_map(one_pass).skip(skip)
    batches = batches.batch(stage.batch_size, drop_remainder=True)
    if stage.augment is not None:

        def augment(step, batch):
            return stage.augment(batch, tf.random.fold_in(tf.constant(seed, tf.int32), step))

        batches = tf.data.Dataset.zip(tf.data.Dataset.counter(first_epoch * steps), batches)
        batches = batches.map(augment, num_parallel_calls=tf.data.AUTOTUNE)
    return batches.prefetch(tf.data.AUTOTUNE).with_options(_options()), steps


def validation_batches(stage: Stage) -> tf.data.Dataset:
    """All validation examples in order, in batches of the stage's size."""
    batches = _examples(stage, "validation").batch(stage.batch_size)
    return batches.prefetch(tf.data.AUTOTUNE).with_options(_options())
