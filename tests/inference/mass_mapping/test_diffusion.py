"""The neural sampler with its network switched off is the exact Wiener posterior."""

import numpy as np
import pytest
import tensorflow as tf

from deepcosmo.inference import mass_map
from deepcosmo.inference.mass_mapping import diffusion, priors
from deepcosmo.models import KappaScore
from deepcosmo.physics import fields, lensing

PIXEL = 0.29297


@pytest.fixture(scope="module")
def model():
    model = KappaScore(pixel_scale=PIXEL, widths=(8, 16))
    model.spectrum.set(*priors.fiducial_spectrum())
    return model


def observed(size):
    """Shear of a Gaussian field with uneven noise, random holes and a big one of 20 pixels, 6 arcmin."""
    rng = np.random.default_rng(size)
    ell, c_ell = priors.fiducial_spectrum()
    kappa = fields.gaussian_maps(c_ell[None, None], ell, shape=(2 * size, 2 * size), pixel_scale=PIXEL, seed=[0, 1])[0]
    noise_std = rng.uniform(0.1, 0.2, (size, size))
    mask = rng.uniform(size=(size, size)) > 0.1
    mask[20:40, 10:30] = False
    shear = lensing.kappa_to_shear(kappa).numpy()[:size, :size]
    return shear + noise_std[..., None] * rng.normal(size=shear.shape), noise_std, mask


def assert_is_wiener(model, size, samples, **options):
    shear, noise_std, mask = observed(size)
    exact = mass_map(
        shear, noise_std, mask, pixel_scale=PIXEL, method="wiener", num_samples=0, prior=model.spectrum.get()
    )
    other = mass_map(
        shear,
        noise_std,
        mask,
        pixel_scale=PIXEL,
        method="wiener",
        num_samples=samples,
        seed=3,
        prior=model.spectrum.get(),
    )
    ours = mass_map(
        shear,
        noise_std,
        mask,
        pixel_scale=PIXEL,
        method="posterior",
        num_samples=samples,
        model=model,
        residual=False,
        **options,
    )
    # the network's grid has less padding: without it both means are the same
    assert np.std(ours.mean - exact.mean) < 0.1 * ours.std.mean()
    # what scatters about the exact mean has the same variance for both, in the hole as elsewhere. Pixels of a map are
    # not independent: the scatter between samples of their mean square tells the error.
    for pixels in (np.ones_like(mask), ~mask & (np.indices(mask.shape).max(0) < 40)):
        spread = [np.mean((s - exact.mean)[:, pixels] ** 2, 1) for s in (ours.samples, other.samples)]
        error = np.sqrt(sum(s.var(ddof=1) / samples for s in spread))
        # chains of a few transitions are left with up to 1% more variance
        allowed = 0.01 * spread[1].mean() if options["sampler"] == "hmc" else 0.0
        assert abs(spread[0].mean() - spread[1].mean()) < 4 * error + allowed
    # the sample mean is off by what `samples` draws allow, on scales larger than 8 pixels
    coarse = [
        s[..., : size // 8 * 8, : size // 8 * 8].reshape(-1, size // 8, 8, size // 8, 8).mean((2, 4))
        for s in (exact.mean[None], ours.samples, other.samples)
    ]
    off, spread = np.mean((coarse[1].mean(0) - coarse[0][0]) ** 2), np.mean((coarse[2] - coarse[0]) ** 2)
    assert off / spread * samples == pytest.approx(1, abs=0.4 if size > 64 else 0.6)


@pytest.mark.parametrize("sampler", ["diffusion", "hmc"])
def test_gaussian_posterior_64(model, sampler):
    assert_is_wiener(model, 64, 30 if sampler == "diffusion" else 10, sampler=sampler, steps=6)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["diffusion", "hmc"])
def test_gaussian_posterior_360(model, sampler):
    assert_is_wiener(model, 360, 12 if sampler == "diffusion" else 3, sampler=sampler, steps=6)


