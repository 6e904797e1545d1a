"""Pairs of statistics and parameters, for training on `lensing_sbi`."""

import tensorflow as tf
import tensorflow_datasets as tfds

__all__ = ["one_noise", "statistics"]


def statistics(config, split):
    """(statistics, theta) of a split in the order on disk, as a finite `tf.data.Dataset`.

    Training examples have the statistics of all realisations of the noise (noises, n), of which `one_noise` chooses
    one; others those of the first (n,).

    Args:
        config: of `lensing_sbi`, one with statistics.
        split: "train", "validation" or "test", or a part of one.
    """

    def pair(example):
        found = example["statistics"]
        return (found if split.startswith("train") else found[0]), example["theta"]

    return tfds.load(f"lensing_sbi/{config}", split=split).map(pair)


def one_noise(batch, seed):
    """Statistics (batch, n) of one of the noises of each example (batch, noises, n), at random: for `Stage.augment`."""
    found, theta = batch
    shape = tf.shape(found)
    index = tf.random.stateless_uniform([shape[0]], seed, maxval=shape[1], dtype=tf.int32)
    return tf.gather(found, index, batch_dims=1), theta
