"""The data set `kappa_maps`: convergence maps of weak lensing, simulated here or by kappaTNG."""

import dataclasses
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from deepcosmo.physics.catalog import PIXEL_SCALE
from tfds_builders.kappa_maps import kappatng, simulations

__all__ = ["Builder", "KappaMapsConfig"]

SOURCES = ("lognormal", "lightcone", "kappatng")


@dataclasses.dataclass(kw_only=True)
class KappaMapsConfig(tfds.core.BuilderConfig):
    """What is simulated.

    Attributes:
        source: "lognormal", "lightcone" or "kappatng".
        simulations: number of simulations, each in its own universe and in one split; of kappaTNG, all there are.
        maps: maps of each simulation; of kappaTNG, every run is one.
        size: pixels on a side.
        pixel_scale: arcmin; that of kappaTNG is fixed.
        particles: of a light-cone's simulation, per side.
    """

    source: str
    simulations: int = 32
    maps: int = 32
    size: int = 512
    pixel_scale: float = PIXEL_SCALE
    particles: int = 128

    def __post_init__(self):
        if self.source not in SOURCES:
            raise ValueError(f"source must be one of {', '.join(SOURCES)}; got {self.source!r}")
        for name in ("simulations", "maps", "size", "particles", "pixel_scale"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive; got {getattr(self, name)}")


class Builder(tfds.core.GeneratorBasedBuilder):
    """Convergence maps with their cosmology and source distribution.

    Args:
        simulations: folder in which light-cone builds keep what they have simulated, so that one that was stopped goes
            on from there; by default `kappa_maps/simulations` in the data directory.
        **kwargs: those of `tfds.core.DatasetBuilder`.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "`kappatng` needs the convergence maps of kappaTNG (Osato, Liu & Haiman 2021), one HDF5 file per run with the "
        "data sets z00/kappa to z39/kappa, anywhere below this folder."
    )
    BUILDER_CONFIGS = [
        KappaMapsConfig(
            name="lightcone_small",
            source="lightcone",
            simulations=8,
            maps=8,
            size=128,
            particles=64,
            description="Light-cones through small simulations: ready in minutes.",
        ),
        KappaMapsConfig(name="lightcone", source="lightcone", description="Light-cones through N-body simulations."),
        KappaMapsConfig(
            name="lognormal",
            source="lognormal",
            simulations=160,
            maps=8,
            description="Log-normal maps with halofit's spectra.",
        ),
        KappaMapsConfig(name="kappatng", source="kappatng", size=1024, description="Maps of kappaTNG, with baryons."),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "lightcone_small"

    def __init__(self, *, simulations=None, **kwargs):
        self._folder, self._beam = simulations, False
        super().__init__(**kwargs)

    def _info(self):
        size, (z, _) = self.builder_config.size, simulations.n_z()
        features = {
            "kappa": tfds.features.Tensor(shape=(size, size), dtype=np.float32, encoding=tfds.features.Encoding.BYTES),
            "cosmology": {name: np.float32 for name in simulations.Cosmology._fields},
            "z": tfds.features.Tensor(shape=z.shape, dtype=np.float32),
            "n_z": tfds.features.Tensor(shape=z.shape, dtype=np.float32),
            "pixel_scale": np.float32,
            "simulation": np.int64,
            "map": np.int64,
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), homepage="https://github.com/0satoken/kappaTNG"
        )

    def _generate_splits(self, dl_manager, download_config):
        self._beam = bool(download_config.beam_runner or download_config.beam_options)
        return super()._generate_splits(dl_manager, download_config)

    def _split_generators(self, dl_manager):
        config = self.builder_config
        if config.source == "kappatng":
            tasks = kappatng.runs(dl_manager.manual_dir)
        else:
            tasks = list(range(config.simulations))
        folder = str(self._folder or Path(self.data_dir_root, "kappa_maps", "simulations"))
        split = [simulations.split_of(i) for i in range(len(tasks))]
        return {
            name: self._generate_examples([(i, task) for i, task in enumerate(tasks) if split[i] == name], folder)
            for name in simulations.SPLITS
            if name in split
        }

    def _generate_examples(self, tasks, folder):
        config = self.builder_config
        if self._beam:
            beam = tfds.core.lazy_imports.apache_beam
            return beam.Create(tasks) | beam.Reshuffle() | beam.FlatMap(_examples, config=config, folder=folder)
        return (example for task in tasks for example in _examples(task, config, folder))


def _examples(task, config, folder):
    """Examples of one simulation: (key, features)."""
    number, task = task
    z, n = simulations.n_z()
    if config.source == "kappatng":
        cosmology, maps = kappatng.COSMOLOGY, [kappatng.read(task, z, n, config.size)]
    elif config.source == "lognormal":
        cosmology, maps = simulations.universe(number), simulations.lognormal_maps(number, config)
    else:
        cosmology, maps = simulations.universe(number), simulations.lightcone_maps(number, config, folder)
    for i, kappa in enumerate(maps):
        yield (
            f"{number:05d}_{i:04d}",
            {
                "kappa": kappa,
                "cosmology": {name: np.float32(v) for name, v in cosmology._asdict().items()},
                "z": z.astype(np.float32),
                "n_z": n.astype(np.float32),
                "pixel_scale": np.float32(config.pixel_scale),
                "simulation": number,
                "map": i,
            },
        )
