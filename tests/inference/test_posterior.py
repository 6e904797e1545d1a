"""The neural sampler with its network switched off is the exact Wiener posterior."""

import numpy as np
import pytest

from deepcosmo.inference import mass_map, prior
from deepcosmo.models import KappaScore
from deepcosmo.physics import fields, lensing

PIXEL = 0.29297


@pytest.fixture(scope="module")
def model():
    model = KappaScore(pixel_scale=PIXEL, widths=(8, 16))
    model.spectrum.set(*prior.fiducial_spectrum())
    return model


def observed(size):
    """Shear of a Gaussian field with uneven noise, random holes and a big one of 20 pixels, 6 arcmin."""
    rng = np.random.default_rng(size)
    ell, c_ell = prior.fiducial_spectrum()
    kappa = fields.gaussian_maps(c_ell[None, None], ell, shape=(2 * size, 2 * size), pixel_scale=PIXEL, seed=[0, 1])[0]
    noise_std = rng.uniform(0.1, 0.2, (size, size))
    mask = rng.uniform(size=(size, size)) > 0.1
    mask[20:40, 10:30] = False
    shear = lensing.kappa_to_shear(kappa).numpy()[:size, :size]
    return shear + noise_std[..., None] * rng.normal(size=shear.shape), noise_std, mask


def assert_is_wiener(model, size, samples, **options):
    shear, noise_std, mask = observed(size)
    exact = mass_map(shear, noise_std, mask, pixel_scale=PIXEL, method="wiener", num_samples=0,
                     prior=model.spectrum.get())
    other = mass_map(shear, noise_std, mask, pixel_scale=PIXEL, method="wiener", num_samples=samples, seed=3,
                     prior=model.spectrum.get())
    ours = mass_map(shear, noise_std, mask, pixel_scale=PIXEL, method="posterior", num_samples=samples, model=model,
                    residual=False, **options)
    # what scatters about the exact mean has the same variance for both, in the hole as elsewhere. Pixels of a map are
    # not independent: the scatter between samples of their mean square tells the error.
    for pixels in (np.ones_like(mask), ~mask & (np.indices(mask.shape).max(0) < 40)):
        spread = [np.mean((s - exact.mean)[:, pixels] ** 2, 1) for s in (ours.samples, other.samples)]
        error = np.sqrt(sum(s.var(ddof=1) / samples for s in spread))
        # chains of a few transitions are left with up to 1% more variance
        allowed = 0.01 * spread[1].mean() if options["sampler"] == "hmc" else 0.0
        assert abs(spread[0].mean() - spread[1].mean()) < 4 * error + allowed
    # the sample mean is off by what `samples` draws allow, on scales larger than 8 pixels
    coarse = [s[..., : size // 8 * 8, : size // 8 * 8].reshape(-1, size // 8, 8, size // 8, 8).mean((2, 4))
              for s in (exact.mean[None], ours.samples, other.samples)]
    off, spread = np.mean((coarse[1].mean(0) - coarse[0][0]) ** 2), np.mean((coarse[2] - coarse[0]) ** 2)
    assert off / spread * samples == pytest.approx(1, abs=0.4 if size > 64 else 0.6)


@pytest.mark.parametrize("sampler", ["diffusion", "hmc"])
def test_gaussian_posterior_64(model, sampler):
    assert_is_wiener(model, 64, 30 if sampler == "diffusion" else 10, sampler=sampler, steps=6)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["diffusion", "hmc"])
def test_gaussian_posterior_360(model, sampler):
    assert_is_wiener(model, 360, 12 if sampler == "diffusion" else 3, sampler=sampler, steps=6)


def test_seeds(model):
    data = observed(32)
    one, same, other = (
        mass_map(*data, pixel_scale=PIXEL, method="posterior", num_samples=2, model=model, seed=s, steps=3)
        for s in (1, [0, 1], 2)
    )
    np.testing.assert_array_equal(one.samples, same.samples)
    assert np.abs(one.samples - other.samples).max() > 0 and one.samples.shape == (2, 32, 32)


@pytest.mark.parametrize(("options", "words"), [
    ({"sampler": "gibbs"}, "sampler must be one of"), ({"num_samples": 0}, "num_samples"),
    ({"pixel_scale": 1.0}, "arcmin per pixel"),
])  # fmt: skip
def test_bad_options(model, options, words):
    with pytest.raises(ValueError, match=words):
        mass_map(*observed(32), **{"pixel_scale": PIXEL, "method": "posterior", "model": model} | options)
