"""The data set `lensing_pairs`: shear as surveys see it, and the convergence behind it."""

import dataclasses
import functools
import os

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.utils.lazy_imports_utils import tensorflow as tf

from deepcosmo import physics
from deepcosmo.physics.catalog import PIXEL_SCALE
from tfds_builders.kappa_maps.kappa_maps_dataset_builder import Builder as KappaMaps, KappaMapsConfig
from tfds_builders.kappa_maps.simulations import PERIOD, SPLITS
from tfds_builders.lensing_pairs import survey

__all__ = ["Builder", "LensingPairsConfig"]


@dataclasses.dataclass(kw_only=True)
class LensingPairsConfig(tfds.core.BuilderConfig):
    """Who observes what.

    Attributes:
        survey: "cosmos_hst", "lsst_y10" or "hsc".
        maps: configuration of `kappa_maps`, or its name.
        size: pixels on a side: the middle of each map.
    """

    survey: str
    maps: str | KappaMapsConfig = "lightcone"
    size: int = 360

    def __post_init__(self):
        if self.survey not in survey.SURVEYS:
            raise ValueError(f"survey must be one of {', '.join(survey.SURVEYS)}; got {self.survey!r}")
        if not self.size > 0:
            raise ValueError(f"size must be positive; got {self.size}")


class Builder(tfds.core.GeneratorBasedBuilder):
    """Pairs of noisy, masked shear and convergence; galaxies, holes and noise are drawn while reading.

    `info.features` are those on disk: `kappa`, the `shear` without noise, `simulation` and `map`. `tfds.load` and
    `as_dataset` yield the observed `shear` in its place, and `mask` and `noise_std` besides.

    Args:
        catalog: shear catalogue of the real COSMOS field, as of `survey.cosmos_noise_std`, whose mask and noise
            `cosmos_hst` then has; by default what the environment variable DEEPCOSMO_COSMOS_SHEAR names, if anything.
        seed: of the noise of training examples, which is another in each pass.
        **kwargs: those of `tfds.core.DatasetBuilder`.

    Raises:
        ValueError: a catalogue for another survey than `cosmos_hst`.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = KappaMaps.MANUAL_DOWNLOAD_INSTRUCTIONS
    BUILDER_CONFIGS = [
        LensingPairsConfig(name="cosmos_hst", survey="cosmos_hst", description="The COSMOS field, seen by HST."),
        LensingPairsConfig(name="lsst_y10", survey="lsst_y10", description="A field of LSST after ten years."),
        LensingPairsConfig(name="hsc", survey="hsc", description="A field of Hyper Suprime-Cam's wide survey."),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "cosmos_hst"

    def __init__(self, *, catalog=None, seed=0, **kwargs):
        super().__init__(**kwargs)
        if catalog is not None and self.builder_config.survey != "cosmos_hst":
            raise ValueError(f"catalog is for the survey cosmos_hst alone; this is {self.builder_config.survey}")
        self._catalog, self._seed = catalog, seed
        self._original_state.update(catalog=catalog, seed=seed)  # what an unpickled builder is made from

    def _info(self):
        size = self.builder_config.size

        def image(*shape):
            return tfds.features.Tensor(shape=shape, dtype=np.float32, encoding=tfds.features.Encoding.BYTES)

        features = {"kappa": image(size, size), "shear": image(size, size, 2), "simulation": np.int64, "map": np.int64}
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _generate_splits(self, dl_manager, download_config):
        self._maps = KappaMaps(config=self.builder_config.maps, data_dir=self.data_dir_root)
        config = self._maps.builder_config
        if config.size < self.builder_config.size or not np.isclose(config.pixel_scale, PIXEL_SCALE):
            raise ValueError(
                f"maps must have at least {self.builder_config.size} pixels on a side, of {PIXEL_SCALE:.5f} "
                f"arcmin; those of kappa_maps/{config.name} have {config.size} of {config.pixel_scale:.5f}"
            )
        # whole, even if only a few pairs are wanted
        how = {name: getattr(download_config, name) for name in ("manual_dir", "beam_runner", "beam_options")}
        self._maps.download_and_prepare(download_config=tfds.download.DownloadConfig(**how))
        return super()._generate_splits(dl_manager, download_config)

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self._maps.info.splits}

    def _generate_examples(self, split):
        size, whole = self.builder_config.size, self._maps.builder_config.size
        middle = slice((whole - size) // 2, (whole + size) // 2)
        for example in tfds.as_numpy(self._maps.as_dataset(split=split)):
            kappa, number = example["kappa"], {name: int(example[name]) for name in ("simulation", "map")}
            # of the whole map: what is outside shears, too
            shear = physics.lensing.kappa_to_shear(kappa).numpy()[middle, middle]
            yield (
                "{simulation:05d}_{map:04d}".format(**number),
                {"kappa": kappa[middle, middle], "shear": shear, **number},
            )

    @functools.cached_property
    def _survey(self):
        """What `survey.observe` takes: a `Survey`, or the noise of the real field."""
        name = self.builder_config.survey
        catalog = self._catalog or (os.environ.get("DEEPCOSMO_COSMOS_SHEAR") if name == "cosmos_hst" else None)
        return survey.cosmos_noise_std(catalog, self.builder_config.size) if catalog else survey.SURVEYS[name]

    def _as_dataset(self, split, decoders=None, read_config=None, shuffle_files=False):
        stored = super()._as_dataset(split, decoders, read_config, shuffle_files)
        for name in ("shear", "simulation", "map"):
            if name not in stored.element_spec or stored.element_spec[name].dtype == tf.string:
                raise ValueError(f"decoders must decode shear, simulation and map; they leave out {name}")
        passes = tf.data.Dataset.random(self._seed, rerandomize_each_iteration=True)
        return tf.data.Dataset.zip(stored, passes).map(self._observed, num_parallel_calls=tf.data.AUTOTUNE)

    def _observed(self, stored, random):
        """An example as it is yielded: training examples look different each time, others always the same."""
        training = tf.reduce_any(stored["simulation"] % PERIOD == SPLITS["train"])
        seed = tf.cast(tf.stack([stored["simulation"], stored["map"]]), tf.int32)
        seed = tf.random.fold_in(seed, tf.where(training, random, -1))
        return {**stored, **survey.observe(stored["shear"], self._survey, seed)}

    def _should_cache_ds(self, split, shuffle_files, read_config):
        return False  # the noise would be cached, too
