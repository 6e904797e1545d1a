"""Fast reading of stamps: whole batches are parsed at once, where `as_dataset` parses examples one by one."""

import numpy as np

__all__ = ["batches"]


def batches(builder, split, batch_size, *, features=("image", "psf", "noise_std"), seed=None, buffer=1024):
    """Batches of some features of a split, two to three times as fast as `builder.as_dataset`.

    Args:
        builder: a prepared TFDS builder in TFRecord format whose array features are encoded as bytes.
        split: name or slice, such as "train" or "train[:10%]".
        batch_size: examples per batch; the last batch may be smaller.
        features: names; those in `attrs` as "attrs/mag_auto". Nothing else is parsed.
        seed: shuffles files and a buffer of examples, in another order every epoch; None: one fixed order.
        buffer: number of examples in that buffer (148 kB each).

    Returns:
        `tf.data.Dataset` of flat dicts: name -> tensor with the batch in front.

    Raises:
        ValueError: a feature that the data set does not have.
    """
    import tensorflow as tf

    flat = {}
    for name, feature in builder.info.features.items():
        nested = feature.items() if name == "attrs" else ()
        flat |= {f"{name}/{key}": value for key, value in nested} or {name: feature}
    if unknown := set(features) - set(flat):
        raise ValueError(f"no features {sorted(unknown)}; there are {', '.join(flat)}")
    shapes = {name: flat[name].shape for name in features}
    types = {name: tf.as_dtype(flat[name].np_dtype) for name in features}
    kinds = {name: tf.string if shapes[name] else tf.int64 if types[name].is_bool else types[name] for name in features}
    spec = {name: tf.io.FixedLenFeature([], kind) for name, kind in kinds.items()}

    def parse(records):
        found = tf.io.parse_example(records, spec)
        for name in features:
            if shapes[name]:
                found[name] = tf.io.decode_raw(found[name], types[name], fixed_length=_bytes(flat[name]))
                found[name] = tf.reshape(found[name], (-1, *shapes[name]))
            found[name] = tf.cast(found[name], types[name])
        return found

    files = tf.data.Dataset.from_tensor_slices(
        [(i.filename, str(i.skip), str(i.take)) for i in builder.info.splits[split].file_instructions]
    )
    if seed is not None:
        files = files.shuffle(len(files), seed=seed)

    def records(instruction):
        skip, take = (tf.strings.to_number(instruction[i], tf.int64) for i in (1, 2))
        return tf.data.TFRecordDataset(instruction[0], buffer_size=1 << 20).skip(skip).take(take)

    data = files.interleave(records, cycle_length=2, block_length=16, num_parallel_calls=2, deterministic=True)
    if seed is not None:
        data = data.shuffle(buffer, seed=seed + 1)
    return data.batch(batch_size).map(parse, num_parallel_calls=2).prefetch(2)


def _bytes(feature):
    return int(np.prod(feature.shape)) * np.dtype(feature.np_dtype).itemsize
