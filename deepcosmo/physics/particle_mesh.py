"""N-body simulations by particle mesh: 2LPT initial conditions, FastPM's kicks and drifts, cloud-in-cell painting.

    for z, positions in evolve(cosmology, redshifts, box=150.0, particles=192, seed=0):
        density = paint(positions, 256)

One simulation is a periodic box of `box` comoving Mpc. Positions are (particles^3, 3), float32, in units of the box,
in [0, 1); the first axis of meshes is the first coordinate. Each (cosmology, seed) has the same answer every time.
"""

import functools
import itertools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from deepcosmo._seeds import stateless_seed
from deepcosmo._types import Number, Seed, TensorLike
from deepcosmo.physics._arguments import as_numbers, as_tensor
from deepcosmo.physics.cosmology import growth, growth_rate, hubble_rate, linear_power
from deepcosmo.physics.universe import Cosmology

__all__ = ["evolve", "paint", "project"]

FIRST_REDSHIFT = 9.0


def _wave_numbers(n):
    """2 pi times the frequencies of `tf.signal.rfft3d` of an (n, n, n) mesh, per box: three broadcastable arrays."""
    full, half = (2 * np.pi * n * f(n) for f in (np.fft.fftfreq, np.fft.rfftfreq))
    return [v.astype("f4") for v in (full[:, None, None], full[None, :, None], half[None, None, :])]


def _without_nyquist(k):
    """Odd functions of a real field have nothing at the Nyquist frequency."""
    return np.where(np.abs(k) == np.abs(k).max(), 0.0, k).astype("f4") if k.size % 2 == 0 else k


# ---- clouds in cells


def _clouds(coordinates, size):
    """(index, weight) of the 2^d cells that the clouds at `coordinates` (d tensors, in [0, 1)) overlap."""
    along = []
    for x in coordinates:
        x = x * size
        cell = tf.floor(x)
        share, cell = x - cell, tf.cast(cell, tf.int32)
        along.append(((cell % size, 1.0 - share), ((cell + 1) % size, share)))
    overlaps = [(0, 1.0)]
    for pair in along:
        overlaps = [(index * size + i, weight * w) for index, weight in overlaps for i, w in pair]
    return overlaps


def _coordinates(positions):
    positions = tf.cast(as_tensor(positions, "", "positions"), tf.float32)
    if positions.shape.rank != 2 or positions.shape[1] != 3:
        raise ValueError(f"positions must be (n, 3), in units of the box; got {positions.shape}")
    return tf.unstack(positions, axis=1)


@tf.function(jit_compile=True)
def _painted(coordinates, size):
    mesh = tf.zeros([size ** len(coordinates)])
    for index, weight in _clouds(coordinates, size):
        mesh = tf.tensor_scatter_nd_add(mesh, index[:, None], weight)
    return mesh


def paint(positions: TensorLike, size: int) -> tf.Tensor:
    """Density of particles over its mean, by cloud in cell (Hockney & Eastwood 1981).

    Args:
        positions: (n, 3), in units of the box.
        size: cells per side.

    Returns:
        (size, size, size), of mean 1.
    """
    coordinates = _coordinates(positions)
    mesh = _painted(tuple(coordinates), size)
    return tf.reshape(mesh, [size] * 3) * (size**3 / coordinates[0].shape[0])


def project(positions: TensorLike, size: int, axis: int) -> tf.Tensor:
    """Surface density of particles over its mean, seen along `axis`: (size, size), of the other two axes in order."""
    coordinates = _coordinates(positions)
    mesh = _painted(tuple(coordinates[:axis] + coordinates[axis + 1 :]), size)
    return tf.reshape(mesh, [size] * 2) * (size**2 / coordinates[0].shape[0])


@tf.function(jit_compile=True)
def _kicked(momenta, positions, forces, factor):
    """Momenta after `factor` times the force, meshes (3 of them), at the positions."""
    size = forces[0].shape[0]
    overlaps = _clouds(tf.unstack(positions, axis=1), size)
    kicks = [sum(weight * tf.gather(tf.reshape(force, [-1]), index) for index, weight in overlaps) for force in forces]
    return momenta + factor * tf.stack(kicks, 1)


@tf.function
def _forces(density):
    """Minus the gradient of the inverse Laplacian of the density, in units of the box: three meshes."""
    size = density.shape[0]
    k = _wave_numbers(size)
    square = sum(v**2 for v in k)
    square[0, 0, 0] = 1.0
    # clouds blur the density when painted and the force when read: their window, twice, is taken out
    window = functools.reduce(np.multiply, [np.sinc(v / (2 * np.pi * size)) for v in k])
    modes = tf.signal.rfft3d(density) * (1.0 / (square * window**4)).astype("f4")
    return tuple(tf.signal.irfft3d(tf.complex(0.0, _without_nyquist(v)) * modes, [size] * 3) for v in k)


# ---- initial conditions


