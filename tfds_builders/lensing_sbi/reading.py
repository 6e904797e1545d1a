"""Pairs of statistics, or of whatever is measured of maps, and parameters, for training on `lensing_sbi`."""

import tensorflow as tf
import tensorflow_datasets as tfds
import tqdm

__all__ = ["measured", "one_noise", "statistics"]

_BATCH = 16  # of which splits are multiples


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


def measured(config, split, measure, *, progress=True):
    """(what is measured of a map, theta) of a split in the order on disk, as a finite `tf.data.Dataset` in memory.

    Args:
        config: of `lensing_sbi`, one with maps. Training examples have the noise of one pass over the data.
        split: "train", "validation" or "test", or a part of one.
        measure: maps (batch, rows, columns, bins) -> (batch, n); compiled by XLA.
        progress: whether to show a progress bar.
    """
    examples = tfds.load(f"lensing_sbi/{config}", split=split).batch(_BATCH)
    compiled = tf.function(measure, autograph=False, jit_compile=True)
    found, theta = [], []
    for example in tqdm.tqdm(examples, desc=f"measuring {split}", unit=f" x {_BATCH} maps", disable=not progress):
        found.append(compiled(example["map"]))
        theta.append(example["theta"])
    return tf.data.Dataset.from_tensor_slices((tf.concat(found, 0), tf.concat(theta, 0)))


def one_noise(batch, seed):
    """Statistics (batch, n) of one of the noises of each example (batch, noises, n), at random: for `Stage.augment`."""
    found, theta = batch
    shape = tf.shape(found)
    index = tf.random.stateless_uniform([shape[0]], seed, maxval=shape[1], dtype=tf.int32)
    return tf.gather(found, index, batch_dims=1), theta
