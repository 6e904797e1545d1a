import numpy as np
import pytest
import tensorflow as tf

from deepcosmo.physics.galaxies import acs_noise_power, convolve
from deepcosmo.training import augment


@pytest.fixture(scope="module")
def batch():
    y, x = np.mgrid[:128, :128] - 63.5
    galaxies = np.stack([np.exp(-0.5 * ((x - 2 * i) ** 2 / 9 + (y - x / 3) ** 2 / 30)) for i in range(4)])
    py, px = np.mgrid[:64, :64] - 32
    psf = np.exp(-0.5 * (px**2 / 3 + (py + px / 4) ** 2 / 5))
    psf = np.stack([psf / psf.sum()] * 4)
    clean = convolve(galaxies.astype("float32"), psf.astype("float32")).numpy()
    return {"galaxy": galaxies.astype("float32"), "clean": clean, "psf": psf.astype("float32"),
            "noise_std": np.full(4, 0.01, "float32")}


def test_turned_stamps_are_turned_galaxies_through_turned_psfs(batch):
    seen = set()
    for i in range(24):
        turned = augment.symmetries(batch, tf.constant([0, i]), images=("galaxy", "clean"))
        again = convolve(turned["galaxy"], turned["psf"])
        np.testing.assert_allclose(turned["clean"], again, atol=2e-6)
        seen.add(np.asarray(turned["psf"]).tobytes())
    assert len(seen) == 8


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
