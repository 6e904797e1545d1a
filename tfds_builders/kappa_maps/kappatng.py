"""The official files of kappaTNG (Osato, Liu & Haiman 2021, arXiv:2010.09731): one HDF5 file for each run."""

from pathlib import Path

import numpy as np

from deepcosmo.physics.universe import Cosmology

__all__ = ["COSMOLOGY", "SOURCE_REDSHIFTS", "plane_weights", "read", "runs"]

COSMOLOGY = Cosmology(omega_c=0.3089 - 0.0486, omega_b=0.0486, h=0.6774, n_s=0.9667, sigma_8=0.8159)

# of z00 to z39: multiples of 102.5 Mpc/h, half the box of IllustrisTNG300
SOURCE_REDSHIFTS = np.array(
    [
        0.0344670,
        0.0695150,
        0.1051819,
        0.1415099,
        0.1785450,
        0.2163319,
        0.2549210,
        0.2943630,
        0.3347129,
        0.3760270,
        0.4183680,
        0.4617990,
        0.5063870,
        0.5522050,
        0.5993290,
        0.6478380,
        0.6978180,
        0.7493610,
        0.8025610,
        0.8575220,
        0.9143520,
        0.9731680,
        1.034093,
        1.097260,
        1.162811,
        1.230896,
        1.301678,
        1.375330,
        1.452040,
        1.532007,
        1.615449,
        1.702597,
        1.793703,
        1.889038,
        1.988896,
        2.093596,
        2.203481,
        2.318928,
        2.440344,
        2.568175,
    ]
)


def runs(folder):
    """The HDF5 files below `folder`, in the order of their names."""
    files = sorted(str(path) for pattern in ("*.hdf5", "*.h5") for path in Path(folder).rglob(pattern))
    if not files:
        raise FileNotFoundError(f"no HDF5 files of kappaTNG (*.hdf5, *.h5) below {folder}")
    return files


def plane_weights(z, n):
    """Factors (40,) of the source planes in the convergence of sources n (nz,) at redshifts z (nz,).

    The convergence is linear in redshift between two planes, 0 at redshift 0, and that of the last plane beyond it.
    """
    nodes = np.concatenate([[0.0], SOURCE_REDSHIFTS])
    shares = np.stack([np.interp(z, nodes, one) for one in np.eye(len(nodes))[1:]])
    return np.trapezoid(shares * n, z) / np.trapezoid(n, z)


def read(file, z, n, size):
    """Convergence (size, size), float32, of sources n (nz,) at redshifts z (nz,), from the planes of one run.

    Raises:
        ValueError: a plane is missing or is not of that size.
    """
    import h5py

    kappa = np.zeros((size, size))
    with h5py.File(file) as run:
        for plane, weight in enumerate(plane_weights(z, n)):
            name = f"z{plane:02d}/kappa"
            if name not in run:
                raise ValueError(f"{file} has no data set {name}; a run of kappaTNG has z00/kappa to z39/kappa")
            if run[name].shape != kappa.shape:
                raise ValueError(f"{file}: {name} must have shape {kappa.shape}; it has {run[name].shape}")
            kappa += weight * run[name][:]
    return kappa.astype(np.float32)
