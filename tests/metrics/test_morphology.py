"""Morphology against analytic limits; the references integrate radial profiles in one dimension."""

import galsim
import numpy as np
import pytest
import scipy.optimize
from conftest import shared

from deepcosmo.metrics import morphology

SCALE = 0.03


def draw(profile, size=128, offset=(0, 0)):
    return profile.drawImage(nx=size, ny=size, scale=SCALE, method="no_pixel", offset=offset).array


def measure(image, noise_std=1e-5):
    results = morphology.measure(image[None], noise_std=noise_std, pixel_scale=SCALE)
    return {name: values[0] for name, values in results.items()}


class Radial:
    """Petrosian radius, concentration, Gini and M20 of a circle, by sums over 10^6 rings of equal area."""

    def __init__(self, profile, extent):
        self.area = np.linspace(0, extent**2, 1_000_001)[1:]  # r^2
        r = np.sqrt(self.area)
        knots = np.linspace(0, r[-1], 2001)
        self.light = np.exp(np.interp(r, knots, np.log([profile.xValue(knot, 0) for knot in knots])))
        self.growth = np.cumsum(self.light)

    def within(self, radius):
        return np.interp(radius**2, self.area, self.growth)

    @property
    def petrosian(self):
        def excess(r):
            annulus = (self.within(1.25 * r) - self.within(0.8 * r)) / (1.25**2 - 0.8**2)
            return annulus / self.within(r) - 0.2

        return scipy.optimize.brentq(excess, 0.05, np.sqrt(self.area[-1]) / 1.3)

    def concentration(self):
        total = self.within(1.5 * self.petrosian)
        r20, r80 = np.sqrt(np.interp([0.2 * total, 0.8 * total], self.growth, self.area))
        return 5 * np.log10(r80 / r20)

    def gini(self):
        light = np.sort(self.light[self.area < self.petrosian**2])
        n = len(light)
        return ((2 * np.arange(1, n + 1) - n - 1) * light).sum() / light.sum() / (n - 1)

    def m20(self):
        inside = self.area < self.petrosian**2
        light, area = self.light[inside], self.area[inside]
        bright = np.cumsum(light) < 0.2 * light.sum()
        return np.log10((light * area)[bright].sum() / (light * area).sum())


@pytest.mark.parametrize("g1, g2, offset", [(0, 0, (0, 0)), (0.3, 0, (0.3, -0.2)), (-0.1, 0.25, (1.4, 2.6))])
def test_gaussian(g1, g2, offset):
    r = measure(draw(galsim.Gaussian(sigma=0.3, flux=50).shear(g1=g1, g2=g2), offset=offset))
    assert r["flag"] == 0
    np.testing.assert_allclose(
        [r["size"], r["g1"], r["g2"], r["g"], r["rho4"]], [0.3, g1, g2, np.hypot(g1, g2), 2], rtol=1e-3, atol=1e-3
    )
    outside = np.exp(-0.5 * 3.5**2)  # of the Kron aperture: 2.5 first moments are less than 3.5 sigma here
    np.testing.assert_allclose(r["flux"], 50 * (1 - outside), rtol=2e-3)
    np.testing.assert_allclose(r["magnitude"], 25.94 - 2.5 * np.log10(50 * (1 - outside)), atol=2e-3)
    np.testing.assert_allclose(r["asymmetry"], 0, atol=5e-3)
    if g1 == g2 == 0:
        np.testing.assert_allclose(r["half_light_radius"], 0.3 * np.sqrt(2 * np.log(2)), rtol=5e-3)


@pytest.mark.parametrize(
    "profile",
    [
        galsim.Gaussian(sigma=0.35),
        galsim.Sersic(n=1, half_light_radius=0.4),
        galsim.Moffat(beta=2.5, half_light_radius=0.4),
    ],
)
def test_non_parametric_statistics_of_circular_profiles(profile):
    r = measure(draw(profile, 256, offset=(0.2, 0.4)), noise_std=1e-7)
    expected = Radial(profile, 3.5)
    np.testing.assert_allclose(r["concentration"], expected.concentration(), rtol=0.01)
    np.testing.assert_allclose(r["gini"], expected.gini(), rtol=0.015)
    np.testing.assert_allclose(r["m20"], expected.m20(), rtol=0.015)
    np.testing.assert_allclose(r["asymmetry"], 0, atol=0.01)


