"""The data set `lensing_sbi`: tomographic convergence maps as a survey sees them, and the cosmology behind each."""

import dataclasses
import functools
import warnings

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.utils.lazy_imports_utils import tensorflow as tf

__all__ = ["Builder", "LensingSBIConfig"]

BATCH = 16  # universes that are simulated together; a batch has a seed of its own
SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(kw_only=True)
class LensingSBIConfig(tfds.core.BuilderConfig):
    """Which survey, and how much of it.

    Attributes:
        survey: "lsst_y10" or "lsst_y10_small", a function of `deepcosmo.physics.lensing_survey`.
        train, validation, test: number of maps; multiples of 16.
        near: whether every second universe for training and validation is drawn from `LensingSurvey.near`, not from the
            prior; `LensingSurvey.log_weight` makes up for it.
        first: place of the first training universe; configurations of a survey share those of the same place.
        scores: whether joint scores are simulated, too. Maps then come with one realisation of the noise.
        statistics: for how many realisations of the noise to measure `nn.FieldStatistics`, which take the place of the
            maps; 0 for maps.
        shifts: "table" or "sbi_lens", as of `LensingSurvey`.
    """

    survey: str = "lsst_y10"
    train: int = 20_000
    validation: int = 1024
    test: int = 2048
    near: bool = False
    first: int = 0
    scores: bool = False
    statistics: int = 0
    shifts: str = "table"

    def __post_init__(self):
        if self.survey not in ("lsst_y10", "lsst_y10_small"):
            raise ValueError(f"survey must be lsst_y10 or lsst_y10_small; got {self.survey!r}")
        for split in SPLITS:
            if getattr(self, split) % BATCH or getattr(self, split) <= 0:
                raise ValueError(f"{split} must be a multiple of {BATCH}; got {getattr(self, split)}")
        if self.first % BATCH or self.first < 0:
            raise ValueError(f"first must be a multiple of {BATCH}; got {self.first}")
        if self.statistics < 0 or (self.scores and self.statistics):
            raise ValueError(f"statistics must be a number of realisations, and 0 with scores; got {self.statistics}")


