"""Random maps: their spectra, skewness and correlation between bins."""

import functools
import itertools

import numpy as np
import pytest
from astropy import units

from deepcosmo.physics import cosmology, fields

SHAPE, PIXEL = (96, 128), 1.5
ELL = np.geomspace(5, 2e4, 60)
C_ELL = 1e-9 / (1 + (ELL / 800) ** 2) * np.array([[1.0, 1.2], [1.2, 2.5]])[..., None]
SHIFT = np.array([0.02, 0.05])
EDGES = np.array([100, 300, 800, 1800, 3500, 0.8 * 180 / (PIXEL / 60)])
MAPS = {
    "gaussian": lambda seed: fields.gaussian_maps(C_ELL, ELL, shape=SHAPE, pixel_scale=PIXEL, seed=seed),
    "lognormal": lambda seed: fields.lognormal_maps(C_ELL, ELL, SHIFT, shape=SHAPE, pixel_scale=PIXEL, seed=seed),
}


@pytest.fixture(scope="module", params=MAPS)
def maps(request):
    return request.param, np.stack([MAPS[request.param]((7, i)) for i in range(100)])


def assert_spectra(maps, pixel, edges, c_ell, everywhere=False):
    """Within 2%, and within five times the scatter of the mean over all maps."""
    shape = maps.shape[-2:]
    ell, measured = fields.measured_power(maps, pixel_scale=pixel, edges=edges)
    modes = fields.multipoles(shape, pixel)
    weight = np.where(np.arange(modes.shape[1]) % (shape[1] // 2) == 0, 1.0, 2.0) * np.ones_like(modes)
    measured = measured.numpy()
    error = measured.std(0) / np.sqrt(len(measured))
    for n, (low, high) in enumerate(itertools.pairwise(edges)):
        inside = weight * ((modes >= low) & (modes < high))
        for i, j in itertools.combinations_with_replacement(range(maps.shape[1]), 2):
            expected = np.sum(inside * np.interp(np.log(modes + 1e-9), np.log(ELL), c_ell[i, j])) / inside.sum()
            difference = abs(measured[:, i, j, n].mean() - expected)
            assert difference < 5 * error[i, j, n] + 0.003 * expected
            assert difference < 0.02 * expected or (low < 800 and not everywhere)


def test_spectra_are_those_asked_for(maps):
    assert_spectra(maps[1], PIXEL, EDGES, C_ELL)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gaussian", "lognormal"])
def test_spectra_of_a_universe_from_degrees_on(name):
    """Of Planck's, from ell = 50 to 80% of the pixels' Nyquist frequency, over 400 maps of 24 degrees."""
    planck = cosmology.Cosmology(omega_c=0.26, omega_b=0.049, h=0.677, n_s=0.967, sigma_8=0.81)
    z = np.linspace(0, 3, 301)
    sources = np.exp(-0.5 * ((z - np.array([[0.6], [1.2]])) / 0.15) ** 2)
    c_ell = cosmology.angular_power(planck, ELL, z, sources, spin=0).numpy()
    pixel, sky = 15.0, {"shape": (96, 96), "pixel_scale": 15.0}
    draw = functools.partial(fields.gaussian_maps, c_ell, ELL, **sky)
    if name == "lognormal":
        draw = functools.partial(fields.lognormal_maps, c_ell, ELL, SHIFT, **sky)
    maps = np.stack([draw(seed=(3, i)) for i in range(400)])
    assert_spectra(maps, pixel, np.array([50, 120, 250, 0.8 * 180 / (pixel / 60)]), c_ell, everywhere=True)


def test_moments(maps):
    name, kappa = maps
    variance = np.mean(kappa**2, (0, 2, 3))
    s = np.log1p(variance / SHIFT**2)
    expected = (np.exp(s) + 2) * np.sqrt(np.exp(s) - 1) if name == "lognormal" else np.zeros(2)
    each = np.mean(kappa**3, (2, 3)) / variance**1.5
    assert np.all(np.abs(each.mean(0) - expected) < 5 * each.std(0) / np.sqrt(len(each)))
    assert np.all(kappa.min((0, 2, 3)) > -SHIFT) or name == "gaussian"


@pytest.mark.parametrize("name", MAPS)
def test_same_seed_same_map(name):
    one, same, other = (MAPS[name](seed).numpy() for seed in ((1, 2), (1, 2), (1, 3)))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0


def test_one_shift_stands_for_all_bins_and_units_are_converted():
    plain = fields.lognormal_maps(C_ELL, ELL, [0.02, 0.02], shape=SHAPE, pixel_scale=PIXEL, seed=(1, 2))
    scale, c_ell = PIXEL / 60 * units.deg, C_ELL * units.sr
    np.testing.assert_array_equal(
        fields.lognormal_maps(c_ell, ELL, 0.02, shape=SHAPE, pixel_scale=scale, seed=(1, 2)), plain
    )
    for ours, theirs in zip(
        *(fields.measured_power(plain, pixel_scale=s, edges=EDGES) for s in (scale, PIXEL)), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda sky: fields.gaussian_maps(C_ELL[0, 0], ELL, **sky), r"c_ell must be \(\.\.\., bins, bins, n_ell\)"),
        (lambda sky: fields.gaussian_maps(C_ELL, ELL[:-1], **sky), "n_ell = 59 multipoles; got"),
        (lambda sky: fields.gaussian_maps(C_ELL[..., 0], 100.0, **sky), "ell must be two or more increasing"),
        (lambda sky: fields.lognormal_maps(C_ELL, ELL, [0.1] * 3, **sky), "shift must be a number or .* of 2 bins"),
        (
            lambda sky: fields.gaussian_maps(C_ELL, ELL, **(sky | {"pixel_scale": 1 * units.Mpc})),
            "pixel_scale must have",
        ),
        (lambda _: fields.measured_power(np.zeros(SHAPE), pixel_scale=PIXEL, edges=EDGES), "maps must be"),
        (lambda _: fields.measured_power(np.zeros((1, *SHAPE)), pixel_scale=PIXEL, edges=100.0), "edges must be"),
    ],
)
def test_spectra_and_maps_that_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call({"shape": SHAPE, "pixel_scale": PIXEL, "seed": (1, 2)})