def test_concentration_grows_with_the_sersic_index_and_gini_follows():
    images = np.stack([draw(galsim.Sersic(n=n, half_light_radius=0.3)) for n in (0.5, 1, 2, 4)])
    r = morphology.measure(images, noise_std=1e-5)
    assert (np.diff(r["concentration"]) > 0.1).all() and (np.diff(r["gini"]) > 0.02).all()
    assert (np.diff(r["m20"]) < -0.1).all() and (np.diff(r["rho4"]) > 0.05).all()


def test_uniform_disc_has_no_inequality():
    y, x = np.mgrid[:128, :128] - 63.5
    r = measure((x**2 + y**2 < 20.5**2).astype(np.float32), noise_std=1e-3)
    assert r["gini"] < 0.25  # the threshold at the Petrosian radius lies beyond the rim: some empty pixels
    np.testing.assert_allclose(r["half_light_radius"], 20.5 * SCALE / np.sqrt(2), rtol=0.01)
    np.testing.assert_allclose(r["flux"], (x**2 + y**2 < 20.5**2).sum(), rtol=0.001)


def test_asymmetry_of_a_companion_is_twice_its_share_of_the_light():
    main = galsim.Gaussian(sigma=0.25, flux=1)
    for share in (0.01, 0.03):
        companion = galsim.Gaussian(sigma=0.06, flux=share).shift(0.66, 0.2)
        r = measure(draw(main + companion), noise_std=1e-6)
        np.testing.assert_allclose(r["asymmetry"], 2 * share / (1 + share), rtol=0.15)


def test_flips_and_transposition():
    rng = np.random.default_rng(0)
    profile = galsim.Sersic(n=1.5, half_light_radius=0.3, flux=20).shear(g1=0.2, g2=0.1) + galsim.Gaussian(
        sigma=0.08, flux=2
    ).shift(0.25, 0.1)
    image = draw(profile) + 0.003 * rng.standard_normal((128, 128)).astype(np.float32)
    r = morphology.measure(np.stack([image, image[::-1], image[:, ::-1], image.T]), noise_std=0.003)
    for name in set(morphology.STATISTICS) - {"g1", "g2"}:
        np.testing.assert_allclose(r[name], r[name][0], rtol=3e-3, atol=1e-3, err_msg=name)
    np.testing.assert_allclose(r["g1"], r["g1"][0] * np.array([1, 1, 1, -1]), atol=1e-4)
    np.testing.assert_allclose(r["g2"], r["g2"][0] * np.array([1, -1, -1, 1]), atol=1e-4)


def test_noise_leaves_the_means():
    """A galaxy of magnitude 23.5 in white noise: biases below a few per cent, well inside the scatter."""
    rng = np.random.default_rng(1)
    profile = galsim.Convolve(
        galsim.Sersic(n=1, half_light_radius=0.3, flux=9.5).shear(g1=0.2), galsim.Gaussian(sigma=0.045)
    )
    clean = draw(profile)
    truth = measure(clean, noise_std=0.003) | {"asymmetry": 0}
    noisy = morphology.measure(clean + 0.003 * rng.standard_normal((150, 128, 128)).astype(np.float32), noise_std=0.003)
    assert (noisy["flag"] == 0).all()
    bias = {
        "size": 0.005,
        "g1": 0.005,
        "rho4": 0.02,
        "magnitude": 0.03,
        "half_light_radius": 0.01,
        "gini": 0.03,
        "m20": 0.1,
        "concentration": 0.1,
        "asymmetry": 0.04,
    }
    for name, bound in bias.items():
        error = noisy[name].std() / np.sqrt(150)
        assert abs(noisy[name].mean() - truth[name]) < bound + 3 * error, name
        assert noisy[name].std() > 0


