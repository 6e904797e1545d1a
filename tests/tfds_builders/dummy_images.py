"""A folder of made-up galaxy images, as users would fill it."""

import numpy as np
from astropy import units
from astropy.io import fits
from astropy.table import MaskedColumn, Table

SCALE, NOISE = 0.06, 0.02


def gaussian(size, width):
    axis = np.arange(size) - size // 2
    return np.exp(-0.5 * (axis[:, None] ** 2 + axis**2) / width**2)


def write(folder):
    """Ten galaxies in two bands in one survey, of which one has nothing but NaN, and one galaxy in another."""
    rng = np.random.default_rng(0)
    first, second = folder / "first", folder / "second"
    for place in (first, second):
        place.mkdir(parents=True)
    cube = np.stack([gaussian(40, 3.0), gaussian(40, 5.0)]) + NOISE * rng.normal(size=(10, 2, 40, 40))
    cube[3] = np.nan
    cube[2, 0, :5] = np.inf
    mask = np.ones((2, 40, 40), "i2")
    mask[1, :, :10] = 0
    for i in range(10):
        primary = fits.PrimaryHDU(cube[i].astype("f4"))
        fits.HDUList([primary, fits.ImageHDU(mask)]).writeto(first / f"{i}.fits")
    fits.PrimaryHDU(7 * gaussian(21, 1.5)).writeto(first / "psf.fits")
    rows = [(f"g{i}", f"{i}.fits", band, plane) for i in range(10) for plane, band in enumerate(("F606W", "F814W"))]
    table = Table(rows=rows, names=("galaxy", "file", "band", "plane"))
    table["pixel_scale"] = 60.0 * np.ones(len(table)) * units.mas
    table["psf"] = "psf.fits"
    table["mask"], table["mask_hdu"] = table["file"], 1
    table["redshift"] = MaskedColumn(np.full(len(table), 0.7), mask=np.arange(len(table)) > 3)
    table["zero_point"] = 26.49
    table.write(first / "images.ecsv")
    fits.PrimaryHDU(gaussian(30, 3.0)).writeto(second / "a.fits")
    other = Table({"galaxy": ["g0"], "file": ["a.fits"], "band": ["F115W"], "pixel_scale": [0.03], "noise_std": [0.5]})
    other.write(second / "images.ecsv")
