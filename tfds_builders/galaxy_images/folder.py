"""Folders of galaxy images: a table with one row for each image, and FITS files."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np

from deepcosmo._quantities import in_unit
from tfds_builders.splits import split_at

__all__ = ["TABLE", "Images", "read_image", "read_tables", "split_of"]

TABLE = "images.ecsv"
NUMBERS = {"pixel_scale": "arcsec", "zero_point": "mag", "noise_std": None, "redshift": ""}  # and their units
REQUIRED = ("galaxy", "file", "band", "pixel_scale")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Images:
    """The rows of a table.

    Attributes:
        folder: where the table is.
        name: of the folder, seen from the folder of all tables.
        rows: one dict for each image: galaxy, file, hdu, plane, band, pixel_scale [arcsec], zero_point [AB mag],
            noise_std [of a pixel, in the unit of the image], redshift, psf, psf_hdu, mask, mask_hdu; numbers that are
            not known are NaN, files that there are not are "".
    """

    folder: Path
    name: str
    rows: list[dict]


def split_of(galaxy):
    """The split of a galaxy, by a hash of its name, which all of its images share."""
    return split_at(int.from_bytes(hashlib.sha256(galaxy.encode()).digest()[:8], "big") % 100)


def read_tables(folder):
    """The tables `images.ecsv` in a folder and below it, as a list of `Images`.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a column is missing, or a value is not what it should be; the message names the table and the row.
    """
    folder = Path(folder)
    tables = sorted(folder.rglob(TABLE))
    if not tables:
        raise FileNotFoundError(f"no {TABLE} in {folder} or below it: it lists the images, one in each row")
    return [_read_table(table, folder) for table in tables]


def _read_table(path, top):
    from astropy.table import Table

    try:
        table = Table.read(path, format="ascii.ecsv")
    except Exception as error:  # whatever the reader of broken files raises
        raise ValueError(f"{path} is no ECSV table: {error}") from None
    if missing := [name for name in REQUIRED if name not in table.colnames]:
        raise ValueError(f"{path} has no column {', '.join(missing)}; it has {', '.join(table.colnames)}")
    numbers = {
        name: in_unit(table[name], unit, f"{path}: {name}") if name in table.colnames else np.full(len(table), np.nan)
        for name, unit in NUMBERS.items()
    }
    rows = []
    for i, given in enumerate(table):
        text = {name: _text(given, name) for name in ("galaxy", "file", "band", "psf", "mask")}
        whole = {name: _whole(given, name) for name in ("hdu", "plane", "psf_hdu", "mask_hdu")}
        row = text | whole | {name: float(values[i]) for name, values in numbers.items()}
        where = f"{path}, row {i + 1}"
        if not (row["galaxy"] and row["file"] and row["band"]):
            raise ValueError(f"{where}: galaxy, file and band must not be empty")
        if not row["pixel_scale"] > 0:
            raise ValueError(f"{where}: pixel_scale must be positive; got {row['pixel_scale']}")
        if row["noise_std"] <= 0:
            raise ValueError(f"{where}: noise_std must be positive; got {row['noise_std']}")
        rows.append(row)
    return Images(folder=path.parent, name=path.parent.relative_to(top).as_posix(), rows=rows)


def _text(row, name):
    value = row[name] if name in row.colnames else ""
    return "" if value is np.ma.masked else str(value)


def _whole(row, name):
    value = row[name] if name in row.colnames else 0
    return 0 if value is np.ma.masked else int(value)


def read_image(folder, row):
    """An image as the features of an example, or the reason why it cannot be used.

    Pixels have no data where the mask is 0 and where the image is not finite; their value becomes 0. Where the table
    has no `noise_std`, it is estimated from differences of neighbours in the fainter half of the image. The noise of
    drizzled images is correlated between neighbours and larger than this estimate.

    Returns:
        `(features, None)` or `(None, reason)`.
    """
    image = _read(folder, row["file"], row["hdu"], row["plane"])
    mask = np.isfinite(image)
    if row["mask"]:
        given = _read(folder, row["mask"], row["mask_hdu"], row["plane"])
        if given.shape != image.shape:
            raise ValueError(f"{row['mask']}: the mask has the shape {given.shape}, the image {image.shape}")
        mask &= given > 0
    if not mask.any():
        return None, "no pixel with data"
    image = np.where(mask, image, 0.0)
    noise_std = row["noise_std"] if row["noise_std"] > 0 else _noise(image, mask)
    if not noise_std > 0:
        return None, "noise cannot be measured"
    psf = np.zeros((0, 0))
    if row["psf"]:
        psf = _read(folder, row["psf"], row["psf_hdu"], 0)
        if not np.isfinite(psf).all() or not psf.sum() > 0:
            return None, "PSF not finite, or without light"
        psf /= psf.sum()
    numbers = {name: np.float32(row[name]) for name in ("pixel_scale", "zero_point", "redshift")}
    return {
        "image": image.astype(np.float32),
        "mask": mask,
        "psf": psf.astype(np.float32),
        "noise_std": np.float32(noise_std),
        "galaxy": row["galaxy"],
        "band": row["band"],
        **numbers,
    }, None


def _read(folder, name, hdu, plane):
    """An image (rows, columns) of a FITS file, float64."""
    from astropy.io import fits

    path = folder / name
    with fits.open(path) as hdus:
        if hdu >= len(hdus):
            raise ValueError(f"{path} has no HDU {hdu}, only {len(hdus)}")
        values = hdus[hdu].data
        if values is None:
            raise ValueError(f"{path}: HDU {hdu} holds no image")
        if values.ndim == 3:
            if plane >= len(values):
                raise ValueError(f"{path}: HDU {hdu} has no plane {plane}, only {len(values)}")
            values = values[plane]  # the others need not be read
        if values.ndim != 2:
            raise ValueError(f"{path}: HDU {hdu} must be an image or a cube; its shape is {values.shape}")
        return np.array(values, np.float64)


def _noise(image, mask):
    """Standard deviation of a pixel's noise, if that of neighbours is independent."""
    pairs = mask[:, 1:] & mask[:, :-1]
    difference, light = (image[:, 1:] - image[:, :-1])[pairs], (image[:, 1:] + image[:, :-1])[pairs]
    faint = difference[light <= np.median(light)] if len(light) else difference
    return 1.4826 * np.median(np.abs(faint)) / np.sqrt(2) if len(faint) else 0.0
