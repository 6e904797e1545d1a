"""`mass_map`: bad input, Kaiser-Squires, the MAP estimators, seeds, and what loads when."""

import functools
import itertools

import astropy.units as u
import numpy as np
import pytest
import scipy.ndimage
from astropy.utils.masked import Masked
from conftest import python

from deepcosmo.inference import mass_map
from deepcosmo.inference.mass_mapping import priors
from deepcosmo.inference.mass_mapping.methods import METHODS
from deepcosmo.models import KappaScore, KappaUNet
from deepcosmo.physics import fields, lensing

CLASSICAL = ("kaiser_squires", "wiener", "sparse", "tv")
SCALE, NOISE = 0.29, 0.145  # arcmin; per pixel and component, as in COSMOS


@functools.cache
def lognormal(size, skies=2):
    """Convergence and noisy shear in parts of log-normal skies as skewed as ray-traced ones."""
    ell, c_ell = priors.fiducial_spectrum()
    shape, c_ell = (4 * size, 4 * size), c_ell[None, None].astype("float32")
    shift = np.array([0.04], "float32")
    kappa = np.concatenate(
        [fields.lognormal_maps(c_ell, ell, shift, shape=shape, pixel_scale=SCALE, seed=[k, 0]) for k in range(skies)]
    )
    shear = lensing.kappa_to_shear(kappa).numpy() + NOISE * np.random.default_rng(0).normal(size=(skies, *shape, 2))
    return kappa[:, :size, :size], shear[:, :size, :size]


def rmse(found, truth):
    return np.sqrt(np.mean(np.square(found - truth)))


@pytest.mark.parametrize("shape", [(32, 32), (33, 48), (48, 33)])
def test_kaiser_squires_is_the_inversion_smoothed(shape):
    rng = np.random.default_rng(0)
    shear, mask = rng.normal(size=(*shape, 2)), rng.random(shape) > 0.1
    inverted = lensing.shear_to_kappa(np.where(mask[..., None], shear, 0))
    shear[~mask] = np.nan
    smoothed = scipy.ndimage.gaussian_filter(inverted, 1.0 / 0.5, mode="wrap", truncate=7)
    result = mass_map(shear, 1.0, mask, pixel_scale=0.5, method="kaiser_squires")
    np.testing.assert_allclose(result.mean, smoothed, atol=2e-5 * smoothed.std())
    plain = mass_map(shear, 1.0, mask, pixel_scale=0.5, method="kaiser_squires", smoothing=0.0)
    np.testing.assert_allclose(plain.mean, inverted, atol=1e-5 * inverted.numpy().std())
    assert result.samples is result.map is None and result.best is result.mean


@pytest.mark.parametrize("method", ["kaiser_squires", "wiener", "sparse", "tv"])
def test_classical_methods_take_any_noise(method):
    kappa, shear = (v[0] for v in lognormal(64))
    clean = shear - NOISE * np.random.default_rng(0).normal(size=(2, 256, 256, 2))[0, :64, :64]
    for noise in (1e-6, 1e-3, 0.0056, 0.022):
        found = mass_map(clean, noise, pixel_scale=SCALE, method=method, num_samples=1)
        assert np.abs(found.best).max() < 2 * np.abs(kappa).max()


def test_the_published_unet_refuses_noise_that_it_was_not_trained_on():
    noise = np.where(np.arange(64) < 20, 0.05, 0.3) * np.ones((64, 1))
    for noise_std in (0.022, noise):
        with pytest.raises(ValueError, match="unet_kappa takes noise of at least 0.065 .* got 0.0.*'posterior'"):
            mass_map(np.zeros((64, 64, 2)), noise_std, pixel_scale=SCALE, method="unet")


def test_kaiser_squires_propagates_the_noise():
    rng = np.random.default_rng(1)
    shape, count = (32, 40), 100
    noise_std, mask = rng.lognormal(size=(*shape, 2)), rng.random(shape) > 0.3
    maps = [
        mass_map(
            noise_std * rng.normal(size=noise_std.shape), noise_std, mask, pixel_scale=1.0, method="kaiser_squires"
        )
        for _ in range(count)
    ]
    ratio = np.mean([m.mean**2 for m in maps], 0) / maps[0].std ** 2
    assert ratio.mean() == pytest.approx(1, abs=0.03)
    np.testing.assert_allclose(ratio, 1, atol=6 * np.sqrt(2 / count))


