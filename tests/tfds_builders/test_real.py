"""Real galaxies: cut, centred, surrounded by their own noise, whitened."""

import dummy_release
import galsim
import numpy as np
import pytest

from deepcosmo.physics.galaxies import acs_noise_power
from tfds_builders.cosmos_stamps import psfs, real


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    dummy_release.write(folder)
    return folder


def batch(folder, whitened=False):
    file, rows, attrs, _ = real.read_release(folder)
    (chunk,) = real.real_chunks(file, rows, attrs, whitened=whitened)
    return real.cut_stamps(chunk)


def test_stamps(folder):
    examples, dropped = batch(folder)
    assert len(examples) == len(dummy_release.idents()) and not dropped
    for _, example in examples:
        image = example["image"]
        assert image.shape == (128, 128) and image.dtype == np.float32
        moments = galsim.hsm.FindAdaptiveMom(galsim.Image(image.astype(float)))
        centre = np.array([moments.moments_centroid.x, moments.moments_centroid.y]) - 1
        assert np.max(np.abs(centre - 63.5)) < 0.75
        assert np.isclose(example["noise_std"], dummy_release.NOISE_VARIANCE**0.5)
        corner = image[:30] / example["noise_std"]
        assert abs(corner.std() - 1) < 0.12  # 3840 pixels, a quarter of them independent: 2.3% per sigma
        neighbours = np.mean(corner[:, 1:] * corner[:, :-1])
        assert abs(neighbours - 0.476) < 0.15
        assert np.isclose(example["psf"].sum(), 1, atol=1e-5)


def test_small_stamps_keep_their_pixels(folder):
    examples, _ = batch(folder)
    catalogue = galsim.RealGalaxyCatalog(f"{dummy_release.NAME}.fits", dir=str(folder))
    original = catalogue.getGalImage(0).array
    ident = dummy_release.idents()[0]
    stamp = dict(examples)[int(ident)]["image"]
    windows = np.lib.stride_tricks.sliding_window_view(stamp, original.shape)
    assert np.any(np.all(windows == original, axis=(-2, -1)))


def test_whitened(folder):
    kept, white = (dict(batch(folder, whitened).examples) for whitened in (False, True))
    power = acs_noise_power()
    corners = []
    for ident, example in white.items():
        assert np.isclose(example["noise_std"], kept[ident]["noise_std"] * np.sqrt(power.max()))
        corners.append(example["image"][:30] / example["noise_std"])
    corners = np.stack(corners)
    n = corners.size
    assert abs(corners.var() - 1) < 5 * np.sqrt(2 / n)
    for lag in (corners[:, 1:] * corners[:, :-1], corners[:, :, 1:] * corners[:, :, :-1]):
        assert abs(lag.mean()) < 5 / np.sqrt(n)


def test_properties_from_the_fits(folder, tmp_path):
    _, _, attrs, dropped = real.read_release(folder)
    record = dummy_release.fits_record(dummy_release.idents())
    assert np.allclose(attrs["flux_radius"], record["flux_radius"]) and np.allclose(attrs["hlr"], record["hlr"][:, 0])
    assert np.allclose(attrs["flux"], 10 ** (-0.4 * (record["mag_auto"] - 25.94)))
    assert not any(dropped.values())
    # a release whose table has only a few columns, in another order: NaN for the rest
    dummy_release.write(tmp_path)
    few = {"IDENT": record["IDENT"][::-1], "ZPHOT": record["zphot"][::-1]}
    dummy_release.write_table(tmp_path / f"{dummy_release.NAME}_fits.fits", few)
    _, _, attrs, _ = real.read_release(tmp_path)
    assert np.allclose(attrs["zphot"], record["zphot"]) and np.all(np.isnan(attrs["hlr"]))
    assert np.allclose(attrs["mag_auto"], record["mag_auto"])


def test_bad_galaxies(tmp_path):
    from astropy.io import fits

    dummy_release.write(tmp_path)
    with fits.open(tmp_path / f"{dummy_release.NAME}.fits", mode="update") as hdus:
        table = hdus[1].data
        table["NOISE_VARIANCE"][0], table["stamp_flux"][1], table["PIXEL_SCALE"][2] = 0, -1, 0.05
        table["NOISE_VARIANCE"][3] *= 100
    with fits.open(tmp_path / "real_galaxy_images.fits", mode="update") as hdus:
        hdus[5].data[3, 3] = np.nan
    *_, dropped = real.read_release(tmp_path)
    assert {reason: n for reason, n in dropped.items() if n} == {
        "pixel scale not 0.03 arcsec": 1,
        "noise variance not positive": 1,
        "stamp flux not positive": 1,
    }
    examples, dropped = batch(tmp_path)
    assert dropped == {"noise variance contradicts the stamp": 1, "image or PSF not finite": 1}
    assert len(examples) == len(dummy_release.idents()) - 5


def test_psfs_of_a_release(folder, tmp_path):
    library = psfs.psf_library(catalog=folder)
    assert library.shape[1:] == (64, 64) and 4 <= len(library) <= psfs.LIBRARY
    np.testing.assert_allclose(library[0], psfs.psf_stamp(psfs.model_psfs(4)[0][8:-8, 10:-6]), atol=1e-7)
    (folder / "real_galaxy_PSF_images.fits").rename(tmp_path / "my_acs_psf.fits")
    try:
        assert len(psfs.psf_library(catalog=tmp_path)) == 4
        assert len(psfs.psf_library(path=tmp_path / "my_acs_psf.fits", catalog=folder)) == 4
        assert len(psfs.psf_library(catalog=folder)) == psfs.MODEL_COUNT
    finally:
        (tmp_path / "my_acs_psf.fits").rename(folder / "real_galaxy_PSF_images.fits")


def test_model_psfs_look_like_those_of_acs():
    moments = [galsim.hsm.FindAdaptiveMom(galsim.Image(psf.astype(float))) for psf in psfs.model_psfs()]
    size = 0.03 * np.array([m.moments_sigma for m in moments])
    e1, e2 = np.array([[m.observed_shape.e1, m.observed_shape.e2] for m in moments]).T
    # 100 measured PSFs: size 0.0532 +- 0.0009 arcsec, e1 -0.014 +- 0.018, e2 0.024 +- 0.012
    assert abs(size.mean() - 0.0532) < 0.0005 and 0.0006 < size.std() < 0.0014
    assert abs(e1.mean() + 0.014) < 0.006 and abs(e2.mean() - 0.024) < 0.006
    assert 0.012 < e1.std() < 0.024 and 0.008 < e2.std() < 0.018
