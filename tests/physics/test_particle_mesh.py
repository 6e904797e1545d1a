"""The particle mesh: mass in cells, linear growth, determinism."""

import numpy as np
import pytest
import tensorflow as tf
from astropy import units

from deepcosmo.physics import cosmology, particle_mesh

PLANCK = cosmology.Cosmology(omega_c=0.26, omega_b=0.0486, h=0.6774, n_s=0.9667, sigma_8=0.8159)


def test_clouds_share_their_mass():
    """A cloud a quarter of a cell off a node leaves 3/4 there, along each axis; the box is periodic."""
    mesh = particle_mesh.paint(tf.constant([[0.0625, 0.5, 0.9375]]), 4).numpy() / 4**3
    expected = np.zeros((4, 4, 4))
    for i, a in ((0, 0.75), (1, 0.25)):
        for k, b in ((3, 0.25), (0, 0.75)):
            expected[i, 2, k] = a * b
    np.testing.assert_allclose(mesh, expected, atol=1e-6)


def test_projections_are_those_of_the_mesh():
    positions = tf.constant(np.random.default_rng(0).uniform(size=(5000, 3)).astype("f4"))
    mesh = particle_mesh.paint(positions, 16).numpy()
    assert mesh.mean() == pytest.approx(1, abs=1e-5)
    for axis in range(3):
        np.testing.assert_allclose(particle_mesh.project(positions, 16, axis), mesh.mean(axis), atol=2e-4)


@pytest.fixture(scope="module")
def linear():
    """Meshes at two redshifts of a universe that is nearly smooth."""
    smooth = PLANCK._replace(sigma_8=0.02)
    run = particle_mesh.evolve(smooth, [3.0, 0.0], box=300.0, particles=32, mesh=32, step=0.05, seed=3)
    return smooth, {z: np.fft.rfftn(particle_mesh.paint(x, 32).numpy()) for z, x in run}


def large_scales():
    n = np.fft.fftfreq(32) * 32
    number = np.sqrt(n[:, None, None] ** 2 + n[None, :, None] ** 2 + np.arange(17) ** 2)
    return (number > 0) & (number < 6), number


def test_smooth_universes_grow_linearly(linear):
    """Mode by mode, with the growth factor, to 2%."""
    smooth, modes = linear
    chosen, _ = large_scales()
    early, late = modes[3.0][chosen], modes[0.0][chosen]
    growth = np.sum(np.conj(early) * late) / np.sum(np.abs(early) ** 2)
    assert growth == pytest.approx(1 / cosmology.growth(smooth, [3.0]).numpy()[0], rel=0.02)
    assert np.sum(np.abs(late - growth * early) ** 2) < 1e-3 * np.sum(np.abs(late) ** 2)


def test_initial_power_is_linear_theorys(linear):
    """Over some 450 independent modes, whose power scatters by 1/sqrt(450) = 5% in the mean."""
    smooth, modes = linear
    chosen, number = large_scales()
    k = 2 * np.pi * number[chosen] / 300
    window = np.ones_like(number)
    for axis in range(3):
        n = np.moveaxis(np.fft.fftfreq(32)[:, None, None], 0, axis) if axis < 2 else np.fft.rfftfreq(32)
        window = window * np.sinc(n) ** 2
    power = np.abs(modes[0.0][chosen] / window[chosen]) ** 2 * 300**3 / 32**6
    expected = cosmology.linear_power(smooth, k, [0.0])[0].numpy()
    assert np.mean(power / expected) == pytest.approx(1, abs=0.15)


def test_same_seed_same_universe():
    def run(seed):
        return [x.numpy() for _, x in particle_mesh.evolve(PLANCK, [2.0, 1.0], box=50.0, particles=16, seed=seed)]

    one, same, other = run(1), run([0, 1]), run(2)
    np.testing.assert_array_equal(one, same)
    assert np.abs(one[1] - other[1]).max() > 0.01
    assert all(x.shape == (16**3, 3) and x.min() >= 0 and x.max() < 1 for x in one)


def test_one_redshift_is_a_number():
    runs = [
        particle_mesh.evolve(PLANCK, z, box=box, particles=8, seed=1)
        for z, box in ((2.0, 50.0), ([2.0], 5e4 * units.kpc))
    ]
    ((z, one),), ((_, same),) = (list(run) for run in runs)
    assert z == 2.0
    np.testing.assert_array_equal(one, same)
    mesh = particle_mesh.paint(one, 8)
    np.testing.assert_array_equal(mesh, particle_mesh.paint(one.numpy().astype(float), 8))
    with pytest.raises(ValueError, match=r"positions must be \(n, 3\).*; got \(512, 2\)"):
        particle_mesh.project(one[:, :2], 8, 0)


@pytest.mark.parametrize("redshifts", [[1.0, 2.0], [9.5], [1.0, 1.0], [-0.1], [], 9.5])
def test_bad_redshifts(redshifts):
    with pytest.raises(ValueError, match="redshifts must decrease"):
        next(particle_mesh.evolve(PLANCK, redshifts, box=50.0, particles=8))
