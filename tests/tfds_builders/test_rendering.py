"""Renderings against careful and default GalSim; noise against GalSim's."""

import galsim
import numpy as np
import pytest
from conftest import shared

from deepcosmo.physics.galaxies import acs_noise_power
from tfds_builders.cosmos_stamps import catalog, generation, psfs, rendering

NOISE_STD = 3.16e-3
CAREFUL = galsim.GSParams(
    folding_threshold=3e-4, maxk_threshold=1e-5, kvalue_accuracy=1e-7, xvalue_accuracy=1e-7, maximum_fft_size=12288
)


def galsim_stamp(components, psf, flux, gsparams=None):
    """What `render` makes, by GalSim."""
    parts = []
    for fraction, n, hlr, q, phi in components:
        part = galsim.Sersic(n, half_light_radius=hlr, flux=fraction, gsparams=gsparams)
        parts.append(part.shear(q=q, beta=phi * galsim.radians))
    image = galsim.Image(np.asarray(psf, float))
    # the PSF's centre is pixel [32, 32], not the middle of the 64 pixels
    psf = galsim.InterpolatedImage(image, scale=0.03, flux=1, offset=(0.5, 0.5), gsparams=gsparams)
    galaxy = galsim.Convolve(galsim.Add(parts), psf, gsparams=gsparams) * flux
    return galaxy.drawImage(nx=128, ny=128, scale=0.03, method="no_pixel", dtype=float).array


GALAXIES = {
    "typical": ([(1.0, 1.05, 0.25, 0.5, 0.7)], 5.0),
    "half a pixel": ([(1.0, 1.0, 0.015, 0.6, 0.2)], 3.0),
    "Gaussian-like": ([(1.0, 0.3, 0.4, 0.4, -0.9)], 10.0),
    "large disc": ([(1.0, 0.8, 1.02, 0.61, 0.3)], 378.0),
    "high n": ([(1.0, 6.0, 0.15, 0.66, 1.2)], 15.0),
    "thin bulge and disc": ([(0.17, 4.0, 0.119, 0.098, -0.33), (0.83, 1.0, 0.444, 0.55, -0.37)], 36.0),
    "thinnest": ([(1.0, 2.0, 0.3, 0.05, 0.5)], 10.0),
    "thin and large": ([(0.3, 4.0, 0.2, 0.06, 2.0), (0.7, 1.0, 0.7, 0.1, 2.0)], 20.0),
    "small high n": ([(1.0, 6.0, 0.04, 0.7, 2.2)], 3.0),
}


@pytest.fixture(scope="module")
def psf():
    return psfs.model_psfs(1)[0]


@pytest.mark.parametrize("name", GALAXIES)
def test_agrees_with_careful_galsim(name, psf):
    components, flux = GALAXIES[name]
    image = rendering.render([components], [psf], [flux])[0]
    error = np.abs(image - galsim_stamp(components, psf, flux, CAREFUL)).max()
    assert error < 1e-3 * NOISE_STD


def test_wings_of_the_largest(psf):
    """A bright de Vaucouleurs giant fills the stamp: what folds back in GalSim's default does not here."""
    components, flux = [(1.0, 4.0, 1.5, 0.8, 0.3)], 1000.0
    image = rendering.render([components], [psf], [flux])[0]
    finest = galsim_stamp(components, psf, flux, CAREFUL)
    # relative to the surface brightness: float32 has 1e-7, and GalSim's own folding remains
    assert np.max(np.abs(image / finest - 1)) < 3e-3
    assert np.abs(image - finest).mean() < np.abs(galsim_stamp(components, psf, flux) - finest).mean()


def test_batches_do_not_matter(psf):
    galaxies, fluxes = zip(*GALAXIES.values(), strict=True)
    together = rendering.render(galaxies, [psf] * len(galaxies), fluxes)
    for i in (0, 5):
        alone = rendering.render([galaxies[i]], [psf], [fluxes[i]])[0]
        np.testing.assert_allclose(alone, together[i], atol=1e-5 * NOISE_STD)


