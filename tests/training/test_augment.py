import numpy as np
import pytest
import tensorflow as tf

from deepcosmo.physics.galaxies import acs_noise_power, convolve, sample_noise
from deepcosmo.training import augment


@pytest.fixture(scope="module")
def batch():
    y, x = np.mgrid[:128, :128] - 63.5
    galaxies = np.stack([np.exp(-0.5 * ((x - 2 * i) ** 2 / 9 + (y - x / 3) ** 2 / 30)) for i in range(4)])
    py, px = np.mgrid[:64, :64] - 32
    psf = np.exp(-0.5 * (px**2 / 3 + (py + px / 4) ** 2 / 5))
    psf = np.stack([psf / psf.sum()] * 4)
    clean = convolve(galaxies.astype("float32"), psf.astype("float32")).numpy()
    return {
        "galaxy": galaxies.astype("float32"),
        "clean": clean,
        "psf": psf.astype("float32"),
        "noise_std": np.full(4, 0.01, "float32"),
    }


def test_turned_stamps_are_turned_galaxies_through_turned_psfs(batch):
    seen = set()
    for i in range(24):
        turned = augment.symmetries(batch, tf.constant([0, i]), images=("galaxy", "clean"))
        again = convolve(turned["galaxy"], turned["psf"])
        np.testing.assert_allclose(turned["clean"], again, atol=2e-6)
        seen.add(np.asarray(turned["psf"]).tobytes())
    assert len(seen) == 8


def test_maps_of_the_torus_keep_their_neighbours():
    """Of maps that count their pixels: all 8 orientations occur, and moves by any number of pixels."""
    count = np.arange(12.0 * 12.0).reshape(1, 12, 12, 1)
    maps, theta = np.concatenate([count, -count]).repeat(2, -1).astype("float32"), np.arange(2.0)
    seen, first = set(), set()
    for i in range(48):
        moved, same = augment.torus_symmetries((maps, theta), tf.constant([0, i]))
        np.testing.assert_array_equal(same, theta)
        np.testing.assert_array_equal(moved[1], -moved[0])
        one = moved[0, ..., 0].numpy()
        place = [tuple(int(v[0]) for v in np.where(one == value)) for value in (0, 12, 1)]  # a pixel, below it, beside
        down, beside = (tuple(np.mod(np.subtract(place[j], place[0]) + 6, 12) - 6) for j in (1, 2))
        assert sorted(map(abs, down)) == sorted(map(abs, beside)) == [0, 1] and np.dot(down, beside) == 0
        np.testing.assert_array_equal(np.sort(one, None), np.sort(count, None))
        spectra = [np.sort(np.abs(np.fft.fft2(v)), None) for v in (one, count[0, ..., 0])]
        np.testing.assert_allclose(*spectra, atol=1e-2)
        seen.add((down, beside))
        first.add(place[0])
    assert len(seen) == 8 and len(first) > 30


def test_observe_reaches_the_signal_to_noise_ratio_that_it_promises(batch):
    own = augment.signal_to_noise(batch["clean"], batch["noise_std"]).numpy()
    power = acs_noise_power()
    expected = np.sqrt(np.sum(np.abs(np.fft.fft2(batch["clean"])) ** 2 / power, (1, 2))) / 128 / 0.01
    np.testing.assert_allclose(own, expected, rtol=1e-4)
    faint = batch | {"noise_std": batch["noise_std"] * own / 20}
    for i in range(5):
        x = augment.observe(faint, tf.constant([1, i]), as_observed=0.0)
        ratio = augment.signal_to_noise(batch["clean"], x["noise_std"]).numpy()
        assert np.all(ratio >= 20 * 0.999) and np.all(ratio <= 150 * 1.001)
        residual = (x["image"] - batch["clean"]).numpy() / x["noise_std"].numpy()[:, None, None]
        assert abs(residual.std() - 1) < 0.03
    kept = augment.observe(faint, tf.constant([1, 2]), as_observed=1.0)
    np.testing.assert_allclose(kept["noise_std"], faint["noise_std"], rtol=1e-5)
    bright = batch | {"noise_std": batch["noise_std"] * own / 5000}
    bright = augment.observe(bright, tf.constant([1, 2]), as_observed=1.0)
    np.testing.assert_allclose(augment.signal_to_noise(batch["clean"], bright["noise_std"]), 150, rtol=1e-3)