def _displacements(cosmology, box, particles, seed):
    """First and second order displacements of 2LPT for unit growth, each (particles, particles, particles, 3)."""
    k = _wave_numbers(particles)
    square = sum(v**2 for v in k)
    square[0, 0, 0] = 1.0
    length = np.sqrt(square).astype("f8")
    table = np.geomspace(length.min(), length.max(), 512)
    power = linear_power(cosmology, table / box, 0.0).numpy() / box**3
    amplitude = np.exp(0.5 * np.interp(np.log(length), np.log(table), np.log(power)))
    amplitude[0, 0, 0] = 0.0
    noise = tf.random.stateless_normal([particles] * 3, stateless_seed(seed))
    # modes of unit-variance noise have variance n^3; those of the density need n^6 P / V
    potential = tf.signal.rfft3d(noise) * (-amplitude * particles**1.5 / square).astype("f4")
    odd = [_without_nyquist(v) for v in k]

    def back(modes):
        return tf.signal.irfft3d(modes, [particles] * 3)

    def displaced(potential):
        return tf.stack([back(tf.complex(0.0, -v) * potential) for v in odd], -1)

    xx, yy, zz = (back(-(v**2) * potential) for v in k)
    source = xx * yy + xx * zz + yy * zz
    for i, j in ((0, 1), (0, 2), (1, 2)):
        source -= back(-odd[i] * odd[j] * potential) ** 2
    second = tf.signal.rfft3d(source) * (-1.0 / square).astype("f4")
    return displaced(potential), -displaced(second)


# ---- time


class _Clock:
    """Growth D and G = a^3 H/H_0 dD/da at scale factors: with them kicks and drifts follow linear growth exactly."""

    def __init__(self, cosmology):
        a = np.geomspace(0.5 / (1 + FIRST_REDSHIFT), 1.0, 512)
        z = 1 / a - 1
        d = growth(cosmology, z).numpy()
        g = a**2 * hubble_rate(cosmology, z).numpy() * d * growth_rate(cosmology, z).numpy()
        self._log_a, self._log_d, self._log_g = np.log(a), np.log(d), np.log(g)

    def d(self, a):
        return np.exp(np.interp(np.log(a), self._log_a, self._log_d))

    def g(self, a):
        return np.exp(np.interp(np.log(a), self._log_a, self._log_g))


def evolve(
    cosmology: Cosmology,
    redshifts: ArrayLike,
    *,
    box: Number,
    particles: int,
    mesh: int | None = None,
    step: float = 0.04,
    seed: Seed = 0,
) -> Iterator[tuple[float, tf.Tensor]]:
    """Positions of the particles of one simulation at redshifts.

    Steps are those of FastPM (Feng et al. 2016, arXiv:1603.00476), whose kicks and drifts are exact for linear growth,
    from second-order Lagrangian perturbation theory at redshift 9.

    Args:
        cosmology: `Cosmology` of numbers.
        redshifts: decreasing, below 9; or one number.
        box: side, comoving Mpc.
        particles: per side.
        mesh: cells per side in which forces are computed; by default 2 `particles`.
        step: largest step in scale factor; there is a step at each redshift besides. 0.012 is converged to 3% of the
            power at k = 2/Mpc; 0.04 loses a quarter of it there, where haloes are thinned out.
        seed: int or int32[2].

    Yields:
        (redshift, positions (particles^3, 3) in units of the box), one after the other: keep what you need.
    """
    box, redshifts = float(as_numbers(box, "Mpc", "box")), as_numbers(redshifts, "", "redshifts")
    redshifts = np.atleast_1d(redshifts).tolist()
    if not redshifts or np.any(np.diff([FIRST_REDSHIFT, *redshifts]) >= 0) or redshifts[-1] < 0:
        raise ValueError(f"redshifts must decrease and lie in [0, {FIRST_REDSHIFT:g}); got {redshifts}")
    size = mesh or 2 * particles
    clock = _Clock(cosmology)
    times = _times(redshifts, step)
    positions, momenta = _start(cosmology, clock, times[0], box, particles, seed)
    known = times[0]  # scale factor of the momenta
    wanted = dict(zip(1 / (1 + np.array(redshifts)), redshifts, strict=True))
    for a, following in itertools.pairwise(times):
        middle = np.sqrt(a * following)
        forces = _forces(paint(positions, size))
        kick = (clock.g(middle) - clock.g(known)) / clock.d(a)
        drift = (clock.d(following) - clock.d(a)) / clock.g(middle)
        momenta = _kicked(momenta, positions, forces, tf.constant(kick, tf.float32))
        positions = _drifted(positions, momenta, tf.constant(drift, tf.float32))
        known = middle
        if following in wanted:
            yield wanted[following], positions


def _times(redshifts, step):
    """Scale factors from the first to the last, with all redshifts among them and no step larger than `step`."""
    times = [1 / (1 + FIRST_REDSHIFT)]
    for a in 1 / (1 + np.array(redshifts)):
        times += list(np.linspace(times[-1], a, 1 + int(np.ceil((a - times[-1]) / step)))[1:])
    return times


@tf.function(jit_compile=True)
def _drifted(positions, momenta, factor):
    moved = positions + factor * momenta
    return moved - tf.floor(moved)


def _start(cosmology, clock, a, box, particles, seed):
    """Positions and momenta a^3 H/H_0 dx/da at scale factor `a`."""
    first, second = (tf.reshape(v, [-1, 3]) for v in _displacements(cosmology, box, particles, seed))
    d = clock.d(a)
    matter = (cosmology.omega_c + cosmology.omega_b) / a**3 / hubble_rate(cosmology, 1 / a - 1).numpy() ** 2
    d2 = -3 / 7 * matter ** (-1 / 143) * d**2
    rate2 = clock.g(a) / d * 2 * matter ** (6 / 11 - 5 / 9)  # a^2 H/H_0 times dlnD2/dlna = 2 Omega_m^(6/11)
    side = (tf.range(particles, dtype=tf.float32) + 0.5) / particles
    lattice = tf.reshape(tf.stack(tf.meshgrid(side, side, side, indexing="ij"), -1), [-1, 3])
    positions = _drifted(lattice, first * d + second * d2, tf.constant(1.0))
    return positions, first * clock.g(a) + second * (d2 * rate2)
