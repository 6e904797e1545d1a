"""Shear catalogues and maps of the sky on disk: tables in, FITS images with a celestial WCS in and out.

Convention of all maps: rows along declination, columns along right ascension, both ascending, and in Fourier space
gamma1 = (l1^2 - l2^2) / l^2 kappa, gamma2 = 2 l1 l2 / l^2 kappa, l1 along columns and l2 along rows.
"""

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS, WCSHDO_P17, WCSHDO_safe

__all__ = ["read_catalog", "read_map", "read_positions", "write_maps"]

COLUMNS = {
    "ra": ("ra",),
    "dec": ("dec",),
    "e1": ("e1", "g1", "gamma1"),
    "e2": ("e2", "g2", "gamma2"),
    "weight": ("weight", "w"),
}
"""Column of a catalogue -> names that it is known by, in any case."""

CONVENTION = (
    "RA ascends along axis 1, Dec along axis 2. In Fourier space",
    "gamma1 = (l1^2 - l2^2)/l^2 kappa, gamma2 = 2 l1 l2/l^2 kappa,",
    "l1 along axis 1, l2 along axis 2.",
)


def read_catalog(path, *, columns=None):
    """Reads a shear catalogue.

    The signs of e1 and e2 stay as they are in the file: `catalog_to_map` takes them to the convention
    gamma1 = (l1^2 - l2^2) / l^2 kappa, gamma2 = 2 l1 l2 / l^2 kappa, l1 along columns, l2 along rows.

    Args:
        path: FITS table (the first of the file), CSV or ECSV; or a folder with one FITS array per column, named
            after it (`ra.fits`, `dec.fits`, …).
        columns: dict from ra, dec, e1, e2, weight to the column's name in the file; those left out are looked for
            under their usual names (e1, g1 or gamma1; weight or w), in any case.

    Returns:
        dict of float64 arrays (n,): ra and dec in deg, e1, e2 and, where there is one, weight: the arguments of
        `deepcosmo.physics.catalog.catalog_to_map`. Missing values are NaN.

    Raises:
        ValueError: the file is no table, or a column is missing or holds no numbers.
    """
    path, columns = Path(path), columns or {}
    if unknown := set(columns) - set(COLUMNS):
        raise ValueError(f"columns must be of {', '.join(COLUMNS)}; got {', '.join(sorted(unknown))}")
    if path.is_dir():
        names = sorted(file.stem for file in path.glob("*.fits"))
    else:
        table = _table(path)
        names = table.colnames
    lower = {name.lower(): name for name in names}
    catalog = {}
    for column, usual in COLUMNS.items():
        name = columns.get(column) or next((lower[name] for name in usual if name in lower), None)
        if name in names:
            values = fits.getdata(path / f"{name}.fits") if path.is_dir() else table[name]
            catalog[column] = _numbers(values, f"{path}: column {name}")
        elif column != "weight" or name:
            raise ValueError(f"{path} has no column {name or ' or '.join(usual)}; it has {', '.join(names) or 'none'}")
    return catalog


def read_positions(path):
    """Positions (n, 2) in deg: the columns ra and dec, in any case, of a table in FITS, .csv, .ecsv or plain text.

    Plain text has columns between blanks, and a line, perhaps a comment, that names them.

    Raises:
        ValueError: the file is no table, or has no such columns.
    """
    path = Path(path)
    if path.suffix in (".fits", ".gz", ".csv", ".ecsv"):
        table = _table(path)
        columns = {name.lower(): table[name] for name in table.colnames}
    else:
        lines = [line.lower().replace("#", " ").split() for line in path.read_text(encoding="utf-8").splitlines()]
        names = next((line for line in lines if {"ra", "dec"} <= set(line)), [])
        rows = [line for line in lines[lines.index(names) + 1 :] if line] if names else []
        columns = {name: [row[names.index(name)] for row in rows] for name in {"ra", "dec"} & set(names)}
    if missing := {"ra", "dec"} - set(columns):
        raise ValueError(f"{path} has no column {', '.join(sorted(missing))}; it has {', '.join(columns) or 'none'}")
    return np.stack([_numbers(columns[name], f"{path}: column {name}") for name in ("ra", "dec")], -1)


def _table(path):
    try:
        if path.suffix in (".csv", ".ecsv"):
            return Table.read(path, format=f"ascii{path.suffix}")
        with fits.open(path) as hdus:
            for hdu in hdus:
                if isinstance(hdu, fits.BinTableHDU | fits.TableHDU):
                    return Table.read(hdu)
        raise ValueError("it has no table extension")
    except FileNotFoundError:
        raise
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is no table in FITS, .csv or .ecsv: {error}") from None


def _numbers(values, what):
    try:
        return np.ma.filled(np.ma.asarray(values).astype(np.float64), np.nan)
    except (TypeError, ValueError):
        raise ValueError(f"{what} must hold numbers; it holds {np.asarray(values).dtype}") from None


def write_maps(path, maps, wcs, *, units=None, header=None):
    """Writes maps into one FITS file, each with its name, unit and WCS; an older file is replaced.

    Shear is written as it is: gamma1 = (l1^2 - l2^2) / l^2 kappa, gamma2 = 2 l1 l2 / l^2 kappa, l1 along columns
    (RA ascending), l2 along rows (Dec ascending); the file says so.

    Args:
        path: file to write.
        maps: dict name -> (rows, columns) or (n, rows, columns). Booleans become 0 and 1.
        wcs: celestial `astropy.wcs.WCS` of all maps, RA and Dec ascending: `SkyGrid.wcs`, or that of `read_map`.
        units: dict name -> unit, as of the FITS card `BUNIT`; maps left out have none.
        header: dict of cards for the primary header, keyword -> value or (value, comment).

    Raises:
        ValueError: a map or the WCS is not of the above kind.
    """
    if wcs.naxis != 2 or not wcs.has_celestial:
        raise ValueError(f"wcs must have two celestial axes; got {list(wcs.wcs.ctype)}")
    if not np.all(np.diag(wcs.pixel_scale_matrix) > 0):
        raise ValueError(f"RA and Dec must ascend with pixels; got deg per pixel {wcs.pixel_scale_matrix.tolist()}")
    primary = fits.PrimaryHDU()
    primary.header.update(header or {})
    hdus = fits.HDUList([primary])
    for name, values in maps.items():
        values = np.asarray(values)
        if values.ndim not in (2, 3) or wcs.array_shape not in (None, values.shape[-2:]):
            raise ValueError(
                f"{name} must have shape (rows, columns) or (n, rows, columns), rows and columns as of the WCS "
                f"{wcs.array_shape}; got {values.shape}"
            )
        hdu = fits.ImageHDU(values.astype(np.uint8) if values.dtype == bool else values, name=name)
        hdu.header["BUNIT"] = (units or {}).get(name, "")
        hdu.header.update(wcs.to_header(relax=WCSHDO_safe | WCSHDO_P17))
        if values.ndim == 3:
            hdu.header.update(WCSAXES=3, CTYPE3="SAMPLE", CRPIX3=1.0, CRVAL3=0.0, CDELT3=1.0)
        for line in CONVENTION:
            hdu.header.add_comment(line)
        hdus.append(hdu)
    hdus.writeto(path, overwrite=True)


def read_map(path, name):
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
