"""Stamps of real galaxies from a release in GalSim's `RealGalaxyCatalog` format."""

import dataclasses
import functools
from pathlib import Path

import numpy as np

from tfds_builders.cosmos_stamps import catalog, rendering
from tfds_builders.cosmos_stamps.generation import CHUNK, Batch, attributes, generator

__all__ = ["RealChunk", "cut_stamps", "real_chunks", "read_release"]

MAX_SHIFT = 8  # pixels between the middle of a catalogue stamp and its galaxy; more is a neighbour
NOISE_EXCESS = 2.0  # catalogue noise over the noise seen at the stamp's edge; more is a failed measurement


@dataclasses.dataclass(frozen=True, kw_only=True)
class RealChunk:
    """A few real galaxies.

    Attributes:
        file: the release's catalogue.
        rows: their rows in it.
        attrs: structured array of dtype `catalog.COLUMNS`; NaN where nothing is known.
        whitened: whether noise is added until all of it is white.
    """

    file: str
    rows: np.ndarray
    attrs: np.ndarray
    whitened: bool


def read_release(path=None, manual_dir=None):
    """The catalogue of a release and what is known of its galaxies.

    Returns:
        `(file, rows, attrs, dropped)`: the catalogue file, the rows that can be used, their properties
        (dtype `catalog.COLUMNS`, NaN where the release does not have them), and reason -> number of
        dropped rows.
    """
    from astropy.io import fits

    file = catalog.find_catalog("real", path, manual_dir)
    with fits.open(file) as hdus:
        table = {name.lower(): np.array(hdus[1].data[name]) for name in hdus[1].data.names}
    attrs = np.zeros(len(table["ident"]), catalog.COLUMNS)
    for name in catalog.COLUMNS.names[1:]:
        if name != "use_bulge":
            attrs[name] = np.nan
    attrs["ident"] = table["ident"]
    attrs["mag_auto"] = table["mag"]
    _add_fits(attrs, file)
    attrs["flux"] = 10 ** (-0.4 * (attrs["mag_auto"] - catalog.ZERO_POINT))

    with np.errstate(invalid="ignore"):
        bad = {
            "magnitude not finite": ~np.isfinite(attrs["mag_auto"]),
            "noise variance not positive": ~(table["noise_variance"] > 0),
            "pixel scale not 0.03 arcsec": ~(np.abs(table["pixel_scale"] - rendering.PIXEL_SCALE) < 1e-6),
            "stamp flux not positive": ~(table["stamp_flux"] > 0) if "stamp_flux" in table else False,
        }
    keep, dropped = np.ones(len(attrs), bool), {}
    for reason, mask in bad.items():
        dropped[reason] = int(np.count_nonzero(keep & mask))
        keep &= ~np.asarray(mask)
    return file, np.flatnonzero(keep), attrs[keep], dropped


def real_chunks(file, rows, attrs, *, whitened):
    """Cuts a release into chunks."""
    order = np.argsort(attrs["ident"], kind="stable")
    for start in range(0, len(order), CHUNK):
        part = order[start : start + CHUNK]
        yield RealChunk(file=str(file), rows=rows[part], attrs=attrs[part], whitened=whitened)


def cut_stamps(chunk):
    """The examples of a chunk, as a `Batch`."""
    from deepcosmo.physics.galaxies import acs_noise_power

    release, power = _release(chunk.file), acs_noise_power(rendering.STAMP)
    batch = Batch([], {})
    for row, attrs in zip(chunk.rows.tolist(), chunk.attrs, strict=True):
        image = np.array(release.getGalImage(row).array, float)
        psf = release.getPSFImage(row).array
        noise_std = float(np.sqrt(release.variance[row]))
        if reason := _defect(image, psf, noise_std):
            batch.dropped[reason] = batch.dropped.get(reason, 0) + 1
            continue
        rng = generator(attrs["ident"], "noise")
        stamp = rendering.draw_noise(rng, noise_std, power)  # surrounds stamps that are smaller
        _paste(image, stamp)
        if chunk.whitened:
            stamp = stamp + rendering.draw_noise(rng, noise_std, power.max() - power)
            noise_std *= np.sqrt(power.max())
        features = {
            "image": stamp.astype(np.float32),
            "psf": rendering.psf_stamp(psf),
            "noise_std": np.float32(noise_std),
            "attrs": attributes(attrs),
        }
        batch.examples.append((int(attrs["ident"]), features))
    return batch


def _add_fits(attrs, file):
    """Fills in what the table of fits beside the catalogue has: everything, or only a few columns."""
    from astropy.io import fits

    beside = Path(file)
    beside = beside.with_name(f"{beside.stem}_fits.fits")
    if not beside.is_file():
        return
    with fits.open(beside) as hdus:
        record = {name.lower(): np.array(hdus[1].data[name]) for name in hdus[1].data.names}
    if "sersicfit" in record:
        clean, _ = catalog.clean(record)
        known = {name: clean[name] for name in catalog.COLUMNS.names}
    else:
        known = {name: record[name] for name in catalog.COLUMNS.names if name in record}
    order = np.argsort(known["ident"])
    at = np.minimum(np.searchsorted(known["ident"], attrs["ident"], sorter=order), len(order) - 1)
    at = order[at]
    found = known["ident"][at] == attrs["ident"]
    for name in known:
        attrs[name][found] = known[name][at[found]]


def _defect(image, psf, noise_std):
    """Why a galaxy cannot be used, or None."""
    if not np.all(np.isfinite(image)) or not np.all(np.isfinite(psf)) or not psf.sum() > 0:
        return "image or PSF not finite"
    edge = np.concatenate([side.ravel() for side in (image[:3], image[-3:], image[:, :3], image[:, -3:])])
    seen = 1.4826 * np.median(np.abs(edge - np.median(edge)))
    return "noise variance contradicts the stamp" if noise_std > NOISE_EXCESS * seen else None


def _paste(image, stamp):
    """Puts an image into a stamp, its galaxy in the middle: moved by whole pixels, cut where it is larger."""
    import galsim

    moments = galsim.hsm.FindAdaptiveMom(galsim.Image(image), strict=False)
    middle = np.array(image.shape) / 2 - 0.5
    centre = np.array([moments.moments_centroid.y, moments.moments_centroid.x]) - 1
    if moments.moments_status != 0 or np.max(np.abs(centre - middle)) > MAX_SHIFT:
        centre = middle
    first = np.round(len(stamp) / 2 - 0.5 - centre).astype(int)
    lo, hi = np.maximum(first, 0), np.minimum(first + image.shape, len(stamp))
    inside = [slice(a, b) for a, b in zip(lo, hi, strict=True)]
    part = [slice(a, b) for a, b in zip(lo - first, hi - first, strict=True)]
    stamp[tuple(inside)] = image[tuple(part)]


@functools.lru_cache(maxsize=2)
def _release(file):
    import galsim

    return galsim.RealGalaxyCatalog(file)