def test_completed_data_are_the_convergence_with_white_noise():
    """Given the truth where there are no data: noise of the stated precision in every band and everywhere."""
    shear, noise_std, mask = observed(128)
    rows, columns = shear.shape[:2]
    kappa = 0.03 * np.random.default_rng(1).normal(size=(rows, columns))
    kappa -= kappa.mean()
    precision = np.where(mask, noise_std**-2.0, 0.0)[..., None]
    uniform = 1.5 * precision[mask].mean()
    assert np.any(precision > uniform) and np.any(precision < 0.5 * uniform)
    noise = []
    for i in range(20):
        seen = lensing.kappa_to_shear(kappa) + noise_std[..., None] * np.random.default_rng(i).normal(size=shear.shape)
        data = diffusion._Data(*(tf.cast(v, tf.float32)[None] for v in (seen, [0.0], precision)), np.float32(uniform))
        found = diffusion._completed(tf.cast(kappa, tf.float32)[None], data, [5, i])
        noise.append((found[0].numpy() - kappa) * np.sqrt(uniform))
    noise = np.array(noise)
    power = np.abs(np.fft.fft2(noise)) ** 2 / (rows * columns)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(rows), np.fft.fftfreq(columns)))
    for low, high in ((0.001, 0.05), (0.05, 0.2), (0.2, 0.45)):
        band = power[:, (frequency > low) & (frequency < high)]
        assert band.mean() == pytest.approx(1, abs=4 * np.sqrt(2 / band.size))
    for where in (mask & (precision[..., 0] > uniform), ~mask):
        assert np.mean(noise[:, where] ** 2) == pytest.approx(1, abs=5 * np.sqrt(2 / noise[:, where].size))


def lognormal(noise, size=40):
    """Convergence, and its shear with a hole; noise differs by up to a factor of 30 between pixels."""
    rng = np.random.default_rng(4)
    ell, c_ell = priors.fiducial_spectrum()
    kappa = fields.lognormal_maps(
        c_ell[None, None].astype("f4"),
        ell,
        np.array([0.04], "f4"),
        shape=(2 * size, 2 * size),
        pixel_scale=PIXEL,
        seed=[0, 1],
    )[0].numpy()
    shear, kappa = lensing.kappa_to_shear(kappa).numpy()[:size, :size], kappa[:size, :size]
    mask = np.ones(kappa.shape, bool)
    mask[10:20, 5:20] = False
    return kappa, (shear + noise[..., None] * rng.normal(size=shear.shape), noise, mask)


EVEN, UNEVEN = np.ones((40, 40)), np.where(np.arange(40) < 20, 1.0, 30.0) * np.ones((40, 1))


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0056 * EVEN, 0.022 * EVEN, 0.0056 * UNEVEN])
def test_precise_data_are_followed(noise):
    """The published prior at the noise of mocks is no worse than a Gaussian one, though it is that of another sky."""
    kappa, data = lognormal(noise)
    wiener = mass_map(*data, pixel_scale=PIXEL, method="wiener", num_samples=4)
    ours = mass_map(*data, pixel_scale=PIXEL, method="posterior", num_samples=2)
    precise = data[2] & (noise == noise.min())
    for pixels in (precise, data[2]):
        assert np.std((ours.mean - kappa)[pixels]) < 1.05 * np.std((wiener.mean - kappa)[pixels])
        assert np.std((ours.samples - kappa)[:, pixels]) < 1.1 * np.std((wiener.samples - kappa)[:, pixels])
    # where there are no data samples scatter as the sky does
    assert np.abs(ours.samples).max() < 3 * np.abs(kappa).max()
    assert np.std(ours.samples[:, ~data[2]]) < 2 * np.std(wiener.samples[:, ~data[2]])


def test_divergence_is_an_error(monkeypatch):
    monkeypatch.setattr(diffusion, "COMPLETED_NOISE", 1e-3)
    with pytest.raises(FloatingPointError, match="diverged.*use method 'wiener'"):
        mass_map(*lognormal(0.0056 * EVEN)[1], pixel_scale=PIXEL, method="posterior", num_samples=1)


def test_seeds(model):
    data = observed(32)
    one, same, other = (
        mass_map(*data, pixel_scale=PIXEL, method="posterior", num_samples=2, model=model, seed=s, steps=3)
        for s in (1, [0, 1], 2)
    )
    np.testing.assert_array_equal(one.samples, same.samples)
    assert np.abs(one.samples - other.samples).max() > 0 and one.samples.shape == (2, 32, 32)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sampler": "gibbs"}, "sampler must be one of"),
        ({"num_samples": 0}, "num_samples"),
        ({"pixel_scale": 1.0}, "arcmin per pixel"),
        ({"noise_std": 1e-3}, "at least 0.004 .* got 0.001; use method 'wiener'"),
    ],
)
def test_bad_options(model, options, words):
    with pytest.raises(ValueError, match=words):
        data = dict(zip(("shear", "noise_std", "mask"), observed(32), strict=True))
        mass_map(**data | {"pixel_scale": PIXEL, "method": "posterior", "model": model} | options)
