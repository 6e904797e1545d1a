"""Light-cones: weights of the planes, straight and bent rays, files."""

import numpy as np
import pytest
from astropy import units
from conftest import shared

from deepcosmo.physics import cosmology, fields, lightcone
from tests.benchmarks import light_cones
from tfds_builders.kappa_maps.kappatng import COSMOLOGY

PLANCK = cosmology.Cosmology(omega_c=0.26, omega_b=0.0486, h=0.6774, n_s=0.9667, sigma_8=0.8159)


def made_up(amplitude=1.0, planes=24, cells=64):
    """Planes of smooth random density."""
    rng = np.random.default_rng(0)
    k = np.hypot(np.fft.fftfreq(cells)[:, None], np.fft.rfftfreq(cells)) * cells
    noise = np.fft.rfft2(rng.normal(size=(planes, 3, cells, cells))) * np.exp(-((k / 4) ** 2)) * (k > 0)
    density = np.fft.irfft2(noise, (cells, cells))
    density *= amplitude / density.std()
    middles = (np.arange(planes) + 0.5) * 150.0
    z = np.linspace(0, 3, 3000)
    redshifts = np.interp(middles, cosmology.comoving_distance(PLANCK, z), z)
    return lightcone.LensPlanes(PLANCK, 150.0, redshifts, [d.astype("f2") for d in density])


def test_weights_are_the_lensing_efficiency():
    planes = made_up()
    z = np.linspace(0, 0.95, 200)
    sources = np.exp(-0.5 * ((z - 0.7) / 0.08) ** 2)
    weights = lightcone.lensing_weights(planes, z, sources)
    at, q = cosmology.lensing_efficiency(PLANCK, z, sources)
    chi = cosmology.comoving_distance(PLANCK, at).numpy()
    middles = (np.arange(24) + 0.5) * 150.0
    inside = middles < chi[-1] - 150
    np.testing.assert_allclose(weights[0, inside] / 150, np.interp(middles, chi, q[0])[inside], rtol=0.01, atol=2e-7)


def test_one_plane_of_waves():
    """A wave of density across one plane is a wave of convergence, weighted and scaled with distance."""
    planes = made_up()
    wave = np.cos(2 * np.pi * np.arange(64) / 64)[:, None] * np.ones(64)
    only = [np.zeros((3, 64, 64), "f2") for _ in planes.densities]
    only[9] = np.stack([wave] * 3).astype("f2")
    kappa = lightcone.convergence(planes._replace(densities=only), [0.8], shape=(256, 256), pixel_scale=1.0).numpy()[0]
    weight = lightcone.lensing_weights(planes, [0.8])[0, 9]
    assert np.abs(kappa).max() == pytest.approx(weight, rel=5e-3)
    along = kappa if np.ptp(kappa[:, 0]) > np.ptp(kappa[0]) else kappa.T
    period = 150 / (9.5 * 150) / np.radians(1 / 60)
    spectrum = np.abs(np.fft.rfft(along[:, 0], 1 << 14))
    assert (1 << 14) / spectrum.argmax() == pytest.approx(period, rel=0.05)


def test_bent_rays_differ_to_second_order():
    """Deflections change the convergence by a share that is proportional to the density."""
    changes = []
    for amplitude in (0.5, 1.0):
        planes = made_up(amplitude)
        straight, bent = (
            lightcone.convergence(planes, [0.9], shape=(64, 64), pixel_scale=1.0, seed=4, ray_traced=r).numpy()
            for r in (False, True)
        )
        changes.append(np.std(bent - straight) / np.std(straight))
    assert 1e-4 < changes[0] < 0.05
    assert changes[1] / changes[0] == pytest.approx(2, rel=0.15)


def test_the_nearest_plane_is_not_deflected():
    planes = made_up(planes=24)
    only = [d if i == 0 else np.zeros_like(d) for i, d in enumerate(planes.densities)]
    planes = planes._replace(densities=only)
    straight, bent = (
        lightcone.convergence(planes, [0.9], shape=(48, 48), pixel_scale=2.0, ray_traced=r).numpy()
        for r in (False, True)
    )
    np.testing.assert_allclose(bent, straight, atol=2e-3 * np.abs(straight).max())


def test_cones_are_different_and_repeatable():
    planes = made_up()
    one, same, other = (lightcone.convergence(planes, [0.5, 0.9], shape=(40, 56), seed=s).numpy() for s in (1, 1, 2))
    assert one.shape == (2, 40, 56)
    np.testing.assert_array_equal(one, same)
    assert np.abs(np.corrcoef(one[1].ravel(), other[1].ravel())[0, 1]) < 0.6


def test_one_source_redshift_is_a_number():
    planes = made_up()
    np.testing.assert_array_equal(lightcone.lensing_weights(planes, 0.8), lightcone.lensing_weights(planes, [0.8])[0])
    one, same = (
        lightcone.convergence(planes, z, shape=(16, 24), pixel_scale=s, seed=1).numpy()
        for z, s in ((0.8, 1 * units.arcmin), ([0.8], 1.0))
    )
    np.testing.assert_array_equal(one, same[0])
    with pytest.raises(ValueError, match="n_z must be"):
        lightcone.lensing_weights(planes, 0.8, 1.0)


def test_sources_beyond_the_planes_are_refused():
    with pytest.raises(ValueError, match="sources must lie within the planes"):
        lightcone.lensing_weights(made_up(), [2.0])


def test_planes_on_disk(tmp_path):
    planes = made_up()
    planes.save(tmp_path / "planes.npz")
    again = lightcone.LensPlanes.load(tmp_path / "planes.npz")
    assert again.cosmology == planes.cosmology and again.box == planes.box
    np.testing.assert_array_equal(again.redshifts, planes.redshifts)
    for ours, theirs in zip(planes.densities, again.densities, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_small_simulation_end_to_end():
    """Spectra of 24 cones of one coarse simulation: within 35% of halofit's where it resolves them."""
    planes = lightcone.lens_planes(PLANCK, box=100.0, particles=32, max_redshift=0.8, step=0.05, seed=1)
    assert abs(planes.redshifts[-1] - 0.8) < 0.05
    maps = [lightcone.convergence(planes, [0.75], shape=(96, 96), pixel_scale=1.5, seed=[1, i]) for i in range(24)]
    ell, power = fields.measured_power(np.stack(maps), pixel_scale=1.5, edges=[300.0, 600.0])
    z = np.linspace(0, 0.8, 401)
    theory = cosmology.angular_power(PLANCK, ell, z, np.exp(-0.5 * ((z - 0.75) / 0.005) ** 2), spin=0)[0, 0]
    assert power.numpy()[:, 0, 0].mean() == pytest.approx(theory.numpy()[0], rel=0.35)


@pytest.mark.slow
def test_a_simulation_in_full_is_like_halofit_and_kappatng():
    """The benchmark's comparison, with 16 cones of one box, whose own scatter widens the 10% and 15% of several."""
    planes = lightcone.lens_planes(COSMOLOGY, seed=1000)
    _, ratios = light_cones.spectra([planes], 16)
    assert np.all(np.abs(ratios - 1) < 0.2) and np.sqrt(np.mean((ratios - 1) ** 2)) < 0.12
    reference = np.load(shared("theory/kappaTNG_statistics.npz"))
    for _, name, _, ratio, scatter in light_cones.ratios_to_kappatng([planes], 16, reference):
        if name in ("pdf", "peaks_per_deg2"):
            assert np.mean(np.abs(ratio - 1) < np.maximum(0.15, scatter)) > 0.8
            assert np.all(np.abs(ratio - 1) < np.maximum(0.3, 2 * scatter))
