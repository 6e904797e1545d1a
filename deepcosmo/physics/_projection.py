"""What integrals over lenses and sources need to know before there is a cosmology: redshifts, weights and shares."""

from typing import NamedTuple

import numpy as np

from deepcosmo.physics._arguments import as_numbers

__all__ = ["Projection", "equal_steps", "projection", "quadratic_steps", "source_bins"]

PLANES = 160
FIRST = 0.01  # x of the nearest plane: nothing is lost, and no wavenumber is beyond single precision


class Projection(NamedTuple):
    """Redshifts of lens planes, and the sources behind them.

    Attributes:
        z, dz: nodes and weights of integrals over redshift, (planes,).
        near, far: the integral of n(z') (1 - chi/chi') behind plane i is near_i - chi_i * sum over j > i of
            far_j / chi_j, (bins, planes).
    """

    z: np.ndarray
    dz: np.ndarray
    near: np.ndarray
    far: np.ndarray


def source_bins(z, n_z):
    """Redshifts (nz,) and distributions (bins, nz), checked."""
    z, n_z = as_numbers(z, "", "z"), as_numbers(n_z, None, "n_z")
    if z.ndim != 1 or len(z) < 2 or n_z.ndim not in (1, 2) or n_z.shape[-1] != len(z):
        raise ValueError(f"n_z must be (nz,) or (bins, nz) at redshifts z (nz,); got {n_z.shape}, {z.shape}")
    if not (np.all(np.diff(z) > 0) and z[0] >= 0):
        raise ValueError(f"n_z must be given at increasing redshifts that are not negative; got z = {z}")
    if not (np.all(np.isfinite(n_z)) and np.all(n_z >= 0) and np.all(n_z.sum(-1) > 0)):
        raise ValueError("n_z must be finite, not negative, and not zero everywhere")
    return z, np.atleast_2d(n_z)


def equal_steps(last, count):
    """Midpoints and widths of equal steps in redshift."""
    return last / count * (np.arange(count) + 0.5), np.full(count, last / count)


def quadratic_steps(last):
    """Gauss-Legendre nodes and weights of x, z = last x^2: power at large scales comes from small redshifts."""
    nodes, weights = np.polynomial.legendre.leggauss(PLANES)
    half = (1.0 - FIRST) / 2
    x = FIRST + half * (1.0 + nodes)
    return last * x**2, 2.0 * last * x * half * weights


def projection(z, n_z, steps, *, discrete=False):
    """The `Projection` at `steps`, redshifts and weights; where `discrete`, sources lie on these planes too."""
    at, dz = x, dx = steps
    if not discrete:  # four nodes between each two redshifts of planes or sources: n(z) is linear there
        nodes, weights = np.polynomial.legendre.leggauss(4)
        edges = np.unique(np.concatenate([at, z]))
        half = np.diff(edges)[:, None] / 2
        x, dx = (edges[:-1, None] + half * (1.0 + nodes)).ravel(), (half * weights).ravel()
    n = np.stack([np.interp(x, z, row, left=0.0, right=0.0) for row in n_z]) * dx
    n /= n.sum(-1, keepdims=True)
    # z / chi hardly changes: at a source it is linear between the planes before and after it
    place = np.interp(x, at, np.arange(len(at)))
    before = place.astype(int)
    share = place - before

    def summed(values, plane):
        return np.stack([np.bincount(plane, row, len(at)) for row in values])

    here = at * summed(n / x * (1.0 - share), before)
    after = at * summed(n / x * share, np.minimum(before + 1, len(at) - 1))
    behind = np.cumsum(summed(n, before)[:, ::-1], -1)[:, ::-1]
    return Projection(at, dz, behind - here, here + after)
