"""Sérsic fits: drawing against GalSim, recovery of parameters, real stamps against a brute multi-start."""

import galsim
import numpy as np
import pytest
from conftest import shared

from deepcosmo.metrics import residuals, sersic_fit

SCALE, NOISE = 0.03, 0.003
PSF = galsim.Moffat(beta=3, fwhm=0.1).drawImage(nx=65, ny=51, scale=SCALE, method="no_pixel").array
# flux, x, y (px), log r_e (px), eta1, eta2, n
GALAXIES = {
    "disc": np.array([10, 1.7, -0.6, np.log(10), 0.3, 0.5, 1.0]),
    "bulge": np.array([10, 0.4, 0.3, np.log(12), -0.2, 0.1, 4.0]),
    "edge-on": np.array([30, -0.5, 1.2, np.log(14), -0.9, 0.7, 2.3]),
    "flat": np.array([6, 0.0, 0.0, np.log(6), 0.0, 0.0, 0.5]),
}


def galsim_image(parameters, shape=(128, 128)):
    flux, x, y, log_radius, eta1, eta2, n = parameters
    precise = galsim.GSParams(folding_threshold=1e-4, maximum_fft_size=32000)
    profile = galsim.Sersic(n, half_light_radius=np.exp(log_radius) * SCALE, flux=flux, gsparams=precise)
    profile = profile.shear(eta1=eta1, eta2=eta2).shift(x * SCALE, y * SCALE)
    # GalSim centres images between the two middle pixels where their number is even; the PSF's is odd.
    psf = galsim.InterpolatedImage(galsim.Image(PSF, scale=SCALE), flux=1)
    size = {"nx": shape[1], "ny": shape[0], "scale": SCALE, "method": "no_pixel"}
    return galsim.Convolve(profile, psf).drawImage(**size).array


def parameters_of(fit):
    eta = -np.log(fit.q)
    angle = 2 * fit.position_angle
    radius = np.log(fit.half_light_radius / SCALE)
    return np.array([fit.flux, fit.x / SCALE, fit.y / SCALE, radius, eta * np.cos(angle), eta * np.sin(angle), fit.n])


@pytest.mark.parametrize("name", GALAXIES)
def test_profiles_agree_with_galsim(name):
    ours = sersic_fit._Profile((128, 128), PSF / PSF.sum()).draw(GALAXIES[name])[0]
    np.testing.assert_allclose(ours, galsim_image(GALAXIES[name]), atol=0.05 * NOISE)


@pytest.mark.parametrize("name", GALAXIES)
def test_jacobian(name):
    profile = sersic_fit._Profile((64, 50), PSF / PSF.sum())
    parameters = GALAXIES[name] + 1e-3  # eta = 0 is a minimum of nothing, but finite differences straddle it
    image, *jacobian = profile.draw(parameters, derivatives=True)
    np.testing.assert_allclose(image, profile.draw(parameters)[0], atol=1e-12)
    for step, analytic in zip(1e-3 * np.eye(7), jacobian, strict=True):
        numeric = (profile.draw(parameters + step)[0] - profile.draw(parameters - step)[0]) / 2e-3
        np.testing.assert_allclose(analytic, numeric, atol=5e-3 * np.abs(numeric).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["disc", "bulge", "edge-on"])
def test_parameters_are_recovered_within_their_errors(name):
    """Eight noise realisations: pulls (fit - truth) / Fisher error have mean 0 and variance 1; chi^2 is 1."""
    truth, clean = GALAXIES[name], galsim_image(GALAXIES[name])
    jacobian = sersic_fit._Profile(clean.shape, PSF / PSF.sum()).draw(truth, derivatives=True)[1:].reshape(7, -1)
    error = NOISE * np.sqrt(np.diag(np.linalg.inv(jacobian @ jacobian.T)))
    rng = np.random.default_rng(0)
    noise = NOISE * rng.standard_normal((8, *clean.shape))
    fits = [sersic_fit.fit(clean + n, PSF, NOISE) for n in noise]
    pulls = (np.array([parameters_of(fit) for fit in fits]) - truth) / error
    assert (np.abs(pulls.mean(axis=0)) < 4 / np.sqrt(8)).all(), pulls.mean(axis=0)
    assert 0.5 < pulls.std() < 1.5
    chi2 = [fit.chi2 for fit in fits]
    assert abs(np.mean(chi2) - 1) < 4 * np.sqrt(2 / noise.size)
    # The fit is no worse than the truth, and uses up about one degree of freedom a parameter.
    gain = clean.size * (residuals.chi2_per_pixel(noise, 0 * noise, NOISE) - chi2)
    assert (gain > 0).all() and abs(gain.mean() - 7) < 4 * np.sqrt(14 / 8)