@functools.cache
def untrained(method):
    """Options of methods that have a network: a small one."""
    if method in CLASSICAL:
        return {}
    model = {"unet": KappaUNet, "posterior": KappaScore}[method](pixel_scale=SCALE, widths=(4, 8))
    model.spectrum.set(*priors.fiducial_spectrum())
    return {"model": model} | ({"steps": 2} if method == "posterior" else {})


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(32, 32), (33, 48)])
def test_every_method_takes_any_shape_mask_and_noise(method, shape):
    rng = np.random.default_rng(2)
    shear, noise_std = 0.1 * rng.normal(size=(*shape, 2)), rng.uniform(0.05, 0.2, size=shape)
    mask = np.ones(shape, int)
    mask[:20, 4:30] = 0
    shear[mask == 0], noise_std[mask == 0] = np.nan, -1
    result = mass_map(shear, noise_std, mask, pixel_scale=SCALE, method=method, num_samples=2, **untrained(method))
    for array, expected in zip(result, (shape, shape, (2, *shape), shape), strict=True):
        assert array is None or (array.shape == expected and array.dtype == np.float32 and np.isfinite(array).all())
    assert result.best.shape == shape


def test_methods_on_lognormal_maps(monkeypatch):
    """With COSMOS noise every prior beats Kaiser-Squires."""
    monkeypatch.setattr(priors, "PADDING", 20.0)  # faster
    kappa, shear = lognormal(128)
    errors = {}
    for method in CLASSICAL:
        maps = [mass_map(y, NOISE, pixel_scale=SCALE, method=method, num_samples=0).best for y in shear]
        errors[method] = rmse(np.stack(maps), kappa)
    assert max(errors["wiener"], errors["sparse"], errors["tv"]) < errors["kaiser_squires"] < kappa.std()


def starlet(kappa, scales):
    """Wavelet maps by convolution with the spline (1, 4, 6, 4, 1) / 16, its taps ever further apart."""
    maps = [kappa]
    for scale in range(scales):
        kernel = np.zeros(4 * 2**scale + 1)
        kernel[:: 2**scale] = np.array([1, 4, 6, 4, 1]) / 16
        rows = scipy.ndimage.convolve1d(maps[-1], kernel, 0, mode="wrap")
        maps.append(scipy.ndimage.convolve1d(rows, kernel, 1, mode="wrap"))
    return [fine - smooth for fine, smooth in itertools.pairwise(maps)]


@pytest.mark.parametrize("method", ["sparse", "tv"])
def test_map_minimises_its_objective(method, monkeypatch):
    """On a periodic sky: no step in some direction lowers data term plus penalty, as they are written here."""
    monkeypatch.setattr(priors, "grid_shape", lambda shape, pixel_scale: shape)
    size, scales = 64, 5
    truth, shear = (v[0, :size, :size] for v in lognormal(128))
    noise_std = np.where(np.arange(size) < 20, 0.1, NOISE) * np.ones((size, 1))
    mask = np.ones((size, size), bool)
    mask[10:30, 20:50] = False
    power = priors.power_of_modes(None, shape=mask.shape, pixel_scale=SCALE)
    impulse = np.zeros(mask.shape)
    impulse[0, 0] = 1.0

    def starlet_penalty(kappa):
        total = 0.0
        for wavelets, kernel in zip(starlet(kappa, scales), starlet(impulse, scales), strict=True):
            variance = np.sum(kernel * np.fft.irfft2(power * np.fft.rfft2(kernel), mask.shape))
            total += 0.5 * np.sum(kernel**2) / np.sqrt(variance) * np.abs(wavelets).sum()
        return total

    def variation(kappa):
        steps = [np.roll(kappa, -1, axis) - kappa for axis in (0, 1)]
        return np.sqrt(np.mean(1 / noise_std[mask] ** 2)) * np.hypot(*steps).sum()

    def objective(kappa):
        residual = (shear - lensing.kappa_to_shear(kappa).numpy()) / noise_std[..., None]
        return 0.5 * np.sum(residual[mask] ** 2) + (starlet_penalty if method == "sparse" else variation)(kappa)

    found = mass_map(shear, noise_std, mask, pixel_scale=SCALE, method=method).map.astype(float)
    lowest, others = objective(found), np.random.default_rng(4).normal(size=(3, *mask.shape))
    others = [0 * truth, 2 * found, truth, *scipy.ndimage.gaussian_filter(0.1 * others, (0, 2, 2))]
    assert np.std(found) > 1e-3
    for other in others:
        for step in (0.01, 0.1, 1.0):
            assert objective(found + step * (other - found)) > lowest


