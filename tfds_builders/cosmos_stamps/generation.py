"""From catalogue rows to examples: chunks of galaxies that any process can render."""

import dataclasses
import hashlib
import typing

import numpy as np

from tfds_builders.cosmos_stamps import rendering
from tfds_builders.cosmos_stamps.catalog import COLUMNS, ZERO_POINT, check

__all__ = ["CHUNK", "Batch", "Chunk", "attributes", "chunks", "generator", "render_chunk", "simulated_catalog"]

CHUNK = 64  # galaxies; fixed, so that every build rounds alike


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chunk:
    """What a process needs to make a few examples.

    Attributes:
        galaxies: structured array of dtype `catalog.COLUMNS`.
        psfs: float32 (len(galaxies), 64, 64).
        flux: "mag_auto" or "fit".
        noise_std: pixel standard deviation, counts/s.
    """

    galaxies: np.ndarray
    psfs: np.ndarray
    flux: str
    noise_std: float


class Batch(typing.NamedTuple):
    """What a chunk yields: a list of (key, features), and reason -> number of galaxies left out."""

    examples: list
    dropped: dict


def generator(ident, purpose):
    """The random generator of one galaxy for one purpose; it depends on nothing else."""
    digest = hashlib.md5(f"cosmos_stamps:{purpose}:{int(ident)}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def chunks(galaxies, psfs, *, flux, noise_std):
    """Cuts a catalogue into chunks; each galaxy gets one of the `psfs` (n, 64, 64) by its identifier."""
    galaxies = np.sort(galaxies, order="ident")
    for start in range(0, len(galaxies), CHUNK):
        rows = galaxies[start : start + CHUNK]
        chosen = [generator(ident, "psf").integers(len(psfs)) for ident in rows["ident"]]
        yield Chunk(galaxies=rows, psfs=psfs[chosen], flux=flux, noise_std=noise_std)


def simulated_catalog(size, seed=0):
    """Draws `size` galaxies from the published catalogue model `maf_cosmos_catalog`.

    Returns:
        `(galaxies, dropped)` as `catalog.read_catalog` does; the identifier is the number of the draw.
    """
    from deepcosmo import zoo

    drawn = zoo.load("maf_cosmos_catalog").sample(size, seed=seed)
    galaxies = np.zeros(size, COLUMNS)
    for name in COLUMNS.names:
        if name in drawn:
            galaxies[name] = np.asarray(drawn[name])
    galaxies["ident"] = np.arange(size)
    return check(galaxies)


def render_chunk(chunk):
    """The examples of a chunk, as a `Batch`."""
    from deepcosmo.physics.galaxies import acs_noise_power

    galaxies = chunk.galaxies
    fluxes = galaxies["flux"] if chunk.flux == "fit" else 10 ** (-0.4 * (galaxies["mag_auto"] - ZERO_POINT))
    clean = rendering.render([rendering.components(g) for g in galaxies], chunk.psfs, fluxes)
    power = acs_noise_power(rendering.STAMP)
    noise_std = np.float32(chunk.noise_std)
    examples = []
    for galaxy, image, psf, flux in zip(galaxies, clean, chunk.psfs, fluxes, strict=True):
        noise = rendering.draw_noise(generator(galaxy["ident"], "noise"), noise_std, power)
        features = {
            "image": image + noise,
            "clean": image,
            "psf": psf,
            "noise_std": noise_std,
            "attrs": attributes(galaxy, flux=flux),
        }
        examples.append((int(galaxy["ident"]), features))
    return Batch(examples, {})


def attributes(galaxy, **replaced):
    """A catalogue row as the features `attrs`, with some values replaced."""
    values = {name: galaxy[name] for name in COLUMNS.names} | replaced
    types = {"i": np.int64, "b": np.bool_, "f": np.float32}
    return {name: types[COLUMNS[name].kind](value) for name, value in values.items()}
