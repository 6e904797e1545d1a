"""Fast reading gives what TFDS gives."""

import dummy_release
import numpy as np
import pytest
import tensorflow_datasets as tfds

import tfds_builders  # noqa: F401
from tfds_builders.cosmos_stamps.reading import batches


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reading")
    dummy_release.write(folder)
    builder = tfds.builder("cosmos_stamps/parametric", data_dir=folder, catalog=folder, processes=1)
    builder.download_and_prepare()
    return builder


NAMES = ("image", "clean", "psf", "noise_std", "attrs/ident", "attrs/use_bulge", "attrs/mag_auto")


def value(example, name):
    for part in name.split("/"):
        example = example[part]
    return example


@pytest.mark.parametrize("split", ["train", "validation", "train[1:3]", "train+test"])
def test_same_as_tfds(builder, split):
    expected = list(tfds.as_numpy(builder.as_dataset(split=split)))
    found = list(batches(builder, split, 3, features=NAMES).as_numpy_iterator())
    assert len(found) == -(-len(expected) // 3)
    order = {int(ident): (b, i) for b, batch in enumerate(found) for i, ident in enumerate(batch["attrs/ident"])}
    assert len(order) == len(expected)
    for example in expected:
        b, i = order[int(example["attrs"]["ident"])]
        for name in NAMES:
            read = found[b][name][i]
            assert read.dtype == np.asarray(value(example, name)).dtype, name
            np.testing.assert_array_equal(read, value(example, name), err_msg=name)


def test_shuffling(builder):
    def order(seed):
        data = batches(builder, "train", 4, features=["attrs/ident"], seed=seed)
        return [tuple(batch["attrs/ident"]) for _ in range(3) for batch in data.as_numpy_iterator()]

    assert order(1) == order(1)
    assert any(order(seed) != order(None) for seed in range(4))


def test_unknown_feature(builder):
    with pytest.raises(ValueError, match="no features .'attrs/redshift'"):
        batches(builder, "train", 4, features=["attrs/redshift"])