def test_seeds():
    shear = lognormal(128)[1][0, :40, :40]
    draw = functools.partial(mass_map, shear, NOISE, pixel_scale=SCALE, method="wiener")
    first = draw(num_samples=3, seed=5)
    np.testing.assert_array_equal(first.samples, draw(num_samples=3, seed=np.array([0, 5], np.int32)).samples)
    np.testing.assert_array_equal(first.samples[:2], draw(num_samples=2, seed=5).samples)
    assert np.abs(first.samples - draw(num_samples=3, seed=6).samples).std() > 0.01
    assert np.abs(first.samples[0] - first.samples[1]).std() > 0.01
    none = draw(num_samples=0)
    np.testing.assert_array_equal(none.mean, first.mean)
    assert none.std is none.samples is none.map is None


def test_the_prior_can_be_given():
    shear = lognormal(128)[1][0, :40, :40]
    draw = functools.partial(mass_map, shear, NOISE, pixel_scale=SCALE, method="wiener", num_samples=0)
    ell, c_ell = priors.fiducial_spectrum()
    np.testing.assert_array_equal(draw().mean, draw(prior=(ell, c_ell)).mean)
    assert draw(prior=(ell, 1e-3 * c_ell)).mean.std() < 0.1 * draw().mean.std()


@pytest.mark.parametrize("name", ["shear", "noise_std", "mask"])
@pytest.mark.parametrize("form", [np.ma.array, Masked])
def test_masked_pixels_are_not_observed(name, form):
    rng = np.random.default_rng(5)
    data = {
        "shear": 0.1 * rng.normal(size=(32, 40, 2)),
        "noise_std": rng.uniform(0.1, 0.2, (32, 40)),
        "mask": rng.random((32, 40)) < 0.9,
    }
    hidden = rng.random((32, 40)) < 0.1
    expected = mass_map(**data | {"mask": data["mask"] & ~hidden}, pixel_scale=1.0, method="wiener", num_samples=0)
    where = np.stack([hidden, np.zeros_like(hidden)], -1) if name == "shear" else hidden
    beneath = True if name == "mask" else -999.0
    data[name] = form(np.where(where, beneath, data[name]), mask=where)
    found = mass_map(**data, pixel_scale=1.0, method="wiener", num_samples=0)
    np.testing.assert_array_equal(found.mean, expected.mean)


def test_units():
    rng = np.random.default_rng(6)
    shear, (ell, c_ell) = 0.1 * rng.normal(size=(32, 40, 2)), priors.fiducial_spectrum()
    smoothed = [
        mass_map(shear * one, 0.1 * one, pixel_scale=side, method="kaiser_squires", smoothing=width).mean
        for one, side, width in ((1, 1.5, 2.0), (100 * u.percent, 90 * u.arcsec, u.deg / 30))
    ]
    np.testing.assert_allclose(*smoothed, rtol=0, atol=1e-6)
    filtered = [
        mass_map(shear, 0.1, pixel_scale=1, method="wiener", num_samples=0, prior=(ell, c)).mean
        for c in (c_ell, (c_ell * u.sr).to("arcmin2"))
    ]
    np.testing.assert_allclose(*filtered, rtol=0, atol=1e-6)


