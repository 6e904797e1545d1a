"""Shear catalogues and maps of the sky on disk: tables in, FITS images with a celestial WCS in and out.

Convention of all maps: rows along declination, columns along right ascension, both ascending, and in Fourier space
gamma1 = (l1^2 - l2^2) / l^2 kappa, gamma2 = 2 l1 l2 / l^2 kappa, l1 along columns and l2 along rows.

Tables are in one of these formats, which the content of a file tells, not its name; gzip and bzip2 may compress it:

- FITS or VOTable; of several tables in a file the one that has most of the columns is read, as of LDAC the second;
- ECSV;
- text with commas, semicolons, tabs or blanks between columns. Lines that begin with # are comments; the line that
  names the columns may be one of them.

Columns with a unit are converted. Empty cells, null values of FITS and VOTable, and words such as NaN, NA or null are
missing values.
"""

import codecs
import csv
import io
import itertools
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits, votable
from astropy.table import Column, Table
from astropy.utils.data import get_readable_fileobj
from astropy.wcs import WCS, WCSHDO_P17, WCSHDO_safe
from numpy.typing import ArrayLike

from deepcosmo._quantities import UNITS, in_unit, masked
from deepcosmo._types import PathLike
from deepcosmo._warnings import warn

__all__ = ["read_catalog", "read_map", "read_positions", "write_maps"]

COLUMNS = {
    "ra": ("ra",),
    "dec": ("dec",),
    "e1": ("e1", "g1", "gamma1"),
    "e2": ("e2", "g2", "gamma2"),
    "weight": ("weight", "w"),
}
"""Column of a catalogue -> names that it is known by, in any case."""

MISSING = ("", "nan", "na", "n/a", "#n/a", "<na>", "null", "none", "-", "--")
"""Words for a missing number, in any case."""

CONVENTION = (
    "RA ascends along axis 1, Dec along axis 2. In Fourier space",
    "gamma1 = (l1^2 - l2^2)/l^2 kappa, gamma2 = 2 l1 l2/l^2 kappa,",
    "l1 along axis 1, l2 along axis 2.",
)


def read_catalog(path: PathLike, *, columns: Mapping[str, str] | None = None) -> dict[str, np.ndarray]:
    """Reads a shear catalogue.

    The signs of e1 and e2 stay as they are in the file: `catalog_to_map` takes them to the convention
    gamma1 = (l1^2 - l2^2) / l^2 kappa, gamma2 = 2 l1 l2 / l^2 kappa, l1 along columns, l2 along rows.

    Args:
        path: table in one of the formats above; or a folder with one FITS array per column, named after it
            (`ra.fits`, `dec.fits`, …), with its unit in the card BUNIT.
        columns: dict from ra, dec, e1, e2, weight to the column's name in the file; those left out are looked for
            under their usual names (e1, g1 or gamma1; weight or w), in any case.

    Returns:
        dict of float64 arrays (n,): ra and dec in deg, e1, e2 and, where there is one, weight: the arguments of
        `deepcosmo.physics.catalog.catalog_to_map`. Positions without a unit are in deg. Columns with missing values
        are masked arrays, NaN under the mask; a warning says how many are missing.

    Raises:
        ValueError: the file is no table, or an empty one; a column is missing, may be one of several, holds no
            numbers, or has a unit that does not convert.
    """
    columns = columns or {}
    if unknown := set(columns) - set(COLUMNS):
        raise ValueError(f"columns must be of {', '.join(COLUMNS)}; got {', '.join(sorted(unknown))}")
    return _columns(path, {column: columns.get(column) for column in COLUMNS})


def read_positions(path: PathLike) -> np.ndarray:
    """Positions (n, 2) in deg: the columns ra and dec, in any case, of a table in one of the formats above.

    Missing values are masked. Raises as `read_catalog` does.
    """
    columns = list(_columns(path, {"ra": None, "dec": None}).values())
    return (np.ma if any(masked(values).any() for values in columns) else np).stack(columns, -1)


def _columns(path, wanted):
    """Columns of a table, by name; `wanted` is a dict from these to their names in the file, None for the usual."""
    path = Path(path)

    def places(names, column):
        given = wanted[column]
        return [i for i, name in enumerate(names) if (name == given if given else name.lower() in COLUMNS[column])]

    def score(names):
        return sum(bool(places(names, column)) for column in wanted)

    names, read = _folder(path) if path.is_dir() else _table(path, score)
    found = {}
    for column, given in wanted.items():
        place = places(names, column)
        if len(place) == 1:
            found[column] = _numbers(read(place[0]), f"{path}: column {names[place[0]]}", UNITS[column])
        elif place:
            several = ", ".join(names[i] for i in place)
            raise ValueError(f"{path}: {column} may be any of its columns {several}: give its name, or rename one")
        elif column != "weight" or given:
            missing = given or " or ".join(COLUMNS[column])
            raise ValueError(f"{path} has no column {missing}; it has {', '.join(names) or 'none'}")
    return found