class Builder(tfds.core.GeneratorBasedBuilder):
    """Maps and parameters that are drawn from the prior, each map with parameters of its own.

    `info.features` are those on disk. `tfds.load` and `as_dataset` yield besides the `map`, which is `kappa` with
    noise: another in each pass for training examples, always the same for others. Configurations with scores have
    their `map` on disk, and no `kappa`; those of statistics have `statistics` alone.

    Args:
        seed: of the noise of training examples.
        **kwargs: those of `tfds.core.DatasetBuilder`.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    BUILDER_CONFIGS = [
        LensingSBIConfig(name="lsst_y10", description="256 x 256 pixels in five bins, six parameters."),
        LensingSBIConfig(
            name="lsst_y10_small",
            survey="lsst_y10_small",
            train=60_000,
            version=tfds.core.Version("1.1.0"),
            release_notes={"1.1.0": "Three times the universes."},
            description="64 x 64 pixels, two parameters.",
        ),
        LensingSBIConfig(
            name="lsst_y10_small_more",
            survey="lsst_y10_small",
            train=120_000,
            first=80_000,
            description="As lsst_y10_small, with other training universes.",
        ),
        LensingSBIConfig(
            name="lsst_y10_near",
            near=True,
            train=40_000,
            first=40_000,
            description="As lsst_y10, every second training universe like ours.",
        ),
        LensingSBIConfig(
            name="lsst_y10_statistics",
            statistics=2,
            first=20_000,
            version=tfds.core.Version("1.1.0"),
            release_notes={"1.1.0": "The second half of them."},
            description="Statistics of maps of universes that lsst_y10 has not.",
        ),
        LensingSBIConfig(
            name="lsst_y10_small_statistics",
            survey="lsst_y10_small",
            statistics=2,
            first=60_000,
            version=tfds.core.Version("1.2.0"),
            release_notes={"1.2.0": "Other universes."},
            description="Statistics of maps of universes that lsst_y10_small has not.",
        ),
        LensingSBIConfig(
            name="lsst_y10_scores",
            scores=True,
            train=4096,
            validation=512,
            test=512,
            description="As lsst_y10, with joint scores.",
        ),
        LensingSBIConfig(
            name="lsst_y10_small_scores",
            survey="lsst_y10_small",
            scores=True,
            description="As lsst_y10_small, with joint scores.",
        ),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "lsst_y10_small"

    def __init__(self, *, seed=0, **kwargs):
        self._seed, self._beam = seed, False
        super().__init__(**kwargs)
        self._original_state.update(seed=seed)  # what an unpickled builder is made from

    @functools.cached_property
    def survey(self):
        """The `LensingSurvey` that is simulated."""
        return _survey(self.builder_config.survey, self.builder_config.shifts)

    def _info(self):
        def maps(dtype):
            encoding = tfds.features.Encoding.BYTES
            return tfds.features.Tensor(shape=self.survey.shape, dtype=dtype, encoding=encoding)

        parameters = tfds.features.Tensor(shape=(len(self.survey.parameters),), dtype=np.float32)
        features = {"theta": parameters, "number": np.int64}
        if self.builder_config.scores:
            features |= {"map": maps(np.float32), "score": parameters}
        elif self.builder_config.statistics:
            shape = (self.builder_config.statistics, _statistics(self.survey).dim)
            features["statistics"] = tfds.features.Tensor(
                shape=shape, dtype=np.float32, encoding=tfds.features.Encoding.BYTES
            )
        else:
            features["kappa"] = maps(np.float16)
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _generate_splits(self, dl_manager, download_config):
        self._beam = bool(download_config.beam_runner or download_config.beam_options)
        return super()._generate_splits(dl_manager, download_config)

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split):
        config = self.builder_config
        first = config.first // BATCH if split == "train" else 0
        batches = [(split, first + i) for i in range(getattr(config, split) // BATCH)]
        if self._beam:
            beam = tfds.core.lazy_imports.apache_beam
            return beam.Create(batches) | beam.Reshuffle() | beam.FlatMap(_examples, config=config)
        return (example for batch in batches for example in _examples(batch, config))

    def _as_dataset(self, split, decoders=None, read_config=None, shuffle_files=False):
        stored = super()._as_dataset(split, decoders, read_config, shuffle_files)
        spec = stored.element_spec
        if "kappa" not in spec or "number" not in spec or spec["kappa"].dtype == tf.string:
            return stored
        passes = tf.data.Dataset.random(self._seed, rerandomize_each_iteration=True)
        return tf.data.Dataset.zip(stored, passes).map(self._observed, num_parallel_calls=tf.data.AUTOTUNE)

    def _observed(self, stored, random):
        """An example as it is yielded: training examples look different each time, others always the same."""
        number = tf.cast(stored["number"], tf.int32)
        training = number % len(SPLITS) == SPLITS.index("train")
        seed = tf.random.fold_in(tf.stack([number, 0]), tf.where(training, random, -1))
        return {**stored, "map": self.survey.observe(tf.cast(stored["kappa"], tf.float32), seed)}

    def _should_cache_ds(self, split, shuffle_files, read_config):
        return False  # the noise would be cached, too


@functools.cache
def _survey(name, shifts):
    from deepcosmo.physics import lensing_survey

    return getattr(lensing_survey, name)(shifts=shifts)


@functools.cache
def _statistics(survey):
    from deepcosmo.models.maps.field_statistics import FieldStatistics

    return FieldStatistics.of(survey)


@functools.cache
def _simulator(name, shifts, near, scores, statistics):
    """Compiled: seed int32[2] -> dict of a batch."""
    survey = _survey(name, shifts)
    prior, other = survey.prior(), survey.near()
    second = np.arange(BATCH)[:, None] % 2 == 1
    # XLA makes these twice as fast, and random numbers forty times as slow
    convergence = tf.function(survey.convergence, autograph=False, jit_compile=True)
    measured = tf.function(_statistics(survey).__call__, autograph=False, jit_compile=True) if statistics else None

    @tf.function(autograph=False)
    def simulate(seed):
        to_theta, to_map = tf.unstack(tf.random.split(seed, 2))
        theta = prior.sample(BATCH, seed=to_theta)
        if near:
            theta = tf.where(second, other.sample(BATCH, seed=to_theta), theta)
        if scores:
            maps, score = survey.score(theta, to_map)
            return {"theta": theta, "map": maps, "score": score}
        kappa = convergence(theta, survey.latent(BATCH, to_map))
        if statistics:
            noises = tf.unstack(tf.random.split(tf.random.fold_in(to_map, 1), statistics))
            found = [measured(survey.observe(kappa, noise)) for noise in noises]
            return {"theta": theta, "statistics": tf.stack(found, 1)}
        return {"theta": theta, "kappa": tf.cast(kappa, tf.float16)}

    return simulate


def _examples(batch, config):
    """Examples of one batch: (key, features). Universes that no maps can be made of are left out, and told of."""
    split, i = batch
    near = config.near and split != "test"
    simulate = _simulator(config.survey, config.shifts, near, config.scores, config.statistics)
    arrays = simulate(tf.constant([SPLITS.index(split), i]))
    arrays = {name: value.numpy() for name, value in arrays.items()}
    good = np.all([np.isfinite(v).reshape(BATCH, -1).all(1) for v in arrays.values()], 0)
    if not good.all():
        bad = arrays["theta"][~good].tolist()
        warnings.warn(
            f"{split}: {len(bad)} of the {BATCH} universes from number {BATCH * i} on have maps with NaN or "
            f"infinite values, and are left out: {bad}",
            stacklevel=1,
        )
    for j in np.flatnonzero(good):
        place = BATCH * i + int(j)
        example = {name: value[j] for name, value in arrays.items()}
        yield f"{place:07d}", {**example, "number": len(SPLITS) * place + SPLITS.index(split)}
