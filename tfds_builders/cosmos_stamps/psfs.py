"""Point spread functions of HST/ACS F814W: measured ones where they are at hand."""

from pathlib import Path

import numpy as np

from tfds_builders.cosmos_stamps.catalog import catalog_files, search_dirs
from tfds_builders.cosmos_stamps.rendering import psf_stamp

__all__ = ["LIBRARY", "psf_library"]

LIBRARY = 256  # PSFs at most


def psf_library(path=None, catalog=None, manual_dir=None):
    """PSF stamps for a build, float32 (n, 64, 64), unit sum, peak at [32, 32]; n <= 256.

    They come from the first of
    1. `path`: a FITS file with one PSF image per HDU;
    2. the PSFs of the real galaxies of a COSMOS release in the search folders;
    3. a file `*acs_psf*.fits` in them, one PSF per HDU.
    """
    if path is not None:
        return _from_hdus(path)
    for file in catalog_files("real", catalog, manual_dir):
        if (stamps := _from_release(file)) is not None:
            return stamps
    for folder in search_dirs(catalog, manual_dir):
        for file in sorted(folder.glob("*acs_psf*.fits")) if folder.is_dir() else ():
            return _from_hdus(file)
    raise FileNotFoundError("no PSF")


def _from_hdus(path):
    from astropy.io import fits

    with fits.open(Path(path).expanduser()) as hdus:
        images = [hdu.data for hdu in hdus if hdu.data is not None and np.ndim(hdu.data) == 2]
        if not images:
            raise ValueError(f"{path} has no PSF image in any HDU")
        return np.stack([psf_stamp(image) for image in images[:LIBRARY]])


def _from_release(catalog):
    """PSFs of galaxies spread evenly over a release; None where its PSF files are not there."""
    from astropy.io import fits

    with fits.open(catalog) as hdus:
        table = hdus[1].data
        rows = np.unique(np.linspace(0, len(table) - 1, LIBRARY).astype(int))
        files = [catalog.parent / str(name).strip() for name in table["PSF_FILENAME"][rows]]
        numbers = table["PSF_HDU"][rows].tolist()
    if not all(file.is_file() for file in set(files)):
        return None
    stamps = []
    for file in dict.fromkeys(files):
        with fits.open(file) as hdus:
            stamps += [psf_stamp(hdus[n].data) for f, n in zip(files, numbers, strict=True) if f == file]
    return np.stack(stamps)