GOOD = {
    "shear": np.zeros((32, 40, 2)),
    "noise_std": np.ones((32, 40)),
    "mask": np.ones((32, 40), bool),
    "pixel_scale": 1.0,
    "method": "wiener",
    "num_samples": 1,
}


def holding(shape, value):
    array = np.ones(shape)
    array[3, 4] = value
    return array


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shear": holding((32, 40, 2), np.nan)}, "shear is not finite in 2 observed values: mask"),
        (
            {"shear": holding((32, 40, 2), -999.0)},
            "beyond 1 by more than ten .* in 2 observed values, such as -999: mask",
        ),
        ({"shear": holding((32, 40, 2), -1.6375e30)}, "such as -1.6375e.30: mask"),
        ({"shear": holding((32, 40, 2), 2.1), "noise_std": 0.1}, "in 2 observed values, such as 2.1"),
        ({"shear": np.ones((32, 40, 2)) * u.deg}, "shear must have no unit; its unit is deg"),
        ({"shear": np.ma.array(np.zeros((32, 40, 2)), mask=True)}, "mask leaves no pixel"),
        ({"shear": np.zeros((32, 40, 2), complex)}, "shear must hold numbers; it holds complex128"),
        ({"noise_std": np.ones((32, 40)) * u.m}, "noise_std must have no unit"),
        ({"pixel_scale": 1 * u.s}, "pixel_scale must have the unit arcmin"),
        ({"method": "kaiser_squires", "smoothing": 1 * u.m}, "smoothing must have the unit arcmin"),
        ({"prior": (np.arange(1, 4), np.ones(3) * u.deg)}, "c_ell of the prior must have the unit sr"),
        ({"shear": np.zeros((31, 40, 2))}, r"shear must have shape \(n, m, 2\) with n and m .* 32; got \(31, 40, 2\)"),
        ({"shear": np.zeros((32, 40))}, "shear must have shape"),
        ({"shear": np.zeros((2, 32, 40))}, "shear must have shape"),
        ({"noise_std": holding((32, 40), 0)}, "noise_std is not positive and finite in 1 observed"),
        ({"noise_std": -1.0}, "noise_std is not positive"),
        ({"noise_std": holding((32, 40, 2), np.nan)}, "noise_std is not positive"),
        ({"noise_std": np.ones((40, 32))}, r"noise_std must be a number or have shape \(32, 40\)"),
        ({"mask": np.zeros((32, 40))}, "mask leaves no pixel"),
        ({"mask": np.ones((32, 41))}, r"mask must have the shape \(32, 40\) of the shear map; got \(32, 41\)"),
        ({"mask": holding((32, 40), 0.5)}, "mask must hold 0"),
        ({"pixel_scale": 0.0}, "pixel_scale must be positive, in arcmin; got 0.0"),
        ({"method": "glimpse"}, "method must be one of kaiser_squires, wiener, sparse, tv.*; got 'glimpse'"),
        ({"num_samples": -1}, "num_samples must be an integer"),
        ({"seed": 0.5}, "seed is an integer or"),
        ({"prior": (np.arange(3.0), np.ones(3))}, "prior must have positive, increasing ell"),
        ({"prior": (np.ones(3), np.ones(4))}, "prior must be"),
        ({"method": "kaiser_squires", "smoothing": -1.0}, "smoothing must be"),
        ({"method": "sparse", "weight": 0.0}, "weight must be positive"),
        ({"method": "tv", "weight": -1.0}, "weight must be positive"),
    ],
)
def test_bad_input(change, words):
    with pytest.raises(ValueError, match=words):
        mass_map(**(GOOD | change))


def test_unknown_options():
    with pytest.raises(TypeError, match="method 'wiener' has no option smoothing; its options: prior"):
        mass_map(**GOOD, smoothing=1.0)
    with pytest.raises(TypeError, match="method 'tv' has no option prior; its options: weight"):
        mass_map(**(GOOD | {"method": "tv"}), prior=None)


def test_tensorflow_loads_on_first_use():
    done = python("-c", "from deepcosmo.inference import mass_map; import sys; sys.exit('tensorflow' in sys.modules)")
    assert done.returncode == 0, done.stderr