def test_flux_and_centre(psf):
    image = rendering.render([[(1.0, 0.5, 0.2, 1.0, 0.0)]], [psf], [7.0])[0].astype(float)
    assert np.isclose(image.sum(), 7, rtol=1e-4)
    grid = np.arange(128)
    of_psf = [(psf.sum(1) @ np.arange(64)) - 32, (psf.sum(0) @ np.arange(64)) - 32]
    assert np.allclose([image.sum(1) @ grid / 7, image.sum(0) @ grid / 7], 63.5 + np.array(of_psf), atol=5e-3)


@pytest.mark.slow
def test_catalogue_rows_as_galsim_makes_them(psf):
    """A random sample of the real catalogue and its extremes, against `galsim.COSMOSCatalog`."""
    galaxies, _ = catalog.read_catalog(shared("cosmos_catalog"))
    file = catalog.find_catalog("fits", shared("cosmos_catalog"))
    official = galsim.COSMOSCatalog(file.name, dir=str(file.parent), use_real=False, exclusion_level="none")
    row_of = {ident: row for row, ident in enumerate(official.param_cat["IDENT"])}
    rng = np.random.default_rng(3)
    extremes = [int(np.argmax(galaxies[name])) for name in ("hlr", "n", "bulge_hlr", "disk_hlr", "flux")]
    chosen = galaxies[[*rng.integers(0, len(galaxies), 24), *extremes, int(np.argmin(galaxies["q"]))]]
    images = rendering.render([rendering.components(g) for g in chosen], [psf] * len(chosen), chosen["flux"])
    kernel = galsim.InterpolatedImage(galsim.Image(psf.astype(float)), scale=0.03, flux=1, offset=(0.5, 0.5))
    errors, default = [], []
    for galaxy, image in zip(chosen, images, strict=True):
        drawn = []
        for gsparams in (None, CAREFUL):
            profile = official.makeGalaxy(row_of[galaxy["ident"]], gal_type="parametric", gsparams=gsparams)
            try:
                stamp = galsim.Convolve(profile, kernel, gsparams=gsparams)
                drawn.append(stamp.drawImage(nx=128, ny=128, scale=0.03, method="no_pixel", dtype=float).array)
            except galsim.GalSimFFTSizeError:
                drawn.append(None)
        if drawn[1] is not None:
            errors.append(np.abs(image - drawn[1]).max() / NOISE_STD)
            default.append(np.abs(drawn[0] - drawn[1]).max() / NOISE_STD)
    assert len(errors) >= 24
    # Brighter galaxies may differ by more than 1e-3 of the noise: by less than GalSim's own default does.
    assert all(error < max(1e-3, d) for error, d in zip(errors, default, strict=True)), (errors, default)


def test_noise_has_galsims_covariance():
    power, count, lags = acs_noise_power(128), 300, (0, 1, 2, 4, 8)
    ours = np.stack([rendering.draw_noise(generation.generator(i, "noise"), 1, power) for i in range(count)])
    rng = galsim.BaseDeviate(11)
    noise = galsim.getCOSMOSNoise(rng=rng).withVariance(1.0)
    theirs = []
    for _ in range(count):
        image = galsim.ImageF(128, 128, scale=0.03)
        noise.applyTo(image)
        theirs.append(image.array)
    theirs = np.stack(theirs)
    for dy in lags:
        for dx in lags:
            a, b = ((x * np.roll(x, (-dy, -dx), (1, 2))).mean((1, 2)) for x in (ours, theirs))
            error = np.hypot(a.std(), b.std()) / np.sqrt(count)
            assert abs(a.mean() - b.mean()) < 4.5 * error, (dy, dx)


def test_noise_belongs_to_its_galaxy():
    draws = [generation.generator(i, purpose).standard_normal(4) for i in (1, 2) for purpose in ("noise", "psf")]
    assert len({tuple(d) for d in draws}) == 4
    assert np.array_equal(draws[0], generation.generator(1, "noise").standard_normal(4))


def test_components():
    galaxy = np.zeros(1, catalog.COLUMNS)[0]
    for name, value in {"n": 2.5, "hlr": 0.3, "q": 0.5, "phi": 1.0}.items():
        galaxy[name] = value
    assert rendering.components(galaxy) == [(1.0, 2.5, 0.3, 0.5, 1.0)]
    galaxy["use_bulge"], galaxy["bulge_fraction"] = True, 0.25
    bulge, disk = rendering.components(galaxy)
    assert bulge[:2] == (0.25, 4.0) and disk[:2] == (0.75, 1.0)
