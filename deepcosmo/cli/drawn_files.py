"""FITS files of what a generative model drew."""

from pathlib import Path
from typing import Any

import numpy as np

import deepcosmo

__all__: list[str] = []


def stack(image: np.ndarray) -> np.ndarray:
    """Images (n, rows, columns), without an axis for one channel."""
    return image[..., 0] if image.ndim == 4 else image


def write(path: Path, drawn: dict[str, np.ndarray], model: Any, entry: Any, seed: int) -> None:
    """Stacks of images as cubes, `image` in the primary HDU; everything else as columns of a table."""
    from astropy.io import fits

    images = {name: stack(value) for name, value in drawn.items() if value.ndim > 1}
    columns = {name: value for name, value in drawn.items() if value.ndim == 1}
    primary = fits.PrimaryHDU(images.pop("image", None))
    cubes = [primary, *(fits.ImageHDU(cube, name=name) for name, cube in images.items())]
    for hdu, name in zip(cubes, ["image", *images], strict=True):
        if hdu.data is not None:
            hdu.header.update(_image_cards(model, name, hdu.data.shape))
    primary.header["MODEL"] = (entry.name, "model of the deepcosmo zoo")
    primary.header["MODELVER"] = entry.version
    primary.header["SEED"] = seed
    primary.header["CREATOR"] = f"deepcosmo {deepcosmo.__version__}"
    codes = {"f": "E", "i": "J", "b": "L"}
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column(name, codes[value.dtype.kind], model.units.get(name) or None, array=value)
            for name, value in columns.items()
        ],
        name="CONDITIONS" if "image" in drawn else "CATALOG",
    )
    fits.HDUList([*cubes, table]).writeto(path, overwrite=True)


def _image_cards(model, name, shape):
    """Units, zero point and a linear WCS in arcseconds from the centre of a stamp."""
    cards = {
        "BUNIT": (model.units[name], "per pixel"),
        "MAGZERO": (model.zero_point, "[mag] AB magnitude of 1 ct/s"),
        "PIXSCALE": (model.pixel_scale, "[arcsec] side of a pixel"),
        "PSFFWHM": (model.resolution, "[arcsec] FWHM of the Gaussian they are seen by"),
        "CTYPE3": ("GALAXY", "row of the table"),
        "CD3_3": 1.0,
    }
    for axis, size in ((1, shape[2]), (2, shape[1])):
        cards |= {
            f"CTYPE{axis}": ("LINEAR", "offset from the centre of the stamp"),
            f"CUNIT{axis}": "arcsec",
            f"CRPIX{axis}": (size + 1) / 2,
            f"CRVAL{axis}": 0.0,
            f"CD{axis}_{axis}": model.pixel_scale,
        }
    return cards
