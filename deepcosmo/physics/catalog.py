"""From a catalogue of galaxy shapes to maps of shear, noise and coverage.

Convention, as of `lensing`: maps are (rows, columns); rows run along declination, columns along right ascension, both
ascending (so that east is on the right of the map). With the wave vector (l1, l2), l1 along columns and l2 along rows,

    gamma1 = (l1^2 - l2^2) / l^2 kappa,    gamma2 = 2 l1 l2 / l^2 kappa

in Fourier space. A galaxy stretched along RA has gamma1 > 0, one stretched along the diagonal of growing RA and Dec
gamma2 > 0.
"""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from deepcosmo._quantities import UNITS, in_unit, masked
from deepcosmo._types import Number
from deepcosmo._warnings import warn

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["PIXEL_SCALE", "ShearMap", "SkyGrid", "catalog_to_map", "complete", "impossible"]

PIXEL_SCALE = 5 * 60 / 1024  # arcmin: of kappaTNG's maps, and so of all that are simulated or learned from here
PROJECTIONS = {"tangent": "TAN", "plain": "CAR"}
LIMITS = {"ra": (-360, 360), "dec": (-90, 90), "weight": (0, np.inf)}
MAX_SIDE = 8192  # pixels of a grid around a catalogue: stray positions must not ask for all memory


def complete(**columns: Any) -> dict[str, np.ndarray]:
    """Galaxies that nothing is missing of: columns of a catalogue without the rows where one of them is masked.

    Args:
        **columns: ra, dec and perhaps e1, e2, weight, (n,) each: Quantities, table columns or numbers, which are deg.

    Returns:
        dict of float64 arrays (m,), positions in deg.

    Raises:
        ValueError: columns that are unknown, unequal in length, empty, of another unit, not finite or out of range.
    """
    if unknown := set(columns) - set(UNITS):
        raise ValueError(f"columns must be of {', '.join(UNITS)}; got {', '.join(sorted(unknown))}")
    missing = {name: masked(values) for name, values in columns.items()}
    shapes = {name: mask.shape for name, mask in missing.items()}
    if len(set(shapes.values())) > 1 or len(shapes["ra"]) != 1:
        raise ValueError(f"columns must be one-dimensional and of one length; got {shapes}")
    if not shapes["ra"][0]:
        raise ValueError("the catalogue is empty; it must have at least one galaxy")
    whole = ~np.any(list(missing.values()), 0)
    if not whole.any():
        raise ValueError(f"each of the {len(whole)} galaxies has a masked value in {', '.join(columns)}")
    columns = {name: in_unit(values, UNITS[name], name)[whole] for name, values in columns.items()}
    for name, values in columns.items():
        if wrong := np.count_nonzero(~np.isfinite(values)):
            raise ValueError(
                f"{name} must be finite; {wrong} of {values.size} values are NaN or infinite: leave them out, or mask "
                "them by numpy.ma"
            )
        low, high = LIMITS.get(name, (-np.inf, np.inf))
        if values.min() < low or values.max() > high:
            unit = "" if name == "weight" else " deg"
            raise ValueError(f"{name} must lie between {low} and {high}{unit}; got {values.min()} to {values.max()}")
    return columns


def impossible(shear: np.ndarray, noise_std: np.ndarray | float) -> np.ndarray:
    """Where a component of shear is beyond 1 by more than ten times its noise: -999 and the like, not measurements."""
    return np.abs(shear) > 1 + 10 * noise_std