def test_failures_are_flagged_with_nan():
    rng = np.random.default_rng(2)
    images = 0.003 * rng.standard_normal((3, 64, 64))
    images[1] -= 1  # no positive light at all
    images[2] = draw(galsim.Sersic(n=4, half_light_radius=3, flux=3000), 64)
    r = morphology.measure(images, noise_std=0.003)
    assert r["flag"][1] == morphology.UNDETECTED | morphology.FAILED_MOMENTS
    assert all(np.isnan(r[name][1]) for name in morphology.STATISTICS)
    assert r["flag"][2] & morphology.TRUNCATED and np.isfinite(r["flux"][2])
    assert set(r) == set(morphology.STATISTICS) | {"flag"}
    noise = morphology.measure(rng.standard_normal((60, 48, 48)), noise_std=0.3)  # sources that are no galaxies
    failed = np.isnan([noise[name] for name in morphology.STATISTICS]).any(axis=0)
    assert failed.any() and (noise["flag"][failed] > 0).all()


def test_processes_change_nothing():
    rng = np.random.default_rng(3)
    image = draw(galsim.Exponential(half_light_radius=0.2, flux=10), 64)
    images = (image + 0.003 * rng.standard_normal((6, 64, 64)))[..., None]
    one, two = (morphology.measure(images, noise_std=np.full(6, 0.003), workers=n) for n in (1, 2))
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name])
    assert all(len(v) == 0 for v in morphology.measure(images[:0], noise_std=0.003).values())


@pytest.mark.parametrize(
    "change, message",
    [
        ({"images": np.zeros((32, 32))}, "shape"),
        ({"images": np.zeros((2, 32, 32, 3))}, "shape"),
        ({"images": np.zeros((2, 8, 8))}, "16 pixels"),
        ({"images": np.full((2, 32, 32), np.nan)}, "2 images have NaN"),
        ({"noise_std": -1.0}, "noise_std must be positive"),
        ({"noise_std": np.nan}, "noise_std must be positive"),
        ({"noise_std": np.ones(3)}, "noise_std must be a scalar"),
        ({"pixel_scale": 0}, "pixel_scale"),
        ({"workers": 0}, "workers"),
    ],
)
def test_bad_input(change, message):
    with pytest.raises(ValueError, match=message):
        morphology.measure(**{"images": np.zeros((2, 32, 32)), "noise_std": 1.0} | change)


def test_kron_magnitude_and_half_light_radius_of_real_galaxies():
    """Renderings of fits to real galaxies: what SExtractor saw in their images, to a few per cent."""
    catalogue = galsim.COSMOSCatalog(
        "cosmos_25.2_fits.fits", dir=str(shared("cosmos_catalog")), use_real=False, exclusion_level="none"
    )
    records = catalogue.param_cat
    flux = np.where(records["use_bulgefit"], records["flux"][:, 3], records["flux"][:, 0])
    radius = records["hlr"][:, 0]
    usable = (records["mag_auto"] < 24) & (radius > 0.1) & (radius < 0.8) & (flux > 1)
    chosen = np.random.default_rng(4).choice(np.flatnonzero(usable), 100, replace=False)
    psf = galsim.Gaussian(fwhm=0.1)
    images = np.stack([draw(galsim.Convolve(catalogue.makeGalaxy(int(i), gal_type="parametric"), psf)) for i in chosen])
    r = morphology.measure(images, noise_std=0.00316)
    difference = r["magnitude"] - records["mag_auto"][chosen]
    assert abs(np.median(difference)) < 0.04 and np.median(np.abs(difference)) < 0.09
    ratio = r["half_light_radius"] / (0.03 * records["flux_radius"][chosen])
    assert 0.85 < np.median(ratio) < 1.0  # a Gaussian PSF lacks the wings of the real one
