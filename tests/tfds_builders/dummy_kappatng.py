"""Made-up files of kappaTNG, of a few pixels."""

import h5py
import numpy as np


def plane(run, number, size=16):
    return np.random.default_rng([run, number]).normal(0, 0.02, (size, size))


def write(folder, size=16):
    """Eight runs into a folder (a path)."""
    for run in range(8):
        with h5py.File(folder / f"run{run:03d}.hdf5", "w") as file:
            for number in range(40):
                file[f"z{number:02d}/kappa"] = plane(run, number, size)
