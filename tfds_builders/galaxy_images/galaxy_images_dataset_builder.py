"""The data set `galaxy_images`: images of real galaxies by any telescope, from folders that users fill."""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from tfds_builders.galaxy_images import folder
from tfds_builders.splits import SPLITS

__all__ = ["Builder", "GalaxyImagesConfig"]


@dataclasses.dataclass(kw_only=True)
class GalaxyImagesConfig(tfds.core.BuilderConfig):
    """Which images.

    Attributes:
        images: folder with tables `images.ecsv` in it or below it; by default TFDS's folder for manual downloads.
    """

    images: str | None = None


class Builder(tfds.core.GeneratorBasedBuilder):
    """Galaxy images of any size with mask, PSF, noise level, pixel scale, band, and redshift where it is known."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"Put FITS images and a table {folder.TABLE} that lists them into this folder, or into folders below it: see "
        "the README of the data set."
    )
    BUILDER_CONFIGS = [GalaxyImagesConfig(name="manual", description="Images in the folder for manual downloads.")]

    def _info(self):
        def plane(dtype):
            encoding = tfds.features.Encoding.BYTES
            return tfds.features.Tensor(shape=(None, None), dtype=dtype, encoding=encoding)

        features = {
            "image": plane(np.float32),
            "mask": plane(np.bool_),
            "psf": plane(np.float32),
            "galaxy": tfds.features.Text(),
            "band": tfds.features.Text(),
            **{name: np.float32 for name in ("noise_std", "pixel_scale", "zero_point", "redshift")},
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), metadata=tfds.core.MetadataDict(dropped={})
        )

    def _split_generators(self, dl_manager):
        tables = folder.read_tables(self.builder_config.images or dl_manager.manual_dir)
        images = {name: [] for name, _ in SPLITS}
        for table in tables:
            for row in table.rows:
                images[folder.split_of(row["galaxy"])].append((table, row))
        return {name: self._generate_examples(rows) for name, rows in images.items() if rows}

    def _generate_examples(self, images):
        dropped = self.info.metadata.setdefault("dropped", {})
        for table, row in images:
            example, reason = folder.read_image(table.folder, row)
            if example is None:
                dropped[reason] = dropped.get(reason, 0) + 1
                logging.warning("galaxy_images leaves out %s in %s: %s", row["galaxy"], row["band"], reason)
                continue
            yield "/".join(map(str, (table.name, row["file"], row["hdu"], row["plane"]))), example