def _numbers(values, what, unit):
    """A column in a unit, float64 (n,); a masked array if values are missing."""
    values = np.asanyarray(values)
    if values.dtype.kind in "SU":
        words = np.char.strip(np.ma.filled(values, "").astype(str))
        try:
            values = np.where(np.isin(np.char.lower(words), MISSING), "nan", words).astype(np.float64)
        except ValueError as error:
            raise ValueError(f"{what} must hold numbers: {error}") from None
    if not values.size:
        raise ValueError(f"{what} is empty: the table has no rows")
    if values.ndim != 1:
        raise ValueError(f"{what} must hold one number in each row; its shape is {values.shape}")
    values = in_unit(values, unit, what)
    missing = np.isnan(values)
    if not missing.any():
        return values
    warn(f"{what}: {missing.sum()} of {missing.size} values are missing")
    return np.ma.MaskedArray(values, missing)


def _folder(path):
    """Names of the arrays in a folder, and a function that reads the i-th."""
    found = [(re.fullmatch(r"(.+?)\.fits?(\.gz)?", file.name, re.IGNORECASE), file) for file in sorted(path.iterdir())]
    names, files = [match[1] for match, _ in found if match], [file for match, file in found if match]

    def read(i):
        values, header = fits.getdata(files[i], header=True)
        return Column(values, unit=header.get("BUNIT") or None)

    return names, read


def _table(path, score):
    """Names of the columns in a file, and a function that reads the i-th; `score` says which table is wanted."""
    try:
        with warnings.catch_warnings(), get_readable_fileobj(path, encoding="binary") as file:
            for noise in (u.UnitsWarning, votable.exceptions.VOWarning):  # units are checked when they are needed
                warnings.simplefilter("ignore", noise)
            start = file.read(1000)
            if start.startswith(b"SIMPLE  ="):
                table = _fits_table(path, score)
            else:
                content = (start + file.read()).removeprefix(codecs.BOM_UTF8)
                if (stripped := content.lstrip()).startswith(b"<"):
                    table = _votable(stripped, score)
                elif content.startswith(b"# %ECSV"):
                    table = Table.read(content.decode(), format="ascii.ecsv")
                else:
                    return _text_table(content, score)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        raise
    except Exception as error:  # whatever the readers of broken files raise
        raise ValueError(f"{path} is no table in FITS, VOTable, ECSV or text: {error}") from None
    return table.colnames, lambda i: table.columns[i]


def _fits_table(path, score):
    with fits.open(path) as hdus:
        tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]
        return Table.read(_best(tables, lambda hdu: score(hdu.columns.names)))


def _votable(content, score):
    tables = list(votable.parse(io.BytesIO(content), verify="ignore").iter_tables())
    best = _best(tables, lambda table: score([field.name for field in table.fields]))
    return best.to_table(use_names_over_ids=True)


def _best(tables, score):
    if not tables:
        raise ValueError("it has none")
    return max(tables, key=score)


def _text_table(content, score):
    """As `_table`, of plain text; the line of names is the one among the comments and the line after them."""
    if b"\0" in content:
        raise ValueError("it is of another kind")
    lines = [line for line in content.decode(errors="replace").splitlines() if line.strip()]
    if not lines:
        raise ValueError("it is empty")
    comments = [line.lstrip().startswith("#") for line in lines]
    first = comments.index(False) if False in comments else 0

    def names(line, delimiter):
        return [name.strip() for name in _cells([re.sub(r"^\s*#+ ?", "", lines[line])], delimiter)[0]]

    candidates = itertools.product(range(first, -1, -1), (",", ";", "\t", None))
    header, delimiter = max(candidates, key=lambda place: score(names(*place)))
    named = names(header, delimiter)
    rows = [line for line, comment in list(zip(lines, comments, strict=True))[header + 1 :] if not comment]
    cells = _cells(rows, delimiter)
    if wrong := [row for row, cell in zip(rows, cells, strict=True) if len(cell) != len(named)]:
        if delimiter or not all("\t" in row for row in rows):
            raise ValueError(
                f"it names {len(named)} columns, but has {len(wrong)} lines with another number of them, "
                f"such as {wrong[0]!r}"
            )
        cells = _cells(rows, "\t")  # names between blanks over cells that may hold some
    columns = list(zip(*cells, strict=False)) if rows else [()] * len(named)
    return named[: len(columns)], columns.__getitem__