def test_correlated_noise():
    """With the noise's spectrum chi^2 is 1, and lower than that of fits that take the noise for white."""
    k = np.fft.fftfreq(64)
    power = np.exp(-40 * (k[:, None] ** 2 + k**2)) + 0.02
    power /= power.mean()
    truth = GALAXIES["disc"] * [1, 0, 0, 1, 1, 1, 1] - [0, 0, 0, 0.5, 0, 0, 0]
    clean = galsim_image(truth, (64, 64))
    rng = np.random.default_rng(1)
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((8, 64, 64))) * np.sqrt(power)).real
    images = clean + NOISE * noise
    coloured = [sersic_fit.fit(image, PSF, NOISE, noise_power=power) for image in images]
    white = [sersic_fit.fit(image, PSF, NOISE) for image in images]
    assert abs(np.mean([fit.chi2 for fit in coloured]) - 1) < 4 * np.sqrt(2 / noise.size)
    models = np.stack([fit.model for fit in white])
    worse = residuals.chi2_per_pixel(images, models, NOISE, noise_power=power)
    assert (worse > [fit.chi2 for fit in coloured]).all()


def test_mask_hides_a_neighbour():
    truth = GALAXIES["disc"]
    rng = np.random.default_rng(2)
    image = galsim_image(truth) + NOISE * rng.standard_normal((128, 128))
    mask = np.ones((128, 128), bool)
    mask[90:120, 90:120] = False
    image[95:115, 95:115] += 0.1
    fit = sersic_fit.fit(image, PSF, NOISE, mask=mask)
    assert abs(fit.chi2 - 1) < 4 * np.sqrt(2 / mask.sum())
    np.testing.assert_allclose([fit.flux, fit.n], truth[[0, 6]], rtol=0.15)
    image[~mask] = np.nan
    np.testing.assert_allclose(sersic_fit.fit(image, PSF, NOISE, mask=mask).chi2, fit.chi2, rtol=1e-3)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"image": np.ones((1, 32, 32))}, "shapes"),
        ({"image": np.full((32, 32), np.nan)}, "finite"),
        ({"psf": np.zeros((9, 9))}, "positive sum"),
        ({"psf": np.full((9, 9), np.nan)}, "finite"),
        ({"noise_std": -1.0}, "noise_std must be positive"),
        ({"noise_power": np.ones((9, 9))}, "noise_power must be positive, of shape"),
        ({"mask": np.zeros((32, 32), bool)}, "no pixel"),
        ({"mask": np.ones((3, 3), bool)}, "mask"),
    ],
)
def test_bad_input(change, message):
    arguments = {"image": np.ones((32, 32)), "psf": np.ones((9, 9)), "noise_std": 1.0} | change
    with pytest.raises(ValueError, match=message):
        sersic_fit.fit(**arguments)


@pytest.mark.slow
def test_real_stamps_no_worse_than_many_random_starts(monkeypatch):
    catalogue = galsim.RealGalaxyCatalog("real_galaxy_catalog.fits", dir=str(shared("cosmos_real_stamps")))
    chosen = range(0, catalogue.nobjects, 4)
    stamps = [
        (catalogue.getGalImage(i).array, catalogue.getPSFImage(i).array, catalogue.variance[i] ** 0.5) for i in chosen
    ]
    ours = [sersic_fit.fit(*stamp).chi2 for stamp in stamps]
    rng = np.random.default_rng(3)
    spread = [0, 1.5, 1.5, 0.7, 0.5, 0.5]
    first_guesses = sersic_fit._starts

    def random_starts(image, psf, profile, indices):
        (guess,) = first_guesses(image, psf, profile, [1.0])
        low, high = profile.bounds()
        for n in rng.uniform(0.35, 6, 8):
            start = np.append(guess[:6] + spread * rng.standard_normal(6), n)
            yield np.clip(start, np.add(low, 1e-3), np.subtract(high, 1e-3))

    monkeypatch.setattr(sersic_fit, "_starts", random_starts)
    brute = [sersic_fit.fit(*stamp).chi2 for stamp in stamps]
    pixels = [image.size for image, _, _ in stamps]
    assert (np.subtract(ours, brute) * pixels < 0.1).all()  # in chi^2, where 1 is one sigma
    assert 0.9 < np.median(ours) < 1.3
