"""Catalogues and maps on disk: columns, names, and a WCS that knows where each galaxy went."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from conftest import shared

from deepcosmo import skymaps
from deepcosmo.physics.catalog import SkyGrid, catalog_to_map


@pytest.fixture
def catalog():
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=20) for name in ("ra", "dec", "e1", "e2", "weight")}


def same(found, expected):
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert found[name].dtype == np.float64 and found[name].dtype.isnative
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("suffix", ["fits", "fits.gz", "csv", "ecsv"])
def test_tables(catalog, tmp_path, suffix):
    Table(catalog).write(tmp_path / f"catalog.{suffix}")
    same(skymaps.read_catalog(tmp_path / f"catalog.{suffix}"), catalog)


def test_a_folder_of_columns(catalog, tmp_path):
    for name, values in catalog.items():
        fits.writeto(tmp_path / f"{name}.fits", values)
    same(skymaps.read_catalog(tmp_path), catalog)


@pytest.mark.parametrize("names", [
    ("RA", "DEC", "g1", "g2", "w"), ("ra", "dec", "gamma1", "gamma2"), ("Ra", "Dec", "E1", "E2", "WEIGHT"),
])  # fmt: skip
def test_usual_names(catalog, tmp_path, names):
    columns = dict(zip(catalog, names, strict=False))
    Table({new: catalog[old] for old, new in columns.items()}).write(tmp_path / "catalog.fits")
    same(skymaps.read_catalog(tmp_path / "catalog.fits"), {old: catalog[old] for old in columns})


def test_given_names_go_before_usual_ones(catalog, tmp_path):
    Table(catalog | {"ALPHA_J2000": catalog["ra"] + 1}).write(tmp_path / "catalog.fits")
    found = skymaps.read_catalog(tmp_path / "catalog.fits", columns={"ra": "ALPHA_J2000"})
    same(found, catalog | {"ra": catalog["ra"] + 1})


def test_missing_values_are_nan(tmp_path):
    (tmp_path / "catalog.csv").write_text("ra,dec,e1,e2\n1,2,0.1,0.2\n1,2,,0.2\n")
    found = skymaps.read_catalog(tmp_path / "catalog.csv")
    np.testing.assert_array_equal(found["e1"], [0.1, np.nan])
    with pytest.raises(ValueError, match="e1 must be finite"):
        catalog_to_map(**found, grid=SkyGrid(ra=1, dec=2, shape=(4, 4), pixel_scale=1))


@pytest.mark.parametrize(("text", "columns", "words"), [
    ("ra,dec,g1\n1,2,3\n", {}, "no column e2 or g2 or gamma2; it has ra, dec, g1"),
    ("ra,dec,e1,e2\n1,2,3,4\n", {"weight": "w8"}, "no column w8; it has ra, dec, e1, e2"),
    ("ra,dec,e1,e2\n1,2,3,4\n", {"e1": "E1"}, "no column E1"),
    ("ra,dec,e1,e2\n1,2,3,4\n", {"shear": "e1"}, "columns must be of ra, .*; got shear"),
    ("ra,dec,e1,e2\n1,2,north,4\n", {}, "column e1 must hold numbers"),
])  # fmt: skip
def test_bad_columns(tmp_path, text, columns, words):
    (tmp_path / "catalog.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        skymaps.read_catalog(tmp_path / "catalog.csv", columns=columns)


def test_no_table(tmp_path):
    (tmp_path / "catalog.fits").write_text("ra dec\n")
    fits.writeto(tmp_path / "image.fits", np.zeros((3, 3)))
    for name in ("catalog.fits", "image.fits"):
        with pytest.raises(ValueError, match=f"{name} is no table in FITS"):
            skymaps.read_catalog(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        skymaps.read_catalog(tmp_path / "nothing.fits")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no column ra; it has none"):
        skymaps.read_catalog(tmp_path / "empty")


def test_cosmos_folder():
    found = skymaps.read_catalog(shared("cosmos_shear"), columns={"weight": "nhweight_int"})
    assert {len(values) for values in found.values()} == {417117}
    assert np.median(found["ra"]) == 150.1161025 and found["weight"].max() == 3.63952


@pytest.mark.parametrize("projection", ["tangent", "plain"])
@pytest.mark.parametrize(("ra", "dec"), [(150.1, 2.2), (0.03, -5.0), (210.7, 60.0), (359.98, 60.0), (40.3, 85.0)])
def test_the_wcs_of_the_file_finds_each_galaxy_in_its_pixel(tmp_path, projection, ra, dec):
    rng = np.random.default_rng(1)
    ras, decs = (ra + rng.uniform(-1, 1, 3000)) % 360, dec + rng.uniform(-0.5, 0.5, 3000)
    grid = SkyGrid.around(ras, decs, pixel_scale=1.7, projection=projection)
    shear = catalog_to_map(ras, decs, np.zeros(3000), np.zeros(3000), grid=grid)
    skymaps.write_maps(tmp_path / "maps.fits", {"counts": shear.counts}, grid.wcs)
    with fits.open(tmp_path / "maps.fits") as hdus:
        wcs = WCS(hdus["counts"].header)
        column, row = (np.rint(p).astype(int) for p in wcs.wcs_world2pix(ras, decs, 0))
        counts = np.zeros(hdus["counts"].shape, int)
        np.add.at(counts, (row, column), 1)
        np.testing.assert_array_equal(counts, hdus["counts"].data)
    np.testing.assert_array_equal(row * grid.shape[1] + column, grid.index(ras, decs))
    assert counts.sum() == 3000
    column, row = (grid.shape[1] - 1) / 2, (grid.shape[0] - 1) / 2
    np.testing.assert_allclose(wcs.wcs_pix2world([[column, row]], 0), [[grid.ra, grid.dec]], rtol=0, atol=1e-10)
    right, up = wcs.wcs_pix2world([[column + 1, row], [column, row + 1]], 0)
    assert (right[0] - grid.ra) % 360 < 1 and up[1] > grid.dec


GRID = SkyGrid(ra=0.1, dec=60.0, shape=(6, 9), pixel_scale=0.29)


@pytest.mark.parametrize("grid", [GRID, SkyGrid(ra=10, dec=-7.3, shape=(6, 9), pixel_scale=0.7, projection="plain")])
def test_round_trip(tmp_path, grid):
    rng = np.random.default_rng(2)
    maps = {
        "kappa": rng.normal(size=(6, 9)), "samples": rng.normal(size=(4, 6, 9)).astype(np.float32),
        "counts": rng.integers(9, size=(6, 9)), "mask": rng.uniform(size=(6, 9)) > 0.5,
    }  # fmt: skip
    for path, wcs in ((tmp_path / "first.fits", grid.wcs), (tmp_path / "again.fits", None)):
        wcs = wcs or skymaps.read_map(tmp_path / "first.fits", "samples")[1]
        skymaps.write_maps(path, maps, wcs, units={"counts": "count"}, header={"SEED": (3, "of the samples")})
        for name, values in maps.items():
            found, wcs = skymaps.read_map(path, name)
            assert found.dtype == (np.uint8 if name == "mask" else values.dtype)
            np.testing.assert_array_equal(found, values)
            assert wcs.array_shape == (6, 9)
            for attribute in ("crval", "crpix", "cdelt"):
                np.testing.assert_array_equal(getattr(wcs.wcs, attribute), getattr(grid.wcs.wcs, attribute))


def test_headers(tmp_path):
    path = tmp_path / "maps.fits"
    maps = {"gamma1": np.zeros((6, 9)), "counts": np.ones((2, 6, 9), int)}
    skymaps.write_maps(path, maps, GRID.wcs, units={"counts": "count"}, header={"CREATOR": "deepcosmo"})
    with fits.open(path) as hdus:
        hdus.verify("exception")
        assert hdus[0].header["CREATOR"] == "deepcosmo"
        assert [hdus[name].header["BUNIT"] for name in maps] == ["", "count"]
        assert [hdus[name].header["WCSAXES"] for name in maps] == [2, 3]
        for name in maps:
            header = hdus[name].header
            assert (header["CTYPE1"], header["CTYPE2"], header["RADESYS"]) == ("RA---TAN", "DEC--TAN", "ICRS")
            assert header["CDELT1"] > 0 and "gamma1 = (l1^2 - l2^2)/l^2 kappa" in str(header["COMMENT"])


def descending():
    wcs = GRID.wcs
    wcs.wcs.cdelt = -wcs.wcs.cdelt[0], wcs.wcs.cdelt[1]
    return wcs


@pytest.mark.parametrize(("values", "wcs", "words"), [
    (np.zeros((9, 6)), GRID.wcs, r"shear must have shape .* WCS \(6, 9\); got \(9, 6\)"),
    (np.zeros((6, 9, 2)), GRID.wcs, "shear must have shape"),
    (np.zeros(6), GRID.wcs, "shear must have shape"),
    (np.zeros((6, 9)), descending(), "must ascend"),
    (np.zeros((6, 9)), WCS(naxis=2), "two celestial axes"),
])  # fmt: skip
def test_maps_that_cannot_be_written(tmp_path, values, wcs, words):
    with pytest.raises(ValueError, match=words):
        skymaps.write_maps(tmp_path / "maps.fits", {"shear": values}, wcs)


def test_maps_that_cannot_be_read(tmp_path):
    skymaps.write_maps(tmp_path / "maps.fits", {"kappa": np.zeros((6, 9)), "mask": np.zeros((6, 9))}, GRID.wcs)
    with pytest.raises(ValueError, match="no map shear; it has KAPPA, MASK"):
        skymaps.read_map(tmp_path / "maps.fits", "shear")
    fits.writeto(tmp_path / "image.fits", np.zeros((3, 3)))
    with pytest.raises(ValueError, match="no celestial WCS"):
        skymaps.read_map(tmp_path / "image.fits", "primary")