def _cells(lines, delimiter):
    """Lines as lists of cells; without a delimiter, blanks separate them."""
    if delimiter is None:
        return [line.split() for line in lines]
    return list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))


def write_maps(
    path: PathLike,
    maps: Mapping[str, ArrayLike],
    wcs: WCS,
    *,
    units: Mapping[str, Any] | None = None,
    header: Mapping[str, Any] | None = None,
) -> None:
    """Writes maps into one FITS file, each with its name, unit and WCS; an older file is replaced.

    Shear is written as it is: gamma1 = (l1^2 - l2^2) / l^2 kappa, gamma2 = 2 l1 l2 / l^2 kappa, l1 along columns
    (RA ascending), l2 along rows (Dec ascending); the file says so.

    Args:
        path: file to write.
        maps: dict name -> (rows, columns) or (n, rows, columns). Booleans become 0 and 1, masked values NaN.
        wcs: celestial `astropy.wcs.WCS` of all maps, RA and Dec ascending: `SkyGrid.wcs`, or that of `read_map`.
        units: dict name -> unit, as of the FITS card `BUNIT`, to which Quantities are converted; maps left out keep
            the unit that they have, if any.
        header: dict of cards for the primary header, keyword -> value or (value, comment).

    Raises:
        ValueError: a map or the WCS is not of the above kind, or a map has another unit.
    """
    if wcs.naxis != 2 or not wcs.has_celestial:
        raise ValueError(f"wcs must have two celestial axes; got {list(wcs.wcs.ctype)}")
    if not np.all(np.diag(wcs.pixel_scale_matrix) > 0):
        raise ValueError(f"RA and Dec must ascend with pixels; got deg per pixel {wcs.pixel_scale_matrix.tolist()}")
    primary = fits.PrimaryHDU()
    primary.header.update(header or {})
    hdus = fits.HDUList([primary])
    for name, values in maps.items():
        unit = (units or {}).get(name) or getattr(values, "unit", None) or ""
        if masked(values).any() or hasattr(values, "unit"):
            values = in_unit(values, unit, name)
        values = np.asarray(values)
        if values.ndim not in (2, 3) or wcs.array_shape not in (None, values.shape[-2:]):
            raise ValueError(
                f"{name} must have shape (rows, columns) or (n, rows, columns), rows and columns as of the WCS "
                f"{wcs.array_shape}; got {values.shape}"
            )
        hdu = fits.ImageHDU(values.astype(np.uint8) if values.dtype == bool else values, name=name)
        hdu.header["BUNIT"] = str(unit)
        hdu.header.update(wcs.to_header(relax=WCSHDO_safe | WCSHDO_P17))
        if values.ndim == 3:
            hdu.header.update(WCSAXES=3, CTYPE3="SAMPLE", CRPIX3=1.0, CRVAL3=0.0, CDELT3=1.0)
        for line in CONVENTION:
            hdu.header.add_comment(line)
        hdus.append(hdu)
    hdus.writeto(path, overwrite=True)


def read_map(path: PathLike, name: str) -> tuple[np.ndarray, WCS]:
    """Reads a map that `write_maps` wrote, or another FITS image with a celestial WCS.

    Shear is returned as it is in the file; `write_maps` writes gamma1 = (l1^2 - l2^2) / l^2 kappa,
    gamma2 = 2 l1 l2 / l^2 kappa, l1 along columns (RA ascending), l2 along rows (Dec ascending).

    Args:
        path: FITS file.
        name: of the map, in any case.

    Returns:
        The map (rows, columns) or (n, rows, columns), in the precision of the file, and its two-dimensional
        `astropy.wcs.WCS`.

    Raises:
        ValueError: the file has no such map, or it has no celestial WCS.
    """
    with fits.open(path) as hdus:
        images = {hdu.name: hdu for hdu in hdus if hdu.is_image and hdu.data is not None}
        if name.upper() not in images:
            raise ValueError(f"{path} has no map {name}; it has {', '.join(images) or 'none'}")
        hdu = images[name.upper()]
        wcs = WCS(hdu.header)
        if not wcs.has_celestial:
            raise ValueError(f"{path}: map {name} has no celestial WCS")
        return hdu.data.astype(hdu.data.dtype.newbyteorder("=")), wcs.celestial
