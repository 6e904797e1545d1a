"""The simulated convergence maps of `kappa_maps`: which universes there are, and how one of them is drawn."""

import functools
import os
from pathlib import Path

import numpy as np
import tqdm

from deepcosmo.physics.universe import Cosmology

__all__ = ["PERIOD", "SPLITS", "lightcone_maps", "lognormal_maps", "n_z", "split_of", "universe"]

# Of simulation numbers modulo 10. (Universes modulo 8 lie in strips of Omega_m: tests would see the ends of it alone.)
PERIOD = 10
SPLITS = {"train": (0, 1, 2, 3, 4, 5), "validation": (6,), "test": (7, 8, 9)}


def universe(simulation):
    """Cosmology number `simulation`: a flat LambdaCDM one of 0.2 < Omega_m < 0.4 and 0.65 < S_8 < 0.95.

    S_8 = sigma_8 (Omega_m / 0.3)^0.5; the points cover the square evenly however many there are (additive recurrence
    with the plastic number). Other parameters are Planck's.
    """
    plastic = 1.32471795724474602596
    u = (0.5 + simulation * plastic ** -np.array([2.0, 1.0])) % 1
    omega_m, s_8 = 0.2 + 0.2 * u[1], 0.65 + 0.3 * u[0]
    sigma_8 = s_8 * (0.3 / omega_m) ** 0.5
    return Cosmology(omega_c=float(omega_m - 0.0486), omega_b=0.0486, h=0.6774, n_s=0.9667, sigma_8=float(sigma_8))


def n_z():
    """Redshifts (nz,) and a smooth n(z) of mean 1.5 like COSMOS' faint galaxies (Schrabback+2010, arXiv:0911.0053)."""
    z = np.linspace(0.0, 5.0, 251)
    return z, z**1.05 * np.exp(-((z / 0.9) ** 1.1))


def split_of(simulation):
    """The split that all maps of a simulation are in."""
    return next(name for name, numbers in SPLITS.items() if simulation % PERIOD in numbers)


def lognormal_maps(simulation, config):
    """Yields the log-normal maps (rows, columns) of a universe."""
    from deepcosmo.physics import cosmology, fields

    parameters, (z, n) = universe(simulation), n_z()
    ell = np.geomspace(2, 1e5, 200)
    c_ell = cosmology.angular_power(parameters, ell, z, n, spin=0, planes=256)  # as of all versions of the data set
    # minus the smallest convergence that ray tracing finds for sources at z (Hilbert et al. 2011, arXiv:1105.3980)
    smallest = np.maximum(0.008 * z + 0.029 * z**2 - 0.0079 * z**3 + 0.00065 * z**4, 0.0)
    shift = np.array([np.sum(n * smallest) / np.sum(n)])
    size = 2 * config.size  # twice the field: it is not periodic then
    for number in range(config.maps):
        kappa = fields.lognormal_maps(
            c_ell, ell, shift, shape=(size, size), pixel_scale=config.pixel_scale, seed=[simulation, number]
        )
        yield kappa.numpy()[0, : config.size, : config.size].astype(np.float32)


def lightcone_maps(simulation, config, folder):
    """Yields the maps (rows, columns) of a universe, from light-cones through one simulation.

    The simulation's lens planes are kept in `folder` and found there by a build that goes on after it was stopped.
    """
    from deepcosmo.physics import lightcone

    file = Path(folder) / f"planes_{config.particles}_{simulation:04d}.npz"
    if not file.exists():
        progress = functools.partial(tqdm.tqdm, desc=f"Simulation {simulation}", leave=False, disable=None)
        planes = lightcone.lens_planes(
            universe(simulation), particles=config.particles, seed=simulation, progress=progress
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f"{os.getpid()}_{file.name}")  # so that a file is there as a whole or not at all
        planes.save(part)
        os.replace(part, file)
    with file.open("rb") as stored:
        planes = lightcone.LensPlanes.load(stored)
    z, n = n_z()
    for number in range(config.maps):
        kappa = lightcone.convergence(
            planes, z, n, shape=(config.size, config.size), pixel_scale=config.pixel_scale, seed=[simulation, number]
        )
        yield kappa.numpy()[0]
