"""A tiny, made-up COSMOS release in the official format: `python dummy_release.py FOLDER` writes it."""

import sys
from pathlib import Path

import galsim
import numpy as np
from astropy.io import fits

from tfds_builders.cosmos_stamps.catalog import split_of
from tfds_builders.cosmos_stamps.psfs import model_psfs

NAME = "real_galaxy_catalog_25.2"
PER_SPLIT = {"train": 4, "validation": 2, "test": 2}
NOISE_VARIANCE = 7e-6


def idents():
    """Identifiers such that every split has as many galaxies as `PER_SPLIT` says."""
    chosen = []
    for name, count in PER_SPLIT.items():
        chosen += [i for i in range(1000, 1200) if split_of(i) == name][:count]
    return np.array(sorted(chosen))


def fits_record(ident, seed=0):
    """Columns of the table of parametric fits, as the official release has them."""
    rng = np.random.default_rng(seed)
    n, size = len(ident), rng.uniform(0.1, 0.5, (len(ident), 3))
    sersic, bulge = np.zeros((n, 8)), np.zeros((n, 16))
    sersic[:, 2] = rng.uniform(0.2, 6, n)
    for fit, start in ((sersic, 0), (bulge, 0), (bulge, 8)):
        fit[:, start + 3], fit[:, start + 7] = rng.uniform(0.2, 1, n), rng.uniform(-1.5, 1.5, n)
    flux = np.zeros((n, 4))
    flux[:, :3] = rng.uniform(3, 30, (n, 3))
    flux[:, 3] = flux[:, 1] + flux[:, 2]
    return {
        "IDENT": ident.astype(np.int32),
        "mag_auto": rng.uniform(22, 25, n),
        "flux_radius": rng.uniform(4, 20, n),
        "zphot": rng.uniform(0.1, 2, n),
        "sersicfit": sersic,
        "bulgefit": bulge,
        "fit_status": np.ones((n, 5), np.int32),
        "fit_dvc_btt": rng.uniform(0, 1, n),
        "use_bulgefit": (np.arange(n) % 3 == 0).astype(np.int32),
        "viable_sersic": np.ones(n, np.int32),
        "hlr": size,
        "flux": flux,
    }


def write_table(file, record):
    """Writes columns (arrays, or lists of strings) as a FITS table."""
    columns = []
    for name, values in record.items():
        values = np.asarray(values)
        kind = {"i": "J", "f": "D", "U": f"{values.dtype.itemsize // 4}A"}[values.dtype.kind]
        columns.append(fits.Column(name, f"{values[0].size if kind in 'JD' else ''}{kind}", array=values))
    fits.BinTableHDU.from_columns(columns).writeto(file, overwrite=True)


def write(folder, sizes=(20, 40, 64, 150)):
    """Writes a release: parametric fits, real images of several `sizes` in pixels, their PSFs."""
    folder = Path(folder)
    ident = idents()
    record = fits_record(ident)
    write_table(folder / f"{NAME}_fits.fits", record)

    rng = galsim.BaseDeviate(5)
    psfs = [psf[8:-8, 10:-6] for psf in model_psfs(4)]
    images = []
    for i in range(len(ident)):
        size = sizes[i % len(sizes)]
        galaxy = galsim.Gaussian(sigma=0.1, flux=10).shift(0.06, -0.03)
        image = galaxy.drawImage(nx=size, ny=size, scale=0.03, method="no_pixel")
        galsim.getCOSMOSNoise(rng=rng).withVariance(NOISE_VARIANCE).applyTo(image)
        images.append(image.array.astype(np.float32))
    for kind, arrays in (("images", images), ("PSF_images", psfs)):
        hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(array) for array in arrays)]
        fits.HDUList(hdus).writeto(folder / f"real_galaxy_{kind}.fits", overwrite=True)
    ones = np.ones(len(ident))
    real = {
        "IDENT": record["IDENT"],
        "RA": 150 * ones,
        "DEC": 2 * ones,
        "MAG": record["mag_auto"],
        "WEIGHT": ones,
        "GAL_FILENAME": ["real_galaxy_images.fits"] * len(ident),
        "PSF_FILENAME": ["real_galaxy_PSF_images.fits"] * len(ident),
        "GAL_HDU": np.arange(1, len(ident) + 1),
        "PSF_HDU": 1 + np.arange(len(ident)) % 4,
        "PIXEL_SCALE": 0.03 * ones,
        "NOISE_MEAN": 0 * ones,
        "NOISE_VARIANCE": NOISE_VARIANCE * ones,
        "stamp_flux": [float(image.sum()) for image in images],
    }
    write_table(folder / f"{NAME}.fits", real)


if __name__ == "__main__":
    write(sys.argv[1])
