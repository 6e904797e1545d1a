"""The COSMOS parametric-fit catalogue: where it is, what is wrong with it, and how it is split."""

import hashlib
import os
from pathlib import Path

import numpy as np

from tfds_builders.splits import split_at

__all__ = [
    "COLUMNS",
    "ZERO_POINT",
    "catalog_files",
    "check",
    "clean",
    "find_catalog",
    "read_catalog",
    "search_dirs",
    "split_of",
]

ZERO_POINT = 25.94  # AB magnitude of one count per second in HST/ACS F814W (GalSim's COSMOS convention)
SERSIC_RANGE, SERSIC_STEP = (0.3, 6.0), 0.05  # as in `galsim.COSMOSCatalog`
HLR_RANGE = (0.01, 10.0)  # arcsec; smaller fits are failed ones (a third of a pixel)

COLUMNS = np.dtype(
    [("ident", "i8"), ("mag_auto", "f8"), ("flux_radius", "f8"), ("zphot", "f8"), ("use_bulge", "?")]
    + [(name, "f8") for name in ("flux", "n", "hlr", "q", "phi", "bulge_fraction")]
    + [(f"{part}_{name}", "f8") for part in ("bulge", "disk") for name in ("hlr", "q", "phi")]
)

_OFFICIAL = tuple(f"real_galaxy_catalog_{sample}{{}}.fits" for sample in ("25.2", "23.5"))
_MISSING = """No {what} found. Put {name} into a folder and name it
  with the environment variable DEEPCOSMO_COSMOS_DIR, or
  with `builder_kwargs={{"catalog": "/the/folder"}}`, or
  use the folder for manual downloads of TensorFlow Datasets ({manual}).
The command `galsim_download_cosmos` fetches the official sample; it is then found where GalSim keeps it.
Searched: {searched}."""


def search_dirs(path=None, manual_dir=None):
    """Folders that may hold the COSMOS release, in the order in which they are searched.

    Args:
        path: file or folder named by the user; where given, the only place.
        manual_dir: TFDS's folder of manual downloads.

    Returns:
        A list of `pathlib.Path`, existing or not. `DEEPCOSMO_COSMOS_DIR` may name several
        folders, separated as in `PATH`.
    """
    import galsim

    if path is not None:
        return [Path(path).expanduser()]
    named = [Path(p).expanduser() for p in os.environ.get("DEEPCOSMO_COSMOS_DIR", "").split(os.pathsep) if p]
    manual = [Path(manual_dir)] if manual_dir is not None else []
    share = Path(galsim.meta_data.share_dir)
    return named + manual + [share / f"COSMOS_{sample}_training_sample" for sample in ("25.2", "23.5")]


def catalog_files(kind, path=None, manual_dir=None):
    """Catalogues of a `kind`, "fits" (parametric) or "real" (images), in the search folders, best first."""
    suffix, pattern, column = {
        "fits": ("_fits", "*_fits.fits", "sersicfit"),
        "real": ("", "*real_galaxy_catalog*.fits", "gal_filename"),
    }[kind]
    found = []
    for folder in search_dirs(path, manual_dir):
        official = [folder / name.format(suffix) for name in _OFFICIAL]
        found += [folder] if folder.is_file() else [*official, *sorted(folder.glob(pattern))]
    return [file for file in dict.fromkeys(found) if file.is_file() and column in _columns(file)]


def find_catalog(kind="fits", path=None, manual_dir=None):
    """The first of `catalog_files`.

    Raises:
        FileNotFoundError: none is there; the message names the file, the places and the command.
    """
    if files := catalog_files(kind, path, manual_dir):
        return files[0]
    what = "catalogue of parametric fits" if kind == "fits" else "catalogue of real galaxy images"
    raise FileNotFoundError(
        _MISSING.format(
            what=f"COSMOS {what}",
            name=_OFFICIAL[0].format("_fits" if kind == "fits" else "")
            + (" (or any *_fits.fits in its format)" if kind == "fits" else " with its image and PSF files"),
            manual=manual_dir or "~/tensorflow_datasets/downloads/manual",
            searched=", ".join(map(str, search_dirs(path, manual_dir))),
        )
    )


def read_catalog(path=None, manual_dir=None):
    """Reads, checks and cleans the catalogue of parametric fits.

    Args:
        path: catalogue file or its folder; by default it is searched for (`search_dirs`).
        manual_dir: TFDS's folder of manual downloads, if any.

    Returns:
        `(galaxies, dropped)`. `galaxies`: structured array of dtype `COLUMNS`. Magnitudes are AB,
        `flux` is the fitted flux in counts/s (zero point 25.94), `flux_radius` is SExtractor's
        half-light radius in 0.03" pixels, all `hlr` are half-light radii in arcsec of the circle of
        the same area (major axis = hlr / sqrt(q)), `phi` is in radians from the x axis towards y.
        `n`, `hlr`, `q`, `phi` are the single Sérsic fit, with `n` clipped to [0.3, 6] and rounded to
        0.05. Where `use_bulge` holds, the galaxy is a de Vaucouleurs bulge and an exponential disc
        and `flux` is their sum; elsewhere the bulge and disc columns are 0.
        `dropped`: dict reason -> number of rows, each row counted at its first reason.

    Raises:
        FileNotFoundError: no catalogue; says which file, where to put it, how to fetch it.
    """
    from astropy.io import fits

    with fits.open(find_catalog("fits", path, manual_dir)) as hdus:
        record = {name.lower(): np.array(hdus[1].data[name]) for name in hdus[1].data.names}
    return clean(record)