def test_augmentation_is_a_function_of_its_seed(batch):
    first, again, other = (augment.observe(batch, tf.constant([3, i]))["image"].numpy() for i in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0


def test_subpixel_shift_moves_the_centroid_and_nothing_else(batch):
    x = {"image": batch["clean"]}
    moved = augment.subpixel_shift(x, tf.constant([5, 6]), largest=1.0)["image"].numpy()
    np.testing.assert_allclose(moved.sum((1, 2)), batch["clean"].sum((1, 2)), rtol=1e-4)
    columns = np.arange(128)
    centroid = [(image.sum(1) * columns).sum(1) / image.sum((1, 2)) for image in (moved, batch["clean"])]
    shift = centroid[0] - centroid[1]
    assert np.all(np.abs(shift) <= 1.0) and np.ptp(shift) > 0.1
    np.testing.assert_allclose(np.abs(np.fft.fft2(moved)), np.abs(np.fft.fft2(batch["clean"])), atol=0.05)


def test_irregular_keeps_flux_and_half_of_the_galaxies():
    y, x = np.mgrid[-31.5:32, -31.5:32]
    clean = np.repeat(np.exp(-0.5 * (x**2 + y**2) / 36)[None], 64, 0).astype("float32")
    changed = augment.irregular({"clean": clean}, (1, 2), largest=0.5, scales=(3.0, 3.0))["clean"].numpy()
    np.testing.assert_allclose(changed.sum((1, 2)), clean.sum((1, 2)), rtol=1e-4)
    assert changed.min() >= 0
    same = np.abs(changed - clean).max((1, 2)) < 1e-4
    assert 12 <= same.sum() <= 52  # binomial of 64 and 1/2, 5 sigma
    # log of the field, up to the factor that keeps the flux: its standard deviation is uniform up to `largest`
    spread = np.log(changed[~same] / clean[~same]).std((1, 2))
    assert spread.max() < 0.6 and abs(spread.mean() - 0.25) < 5 * 0.5 / np.sqrt(12 * len(spread)) + 0.02
    again = augment.irregular({"clean": clean}, (1, 2), largest=0.5, scales=(3.0, 3.0))["clean"].numpy()
    np.testing.assert_array_equal(changed, again)


def test_fainter_dims_half_of_the_galaxies_uniformly_in_magnitude():
    clean = np.full((400, 4, 4), 3.0, "float32")
    batch = {"clean": clean, "noise_std": np.full(400, 0.1, "float32")}
    changed = augment.fainter(batch, (1, 2), most=2.0)
    dimmed = -2.5 * np.log10(changed["clean"].numpy()[:, 0, 0] / 3.0)
    fainter = dimmed[dimmed > 1e-5]
    assert 150 <= len(fainter) <= 250 and dimmed.max() < 2.0  # binomial of 400 and 1/2, 5 sigma
    assert abs(fainter.mean() - 1.0) < 5 * 2.0 / np.sqrt(12 * len(fainter))
    np.testing.assert_array_equal(changed["noise_std"], batch["noise_std"])


def test_noisier_states_the_noise_it_made_and_bounds_the_brightest():
    y, x = np.mgrid[:128, :128] - 63.5
    galaxy = np.exp(-0.5 * (x**2 + y**2) / 16).astype("float32")
    flux = np.repeat([0.0, 100.0], 64).astype("float32")
    image = flux[:, None, None] * galaxy + sample_noise((5, 6), np.full(128, 0.1, "float32"))
    batch = {"image": image, "psf": None, "noise_std": np.full(128, 0.1, "float32")}
    out = augment.noisier(batch, (3, 4), brightest=150.0)
    noise_std, residual = out["noise_std"].numpy(), (out["image"] - flux[:, None, None] * galaxy).numpy()
    scaled = (residual**2).mean((1, 2)) / noise_std**2
    assert abs(scaled.mean() - 1) < 5 * scaled.std() / np.sqrt(128)
    assert np.mean(noise_std[:64] == 0.1) > 0.25 and noise_std[:64].max() < 0.1 * np.sqrt(2) + 1e-6
    ratio = augment.signal_to_noise(flux[:, None, None] * galaxy, noise_std).numpy()
    assert np.all(ratio[64:] < 151)