@dataclasses.dataclass(frozen=True, kw_only=True)
class SkyGrid:
    """Pixels on the sky: rows along declination, columns along right ascension, both ascending.

    Attributes:
        ra: right ascension of the centre of the map, deg. A Quantity is converted, as are the next two.
        dec: declination of the centre of the map, deg.
        shape: (rows, columns).
        pixel_scale: side of a pixel, arcmin.
        projection: "tangent" (gnomonic, FITS `TAN`): pixels are squares on the sky; "plain" (FITS `CAR`): they are
            squares in RA and Dec, hence narrower on the sky by cos(Dec).

    Raises:
        ValueError: an attribute is not of the above kind.
    """

    ra: float
    dec: float
    shape: tuple
    pixel_scale: float
    projection: str = "tangent"

    def __post_init__(self):
        for name, unit in (("ra", "deg"), ("dec", "deg"), ("pixel_scale", "arcmin")):
            object.__setattr__(self, name, in_unit(getattr(self, name), unit, name).item())
        complete(ra=[self.ra], dec=[self.dec])
        shape = tuple(self.shape)
        if len(shape) != 2 or not all(isinstance(n, numbers.Integral) and n > 0 for n in shape):
            raise ValueError(f"shape must be (rows, columns), positive integers; got {self.shape}")
        object.__setattr__(self, "shape", tuple(map(int, shape)))
        if not 0 < self.pixel_scale < np.inf:
            raise ValueError(f"pixel_scale must be a positive number of arcmin; got {self.pixel_scale}")
        if self.projection not in PROJECTIONS:
            raise ValueError(f"projection must be one of {', '.join(PROJECTIONS)}; got {self.projection!r}")

    @classmethod
    def around(cls, ra: ArrayLike, dec: ArrayLike, *, pixel_scale: Number, projection: str = "tangent") -> SkyGrid:
        """The smallest grid around the middle of a field that holds all its galaxies; it may lie across RA = 0.

        Args:
            ra: (n,), between -360 and 360 deg; Quantity, or numbers in deg. Masked positions do not count.
            dec: (n,), likewise.
            pixel_scale: Quantity, or number in arcmin.
            projection: "tangent" or "plain".

        Raises:
            ValueError: positions are missing, not finite or out of range, or too far apart for one map.
        """
        ra, dec = complete(ra=ra, dec=dec).values()
        mean = np.angle(np.exp(1j * np.radians(ra)).mean(), deg=True)
        near = ra - 360 * np.round((ra - mean) / 360)
        ra0, dec0 = (float(values.min() + values.max()) / 2 for values in (near, dec))
        pixel = cls(ra=ra0 % 360, dec=dec0, shape=(1, 1), pixel_scale=pixel_scale, projection=projection)
        sides = 2 * np.abs(pixel.wcs.wcs_world2pix(ra, dec, 0)).max(1)
        if not np.all(sides < MAX_SIDE):  # NaN: beyond the horizon of the tangent plane
            raise ValueError(
                f"a map around all galaxies, RA {near.min():.4g} to {near.max():.4g}, Dec {dec.min():.4g} to "
                f"{dec.max():.4g} deg, would have more than {MAX_SIDE} pixels of {pixel.pixel_scale} arcmin on a side; "
                "leave out stray galaxies, take larger pixels or make a SkyGrid of the part to be mapped"
            )
        columns, rows = (int(side) + 1 for side in sides)
        return dataclasses.replace(pixel, shape=(rows, columns))

    @property
    def wcs(self) -> WCS:
        """The grid as an `astropy.wcs.WCS`; FITS axis 1 runs along columns."""
        from astropy.wcs import WCS  # Astropy needs a home directory; networks for maps, which need PIXEL_SCALE, do not

        rows, columns = self.shape
        wcs = WCS(naxis=2)
        code, step = PROJECTIONS[self.projection], self.pixel_scale / 60
        wcs.wcs.ctype = f"RA---{code}", f"DEC--{code}"
        wcs.wcs.cunit = "deg", "deg"
        wcs.wcs.cdelt = step, step
        wcs.wcs.radesys = "ICRS"
        # CAR is plain RA and Dec only if its reference point is on the equator.
        equator = self.dec if self.projection == "plain" else 0.0
        wcs.wcs.crval = self.ra, self.dec - equator
        wcs.wcs.crpix = (columns + 1) / 2, (rows + 1) / 2 - equator / step
        wcs.pixel_shape = columns, rows
        return wcs

    def index(self, ra: ArrayLike, dec: ArrayLike) -> np.ndarray:
        """Pixels of positions, (n,) Quantities or deg: row * columns + column, int64; -1 off the grid or masked."""
        rows, columns = self.shape
        ra, dec = in_unit(ra, "deg", "ra"), in_unit(dec, "deg", "dec")
        x, y = (np.floor(p + 0.5) for p in self.wcs.wcs_world2pix(ra, dec, 0))
        inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
        return np.where(inside, y * columns + x, -1).astype(np.int64)

    def _turn(self, ra, dec):
        """exp(2 i psi), (n,): psi is the angle between north at a position and the columns of the map."""
        if self.projection == "plain":
            return np.ones(len(ra))
        away = np.radians(ra - self.ra) / 2
        half, half0 = np.radians(dec) / 2, np.radians(self.dec) / 2
        # Napier's analogy for the triangle of pole, centre and position.
        turn = np.cos(away) * np.cos(half - half0) + 1j * np.sin(away) * np.sin(half + half0)
        return (turn / np.abs(turn)) ** 4


class ShearMap(NamedTuple):
    """A binned catalogue; all float maps are float64 and 0 where `mask` is False.

    Attributes:
        shear: weighted mean (rows, columns, 2): gamma1 and gamma2, in the convention of `catalog_to_map`.
        noise_std: standard deviation of its shape noise (rows, columns, 2).
        mask: bool (rows, columns): pixels that hold a galaxy.
        counts: galaxies, int64 (rows, columns).
    """

    shear: np.ndarray
    noise_std: np.ndarray
    mask: np.ndarray
    counts: np.ndarray