def split_of(ident):
    """The split of each galaxy: 80/10/10 by a hash of its identifier, whatever catalogue it comes from.

    Args:
        ident: integer or array of integers.

    Returns:
        "train", "validation" or "test"; an array of them for an array.
    """
    if np.ndim(ident):
        return np.array([split_of(i) for i in np.asarray(ident).tolist()], dtype="U10")
    percent = int(hashlib.md5(f"cosmos:{int(ident)}".encode()).hexdigest(), 16) % 100
    return split_at(percent)


def clean(record):
    """`read_catalog` for columns that are already in memory: dict of lower-case names to arrays."""
    sersic, bulge, hlr, flux = (np.asarray(record[k], float) for k in ("sersicfit", "bulgefit", "hlr", "flux"))
    out = np.zeros(len(flux), COLUMNS)
    for name in ("ident", "mag_auto", "flux_radius", "zphot"):
        out[name] = record[name]
    use = out["use_bulge"] = record["use_bulgefit"].astype(bool)
    n = np.clip(sersic[:, 2], *SERSIC_RANGE)
    out["n"] = np.floor(n / SERSIC_STEP + 0.5) * SERSIC_STEP
    out["hlr"], out["q"], out["phi"] = hlr[:, 0], sersic[:, 3], sersic[:, 7]
    out["flux"] = np.where(use, flux[:, 1] + flux[:, 2], flux[:, 0])
    # `bulgefit` holds the disc first, then the bulge; `hlr` and `flux` are (Sérsic, bulge, disc[, total]).
    np.divide(flux[:, 1], out["flux"], out=out["bulge_fraction"], where=use & (out["flux"] != 0))
    for part, offset, i in (("bulge", 8, 1), ("disk", 0, 2)):
        for name, column in (("hlr", hlr[:, i]), ("q", bulge[:, offset + 3]), ("phi", bulge[:, offset + 7])):
            out[f"{part}_{name}"] = np.where(use, column, 0)

    viable = record["viable_sersic"].astype(bool) if "viable_sersic" in record else True
    return check(out, viable=use | viable)


def check(galaxies, viable=True):
    """Drops the rows that describe no galaxy.

    Args:
        galaxies: structured array of dtype `COLUMNS`.
        viable: False where a row has no usable fit.

    Returns:
        `(galaxies, dropped)` as `read_catalog` does.
    """
    out, use = galaxies, galaxies["use_bulge"]
    floats = [name for name in COLUMNS.names if COLUMNS[name].kind == "f"]
    finite = np.all([np.isfinite(out[name]) for name in floats], axis=0)
    radii = np.stack([out["hlr"], *(np.where(use, out[f"{p}_hlr"], HLR_RANGE[0]) for p in ("bulge", "disk"))])
    axes = np.stack([out["q"], *(np.where(use, out[f"{p}_q"], 1) for p in ("bulge", "disk"))])
    with np.errstate(invalid="ignore"):
        bad = {
            "not finite": ~finite,
            "no usable fit": ~np.asarray(viable),
            "flux not positive": ~(out["flux"] > 0) | (out["bulge_fraction"] < 0) | (out["bulge_fraction"] > 1),
            "half-light radius outside 0.01-10 arcsec": np.any((radii < HLR_RANGE[0]) | (radii > HLR_RANGE[1]), 0),
            "Sérsic index outside 0.3-6": (out["n"] < SERSIC_RANGE[0] - 1e-6) | (out["n"] > SERSIC_RANGE[1] + 1e-6),
            "axis ratio outside (0, 1]": np.any((axes <= 0) | (axes > 1), 0),
            "size or redshift not positive": ~((out["flux_radius"] > 0) & (out["zphot"] > 0)),
        }
    _, first = np.unique(out["ident"], return_index=True)
    bad["repeated identifier"] = ~np.isin(np.arange(len(out)), first)
    keep, dropped = np.ones(len(out), bool), {}
    for reason, mask in bad.items():
        dropped[reason] = int(np.count_nonzero(keep & mask))
        keep &= ~mask
    return out[keep], dropped


def _columns(file):
    from astropy.io import fits

    try:
        with fits.open(file) as hdus:
            return [name.lower() for name in hdus[1].columns.names]
    except (OSError, IndexError, AttributeError):  # not FITS, or no table
        return []
