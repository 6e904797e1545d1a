"""The data set `cosmos_stamps`: HST/ACS galaxy stamps, simulated and real."""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from deepcosmo._parallel import ordered_map
from tfds_builders.cosmos_stamps import catalog, generation, psfs, real
from tfds_builders.cosmos_stamps.rendering import PSF_STAMP, STAMP
from tfds_builders.splits import SPLITS

__all__ = ["Builder", "CosmosStampsConfig"]

NOISE_STD = 9.986853290349141e-06**0.5  # counts/s per pixel: `galsim.getCOSMOSNoise().getVariance()`


@dataclasses.dataclass(kw_only=True)
class CosmosStampsConfig(tfds.core.BuilderConfig):
    """What is drawn.

    Attributes:
        source: "parametric", "real" or "simulated".
        flux: total flux of a rendering: "mag_auto" (that of its magnitude) or "fit" (that of the fit).
        noise_std: standard deviation of the pixel noise in renderings, counts/s.
        noise: noise of real stamps: "kept" or "whitened".
        size: number of galaxies drawn for "simulated".
    """

    source: str
    flux: str = "mag_auto"
    noise_std: float = NOISE_STD
    noise: str = "kept"
    size: int = 20_000

    def __post_init__(self):
        choices = {"source": ("parametric", "real", "simulated"), "flux": ("mag_auto", "fit")}
        for name, accepted in (choices | {"noise": ("kept", "whitened")}).items():
            if getattr(self, name) not in accepted:
                raise ValueError(f"{name} must be one of {', '.join(accepted)}; got {getattr(self, name)!r}")
        if not self.noise_std >= 0:
            raise ValueError(f"noise_std must not be negative; got {self.noise_std}")


class Builder(tfds.core.GeneratorBasedBuilder):
    """Galaxy stamps of 128 x 128 px at 0.03"/px with their PSF, noise level and properties.

    Args:
        catalog: file or folder of the COSMOS catalogue; searched for by default.
        psf: FITS file with one PSF image per HDU; by default see `psfs.psf_library`.
        processes: rendering processes; all cores by default.
        **kwargs: those of `tfds.core.DatasetBuilder`.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "`parametric` and `real` need the COSMOS sample of GalSim: run `galsim_download_cosmos`, or put "
        "real_galaxy_catalog_25.2_fits.fits (and, for `real`, the release's images) into this folder."
    )
    BUILDER_CONFIGS = [
        CosmosStampsConfig(name="simulated", source="simulated", description="Drawn from a catalogue model."),
        CosmosStampsConfig(name="parametric", source="parametric", description="Fits to real galaxies."),
        CosmosStampsConfig(name="real", source="real", description="Real COSMOS galaxies."),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "simulated"

    def __init__(self, *, catalog=None, psf=None, processes=None, **kwargs):
        self._catalog, self._psf, self._processes = catalog, psf, processes
        self._beam = False
        super().__init__(**kwargs)

    def _info(self):
        def image(size):
            encoding = tfds.features.Encoding.BYTES
            return tfds.features.Tensor(shape=(size, size), dtype=np.float32, encoding=encoding)

        features = {"image": image(STAMP), "psf": image(PSF_STAMP), "noise_std": np.float32}
        if self.builder_config.source != "real":
            features["clean"] = image(STAMP)
        kinds = {"i": np.int64, "b": np.bool_, "f": np.float32}
        names = generation.COLUMNS.names
        features["attrs"] = {name: kinds[generation.COLUMNS[name].kind] for name in names}
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features),
            homepage="https://github.com/GalSim-developers/GalSim",
            metadata=tfds.core.MetadataDict(dropped={}),
        )

    def _generate_splits(self, dl_manager, download_config):
        self._beam = bool(download_config.beam_runner or download_config.beam_options)
        return super()._generate_splits(dl_manager, download_config)

    def _split_generators(self, dl_manager):
        config = self.builder_config
        try:
            manual = dl_manager.manual_dir
        except AssertionError:  # there is none: the catalogue may be elsewhere
            manual = None
        if config.source == "real":
            function = real.cut_stamps
            file, rows, galaxies, dropped = real.read_release(self._catalog, manual)
        else:
            function = generation.render_chunk
            if config.source == "parametric":
                galaxies, dropped = catalog.read_catalog(self._catalog, manual)
            else:
                galaxies, dropped = generation.simulated_catalog(config.size)
            library = psfs.psf_library(self._psf, self._catalog, manual)
        self._count(dropped)

        def chunks(chosen):
            if config.source == "real":
                whitened = config.noise == "whitened"
                return real.real_chunks(file, rows[chosen], galaxies[chosen], whitened=whitened)
            return generation.chunks(galaxies[chosen], library, flux=config.flux, noise_std=config.noise_std)

        split = catalog.split_of(galaxies["ident"])
        names = [name for name, _ in SPLITS if np.any(split == name)]
        return {name: self._generate_examples(function, chunks(split == name)) for name in names}

    def _generate_examples(self, function, chunks):
        if self._beam:
            beam = tfds.core.lazy_imports.apache_beam
            return beam.Create(chunks) | beam.FlatMap(lambda chunk: function(chunk).examples)
        return self._in_processes(function, chunks)

    def _in_processes(self, function, chunks):
        for batch in ordered_map(function, chunks, self._processes):
            self._count(batch.dropped)
            yield from batch.examples

    def _count(self, dropped):
        """Adds to `info.metadata["dropped"]`: reason -> number of galaxies left out."""
        counts = self.info.metadata.setdefault("dropped", {})
        for reason, number in dropped.items():
            counts[reason] = counts.get(reason, 0) + number
            if number:
                logging.warning("cosmos_stamps leaves out %d galaxies: %s", number, reason)