def catalog_to_map(
    ra: ArrayLike,
    dec: ArrayLike,
    e1: ArrayLike,
    e2: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    grid: SkyGrid,
    signs: Sequence[int] | np.ndarray = (1, 1),
) -> ShearMap:
    """Bins a shear catalogue: weighted mean shear of each pixel, with its noise.

    The maps are in the convention gamma1 = (l1^2 - l2^2) / l^2 kappa, gamma2 = 2 l1 l2 / l^2 kappa, l1 along columns
    (RA ascending), l2 along rows (Dec ascending). Catalogues are in one of four; the one at hand needs

        signs      frame of e1 and e2
        (1, 1)     x to the east (RA ascending), y to the north
        (1, -1)    x to the west, y to the north: images with north up and east left, such as COSMOS
        (-1, 1)    e1 = |e| cos 2 phi, e2 = |e| sin 2 phi, phi from north through east (IAU)
        (-1, -1)   x to the south, y to the east (HEALPix)

    A wrong sign of one component turns lensing into as much B- as E-mode; that of both makes clusters voids. On a
    tangent grid ellipticities are also turned from the north of each galaxy to that of the centre of the map.

    Columns may be Quantities or columns of an astropy table: units are converted, and galaxies that are masked in any
    column do not count. Nor do those whose e1 or e2 is beyond 1 by more than ten times the typical scatter, such as
    -999 for "not measured"; a warning says how many.

    Args:
        ra: (n,), deg, between -360 and 360; the field may lie across RA = 0.
        dec: (n,), deg.
        e1: shear estimates (n,): an average of them is the shear.
        e2: as `e1`.
        weight: (n,), not negative; equal by default. Galaxies of weight 0 do not count.
        grid: `SkyGrid`; galaxies off it do not count.
        signs: factors of e1 and e2, 1 or -1.

    Returns:
        `ShearMap`. Its noise is sigma sqrt(sum w^2) / sum w over the galaxies of a pixel, where
        sigma^2 = sum w^2 (e - mean)^2 / sum w^2 over those of the map, for each component.

    Raises:
        ValueError: columns that are empty, unequal in length, of another unit, not finite or out of range; no galaxy
            on the grid.
    """
    if tuple(signs) not in {(1, 1), (1, -1), (-1, 1), (-1, -1)}:
        raise ValueError(f"signs must be two factors, 1 or -1; got {signs!r}")
    weight = np.ones(np.shape(ra)) if weight is None else weight
    ra, dec, e1, e2, weight = complete(ra=ra, dec=dec, e1=e1, e2=e2, weight=weight).values()
    pixel = grid.index(ra, dec)
    counted = (pixel >= 0) & (weight > 0)
    if not counted.any():
        raise ValueError(
            f"no galaxy of positive weight is on the grid of {grid.shape} pixels of {grid.pixel_scale} arcmin around "
            f"RA {grid.ra:.4f}, Dec {grid.dec:.4f}; got RA {ra.min():.4f} to {ra.max():.4f}, Dec {dec.min():.4f} to "
            f"{dec.max():.4f} and weights of at most {weight.max():.4g}"
        )
    counted &= ~_wild(e1, e2, counted)
    pixel, weight = pixel[counted], weight[counted]
    e = ((signs[0] * e1 + 1j * signs[1] * e2) * grid._turn(ra, dec))[counted]
    e = np.stack([e.real, e.imag], -1)

    def total(values):
        return np.bincount(pixel, values, np.prod(grid.shape)).reshape(grid.shape)

    counts = total(np.ones(len(pixel))).astype(np.int64)
    mask = counts > 0
    weights = np.where(mask, total(weight), 1.0)[..., None]
    shear = np.stack([total(weight * component) for component in e.T], -1) / weights
    variance = np.average((e - np.average(e, 0, weight)) ** 2, 0, weight**2)
    noise_std = np.sqrt(variance * total(weight**2)[..., None]) / weights
    return ShearMap(shear, noise_std, mask, counts)


def _wild(e1, e2, counted):
    """Where shear estimates (n,) are impossible, (n,), with a warning if any of those that are `counted` is."""
    # A quantile says how wide they scatter, unless a tenth of them are wild: then it is more than any shape noise.
    scatter = min(np.quantile(np.abs([e1[counted], e2[counted]]), 0.9) / 1.645, 1.0)
    wild = impossible(e1, scatter) | impossible(e2, scatter)
    if number := np.count_nonzero(wild & counted):
        all_of_them, size = np.count_nonzero(counted), np.abs([e1, e2]).max(0)[wild & counted].min()
        said = f"{number} of {all_of_them} galaxies have no possible shear, but e1 or e2 of {size:.4g} or more in size"
        if number == all_of_them:
            raise ValueError(said)
        warn(f"{said}: they are left out")
    return wild
