"""The data set `cosmos_stamps`: HST/ACS galaxy stamps, simulated and real."""

import dataclasses
import os

import numpy as np
import tensorflow_datasets as tfds

from tfds_builders.cosmos_stamps import catalog, generation, psfs
from tfds_builders.cosmos_stamps.parallel import ordered_map
from tfds_builders.cosmos_stamps.rendering import PSF_STAMP, STAMP

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
        CosmosStampsConfig(name="simulated", source="simulated", description="Drawn from maf_cosmos_catalog."),
        CosmosStampsConfig(name="parametric", source="parametric", description="Fits to real COSMOS galaxies."),
        CosmosStampsConfig(name="real", source="real", description="Real COSMOS galaxies."),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "simulated"

    def __init__(self, *, catalog=None, psf=None, processes=None, **kwargs):
        self._catalog, self._psf = catalog, psf
        self._processes = processes or os.cpu_count() or 1
        super().__init__(**kwargs)

    def _info(self):
        def image(size):
            return tfds.features.Tensor(shape=(size, size), dtype=np.float32, encoding=tfds.features.Encoding.BYTES)

        features = {"image": image(STAMP), "psf": image(PSF_STAMP), "noise_std": np.float32}
        if self.builder_config.source != "real":
            features["clean"] = image(STAMP)
        kinds = {"i": np.int64, "b": np.bool_, "f": np.float32}
        names = generation.COLUMNS.names
        features["attrs"] = {name: kinds[generation.COLUMNS[name].kind] for name in names}
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), homepage="https://github.com/GalSim-developers/GalSim"
        )

    def _split_generators(self, dl_manager, pipeline=None):
        config = self.builder_config
        manual = dl_manager._manual_dir
        galaxies, dropped = catalog.read_catalog(self._catalog, manual)
        library = psfs.psf_library(self._psf, self._catalog, manual)
        options = {"flux": config.flux, "noise_std": config.noise_std}
        split = catalog.split_of(galaxies["ident"])
        return {
            name: self._generate_examples(generation.chunks(galaxies[split == name], library, **options))
            for name, _ in catalog.SPLITS
        }

    def _generate_examples(self, chunks):
        for examples in ordered_map(generation.render_chunk, chunks, self._processes):
            yield from examples
