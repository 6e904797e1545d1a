"""Pairs of statistics, or of whatever is measured of maps, and parameters, for training on `lensing_sbi`."""

from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
import tqdm

from deepcosmo._files import write_atomically

__all__ = ["measured", "one_noise", "statistics"]

_SAVED = 1000  # maps after which what was measured is written


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


def measured(examples, measure, *, keep=None, description="measuring", progress=True):
    """(what is measured of a map, theta) of examples in their order, as a finite `tf.data.Dataset` in memory.

    Args:
        examples: finite `tf.data.Dataset` of examples with `map` and `theta`.
        measure: maps (batch, rows, columns, bins) -> (batch, n); compiled by XLA.
        keep: file (.npz) to write what is measured to every few minutes, and to go on from where it is of the same
            `measure`, by what that makes of maps of noise.
        description: for the progress bar.
        progress: whether to show one.
    """
    shape = examples.element_spec["map"].shape
    compiled = tf.function(lambda map_: measure(map_[None])[0], autograph=False, jit_compile=True)
    mark = compiled(0.05 * tf.random.stateless_normal(shape, [0, 0])).numpy()
    found, theta = _kept(keep, mark)
    done = len(theta)

    def save():
        if keep is not None:
            arrays = {"mark": mark, "found": np.stack(found), "theta": np.stack(theta)}
            Path(keep).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(keep, lambda file: np.savez(file, **arrays))

    # one by one: many measures iterate, and a batch takes as long as its slowest map
    rows = examples.skip(done).map(
        lambda example: (compiled(example["map"]), example["theta"]), num_parallel_calls=tf.data.AUTOTUNE
    )
    with tqdm.tqdm(
        desc=description, unit=" maps", total=int(examples.cardinality()), initial=done, disable=not progress
    ) as bar:
        for values, true in rows.as_numpy_iterator():
            found.append(values)
            theta.append(true)
            bar.update()
            if len(theta) % _SAVED == 0:
                save()
    if len(theta) > done:
        save()
    return tf.data.Dataset.from_tensor_slices((np.stack(found), np.stack(theta)))


def _kept(path, mark):
    """What was measured before (found, theta), if by the same function."""
    if path is None or not Path(path).exists():
        return [], []
    with np.load(path) as file:
        close = {"rtol": 1e-2, "atol": 1e-3 * np.abs(mark).max()}
        if file["mark"].shape != mark.shape or not np.allclose(file["mark"], mark, **close):
            return [], []
        return list(file["found"]), list(file["theta"])


def one_noise(batch, seed):
    """Statistics (batch, n) of one of the noises of each example (batch, noises, n), at random: for `Stage.augment`."""
    found, theta = batch
    shape = tf.shape(found)
    index = tf.random.stateless_uniform([shape[0]], seed, maxval=shape[1], dtype=tf.int32)
    return tf.gather(found, index, batch_dims=1), theta
