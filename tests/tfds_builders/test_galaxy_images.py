"""The data set `galaxy_images`, from folders of made-up images."""

import dummy_images
import numpy as np
import pytest
import tensorflow_datasets as tfds
from astropy.io import fits
from astropy.table import Table
from made_up import MadeUp

import tfds_builders
from tfds_builders import GalaxyImagesConfig
from tfds_builders.galaxy_images import folder


class GalaxyImagesTest(MadeUp, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = tfds_builders.GalaxyImages
    BUILDER_CONFIG_NAMES_TO_TEST = ["manual"]
    SPLITS = {"train": 17, "test": 2}
    write = staticmethod(dummy_images.write)


@pytest.fixture
def images(tmp_path):
    dummy_images.write(tmp_path / "images")
    return tmp_path / "images"


def build(images, data_dir):
    builder = tfds.builder(
        "galaxy_images", config=GalaxyImagesConfig(name="mine", images=str(images)), data_dir=data_dir
    )
    builder.download_and_prepare()
    return builder


def test_images_of_a_folder(images, tmp_path):
    builder = build(images, tmp_path / "data")
    found, splits = {}, {}
    for split in builder.info.splits:
        for example in tfds.as_numpy(builder.as_dataset(split=split)):
            galaxy, band = example["galaxy"].decode(), example["band"].decode()
            found[galaxy, band] = example
            splits.setdefault(galaxy, set()).add(split)
    assert len(found) == 19 and builder.info.metadata["dropped"] == {"no pixel with data": 2}  # both bands of g3
    assert all(split == {folder.split_of(galaxy)} for galaxy, split in splits.items())
    one = found["g0", "F606W"]
    assert one["image"].shape == (40, 40) and one["mask"].all() and one["redshift"] == np.float32(0.7)
    np.testing.assert_allclose([one["pixel_scale"], one["zero_point"]], [0.06, 26.49], rtol=1e-6)
    np.testing.assert_allclose(one["psf"], dummy_images.gaussian(21, 1.5) / dummy_images.gaussian(21, 1.5).sum(), 1e-5)
    # the median of 800 absolute differences errs by 4%, and those share pixels
    assert abs(one["noise_std"] / dummy_images.NOISE - 1) < 0.2
    with_infinity, cut = found["g2", "F606W"], found["g2", "F814W"]
    assert not with_infinity["mask"][:5].any() and with_infinity["mask"][5:].all()
    assert np.all(with_infinity["image"][:5] == 0)
    assert not cut["mask"][:, :10].any() and cut["mask"][:, 10:].all() and np.all(cut["image"][:, :10] == 0)
    assert np.isnan(found["g5", "F814W"]["redshift"])
    other = found["g0", "F115W"]
    assert other["image"].shape == (30, 30) and other["psf"].shape == (0, 0) and other["noise_std"] == 0.5
    assert np.isnan(other["zero_point"])


def test_batches_are_padded(images, tmp_path):
    dataset = build(images, tmp_path / "data").as_dataset(split="train").filter(lambda e: e["galaxy"] == "g0")
    batch = next(iter(dataset.padded_batch(3)))
    assert batch["image"].shape == (3, 40, 40)
    small = int(np.flatnonzero(batch["band"].numpy() == b"F115W")[0])
    assert batch["mask"][small].numpy().sum() == 900


def test_galaxies_are_spread_over_the_splits():
    splits, counts = np.unique([folder.split_of(f"galaxy {i}") for i in range(4000)], return_counts=True)
    shares = dict(zip(splits, counts / 4000, strict=True))
    for name, share in {"train": 0.8, "validation": 0.1, "test": 0.1}.items():
        assert abs(shares[name] - share) < 4 * np.sqrt(share * (1 - share) / 4000)


def test_what_cannot_be_read_is_an_error(images):
    with pytest.raises(FileNotFoundError, match="no images.ecsv in .* or below it"):
        folder.read_tables(images / "first" / "away")
    table = Table.read(images / "second" / "images.ecsv")
    for change, match in (
        ({"pixel_scale": [-0.03]}, "row 1: pixel_scale must be positive; got -0.03"),
        ({"noise_std": [0.0]}, "row 1: noise_std must be positive; got 0.0"),
        ({"band": [""]}, "row 1: galaxy, file and band must not be empty"),
    ):
        changed = table.copy()
        for name, value in change.items():
            changed[name] = value
        changed.write(images / "second" / "images.ecsv", overwrite=True)
        with pytest.raises(ValueError, match=match):
            folder.read_tables(images)
    table.remove_column("pixel_scale")
    table.write(images / "second" / "images.ecsv", overwrite=True)
    with pytest.raises(ValueError, match="has no column pixel_scale; it has galaxy, file"):
        folder.read_tables(images)
    (images / "second" / "images.ecsv").write_text("galaxy file\n")
    with pytest.raises(ValueError, match="is no ECSV table"):
        folder.read_tables(images)


@pytest.mark.parametrize(
    "change, match",
    [
        ({"hdu": 3}, "has no HDU 3, only 2"),
        ({"plane": 2}, "has no plane 2, only 2"),
        ({"mask": "small.fits", "mask_hdu": 0}, r"the mask has the shape \(3, 3\), the image \(40, 40\)"),
        ({"file": "row.fits", "mask": ""}, r"must be an image or a cube; its shape is \(9,\)"),
        ({"file": "away.fits"}, "away.fits"),
    ],
)
def test_images_that_do_not_fit(images, change, match):
    fits.PrimaryHDU(np.ones((3, 3))).writeto(images / "first" / "small.fits")
    fits.PrimaryHDU(np.ones(9)).writeto(images / "first" / "row.fits")
    table = folder.read_tables(images / "first")[0]
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        folder.read_image(table.folder, table.rows[0] | change)


def test_psfs_without_light_leave_the_image_out(images):
    fits.PrimaryHDU(np.zeros((9, 9))).writeto(images / "first" / "dark.fits")
    table = folder.read_tables(images / "first")[0]
    found = folder.read_image(table.folder, table.rows[0] | {"psf": "dark.fits"})
    assert found == (None, "PSF not finite, or without light")
