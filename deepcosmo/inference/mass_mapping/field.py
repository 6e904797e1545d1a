"""The dark matter of a field, from the catalogue of its galaxies to maps on the sky."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.ndimage
from numpy.typing import ArrayLike

from deepcosmo import skymaps
from deepcosmo._quantities import in_unit, masked
from deepcosmo._types import Number, PathLike
from deepcosmo.inference.mass_mapping.methods import MassMap, mass_map
from deepcosmo.physics.catalog import PIXEL_SCALE, ShearMap, SkyGrid, catalog_to_map, complete, impossible

__all__ = ["Coincidence", "FieldMap", "coincidence", "map_field"]


class FieldMap(NamedTuple):
    """A field on the sky.

    Attributes:
        grid: `SkyGrid` of the pixels.
        data: `ShearMap`, the binned catalogue.
        result: `MassMap`.
        method: of `mass_map`.
    """

    grid: SkyGrid
    data: ShearMap
    result: MassMap
    method: str

    @property
    def signal_to_noise(self) -> np.ndarray | None:
        """Mean over standard deviation (rows, columns), 0 where both are 0; None for methods without."""
        mean, std = self.result.mean, self.result.std
        if mean is None or std is None:
            return None
        return np.divide(mean, std, out=np.zeros_like(mean), where=(mean != 0) | (std != 0))

    def pictured(self) -> dict[str, np.ndarray]:
        """Maps to look at, title -> (rows, columns), NaN where nothing was observed but in samples."""
        mean, std, samples, most_probable = self.result
        seen = {
            "mean": mean,
            "standard deviation": std,
            "signal to noise": self.signal_to_noise,
            "most probable": most_probable,
        }
        seen = {title: np.where(self.data.mask, v, np.nan) for title, v in seen.items() if v is not None}
        samples = [] if samples is None else samples[:8]
        return seen | {f"sample {i + 1}": sample for i, sample in enumerate(samples)}

    def write(self, path: PathLike, header: dict[str, Any] | None = None) -> None:
        """Writes what there is of MEAN, STD, SNR, MAP and SAMPLES, and MASK, as FITS images with their WCS."""
        maps = {
            "mean": self.result.mean,
            "std": self.result.std,
            "snr": self.signal_to_noise,
            "map": self.result.map,
            "samples": self.result.samples,
            "mask": self.data.mask,
        }
        maps = {name: values for name, values in maps.items() if values is not None}
        cards = {"METHOD": (self.method, "of deepcosmo.inference.mass_map"), "NGAL": int(self.data.counts.sum())}
        skymaps.write_maps(path, maps, self.grid.wcs, header=cards | (header or {}))


def map_field(
    catalog: Mapping[str, ArrayLike | None],
    *,
    method: str = "posterior",
    pixel_scale: Number = PIXEL_SCALE,
    grid: SkyGrid | None = None,
    signs: Sequence[int] = (1, 1),
    **options: Any,
) -> FieldMap:
    """Maps the convergence of a field.

    Args:
        catalog: dict with `ra`, `dec` (deg, or Quantities), `e1`, `e2` and perhaps `weight`, (n,) each, as of
            `skymaps.read_catalog`. Galaxies that are masked in any of them do not count.
        method: as of `mass_map`.
        pixel_scale: arcmin, or a Quantity; ignored if there is a `grid`.
        grid: `SkyGrid`; by default one around all galaxies.
        signs: of e1 and e2, see `catalog_to_map`.
        **options: of `mass_map`: `num_samples`, `seed`, and those of the method.

    Returns:
        `FieldMap`

    Raises:
        ValueError: as of `SkyGrid.around`, `catalog_to_map` and `mass_map`.
        FloatingPointError: as of `mass_map`.
    """
    catalog = complete(**{name: values for name, values in catalog.items() if values is not None})
    grid = grid or SkyGrid.around(catalog["ra"], catalog["dec"], pixel_scale=pixel_scale)
    data = catalog_to_map(**catalog, grid=grid, signs=signs)
    result = mass_map(data.shear, data.noise_std, data.mask, pixel_scale=grid.pixel_scale, method=method, **options)
    return FieldMap(grid, data, result, method)


class Coincidence(NamedTuple):
    """Mean convergence at given positions, and at sets of as many random ones.

    Attributes:
        mean: at the positions that lie in observed pixels.
        random_mean, random_std: mean and scatter of that mean over random sets.
        fraction: of random sets with a mean as large.
        size: number of positions used.
    """

    mean: float
    random_mean: float
    random_std: float
    fraction: float
    size: int


def coincidence(
    kappa: ArrayLike,
    field: FieldMap,
    ra: ArrayLike,
    dec: ArrayLike,
    *,
    sets: int = 1000,
    seed: int = 0,
    radius: Number = 0.5,
) -> Coincidence:
    """How much convergence lies at positions, such as those of X-ray clusters, against sets of random positions.

    Args:
        kappa: map (rows, columns). Masked pixels count as not observed.
        field: `FieldMap`; random positions are drawn from its observed pixels.
        ra, dec: positions (n,), deg, or Quantities. Masked ones do not count.
        sets: number of random sets.
        seed: int.
        radius: arcmin, or a Quantity; values are means over a Gaussian of this standard deviation.

    Returns:
        `Coincidence`

    Raises:
        ValueError: no position lies in an observed pixel, or `kappa` holds what is no convergence.
    """
    gaps, values = masked(kappa), in_unit(kappa, "", "kappa")
    if bad := np.count_nonzero(~gaps & (~np.isfinite(values) | impossible(values, 1.0))):
        raise ValueError(f"kappa is not finite, or more than 11 in size, in {bad} pixels: mask them")
    observed = field.data.mask & ~gaps
    width = in_unit(radius, "arcmin", "radius") / field.grid.pixel_scale
    smooth, seen = (scipy.ndimage.gaussian_filter(v, width) for v in (np.where(gaps, 0, values), (~gaps).astype(float)))
    smooth = np.divide(smooth, seen, out=smooth, where=observed).ravel()
    pixel = field.grid.index(ra, dec)
    pixel = pixel[(pixel >= 0) & observed.ravel()[pixel]]
    if not pixel.size:
        raise ValueError("none of the positions lies in an observed pixel")
    mean = smooth[pixel].mean()
    random = smooth[np.random.default_rng(seed).choice(np.flatnonzero(observed), (sets, len(pixel)))].mean(1)
    larger = np.mean(random >= mean)
    return Coincidence(float(mean), float(random.mean()), float(random.std()), float(larger), len(pixel))
