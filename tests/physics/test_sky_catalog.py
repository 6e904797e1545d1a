"""Catalogue to map: the pixels, signs, weights and noise, and the maps of the COSMOS field."""

import astropy.units as u
import numpy as np
import pytest
import scipy.ndimage
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from astropy.utils.masked import Masked
from conftest import shared

from deepcosmo.physics import lensing
from deepcosmo.physics.catalog import SkyGrid, catalog_to_map

CENTERS = [(150, 0), (0, 0), (0, 60), (359.9, -60), (10, 80)]


def smooth(image, pixels):
    return scipy.ndimage.gaussian_filter(image, pixels)


@pytest.fixture(scope="module")
def cosmos():
    folder = shared("cosmos_shear")
    names = {"ra": "ra", "dec": "dec", "e1": "e1", "e2": "e2", "weight": "nhweight_int"}
    return {name: fits.getdata(folder / f"{file}.fits") for name, file in names.items()}


@pytest.fixture(scope="module")
def cosmos_grid(cosmos):
    centre = {name: np.median(cosmos[name]) for name in ("ra", "dec")}
    assert centre == {"ra": 150.1161025, "dec": 2.247490268}
    return SkyGrid(**centre, shape=(360, 360), pixel_scale=0.29, projection="plain")


def test_cosmos_maps(cosmos, cosmos_grid):
    """Schrabback et al. 2010 (arXiv:0911.0053), binned by others: shear, mask and Kaiser-Squires map."""
    maps = catalog_to_map(**cosmos, grid=cosmos_grid, signs=(1, -1))
    e1, e2, mask, kappa = (
        fits.getdata(shared("cosmos_shear") / f"{name}_0.29arcmin360.fits")
        for name in ("cosmos_full_e1", "cosmos_full_e2", "cosmos_full_mask", "ks_e")
    )
    np.testing.assert_allclose(maps.shear, np.stack([e1, e2], -1), rtol=0, atol=6e-8)
    np.testing.assert_array_equal(maps.mask, mask)
    assert maps.counts.sum() == 417117
    smoothed = smooth(lensing.shear_to_kappa(maps.shear).numpy(), 2)[:, ::-1]
    np.testing.assert_allclose(smoothed, kappa, rtol=0, atol=2.3e-9)


def test_cosmos_noise(cosmos, cosmos_grid):
    """The noise maps of the field are those of equal weights."""
    maps = catalog_to_map(**(cosmos | {"weight": None}), grid=cosmos_grid)
    for component, name in enumerate(("std1", "std2")):
        reference = fits.getdata(shared("cosmos_shear") / f"{name}.fits")
        np.testing.assert_allclose(maps.noise_std[..., component], reference, rtol=0, atol=1e-12)
        in_one = maps.noise_std[..., component] * np.sqrt(maps.counts)
        np.testing.assert_allclose(in_one[maps.mask], np.std(cosmos[f"e{component + 1}"]), rtol=1e-12)


@pytest.mark.parametrize("projection", ["tangent", "plain"])
def test_mock_kappa(projection):
    """The true convergence of the lenspack mock; its gamma1 and gamma2 both have the other sign."""
    mock = fits.getdata(shared("lensing_mock/lenspack_gal_cat.fits"))
    grid = SkyGrid.around(mock["ra"], mock["dec"], pixel_scale=0.5, projection=projection)
    pixel = grid.index(mock["ra"], mock["dec"])
    correlation = {}
    for signs in [(1, 1), (1, -1), (-1, 1), (-1, -1)]:
        maps = catalog_to_map(mock["ra"], mock["dec"], mock["gamma1"], mock["gamma2"], grid=grid, signs=signs)
        kappa = np.bincount(pixel, mock["kappa"], maps.mask.size).reshape(grid.shape) / np.maximum(maps.counts, 1)
        found = lensing.shear_to_kappa(maps.shear, padding=60).numpy()
        correlation[signs] = [np.corrcoef(smooth(found, s).flat, smooth(kappa, s).flat)[0, 1] for s in (2, 4)]
    assert min(correlation.pop((-1, -1))) > 0.92
    assert max(max(others) for others in correlation.values()) < 0.2


def blob(ra, dec, at, n=20000, width=0.25, amplitude=0.1):
    """Galaxies within 3 deg of a centre, sheared by kappa = amplitude exp(-theta^2 / (2 width^2)) around `at`."""
    rng = np.random.default_rng(0)
    centre, at = SkyCoord(ra, dec, unit="deg"), SkyCoord(*at, unit="deg")
    sky = centre.directional_offset_by(rng.uniform(0, 360, n) * u.deg, 3 * np.sqrt(rng.uniform(size=n)) * u.deg)
    x = (sky.separation(at).deg / width) ** 2 / 2
    tangential = amplitude * ((1 - np.exp(-x)) / x - np.exp(-x))
    from_east = np.pi / 2 - sky.position_angle(at).rad
    shear = -tangential * np.exp(2j * from_east)
    return sky.ra.deg, sky.dec.deg, shear.real, shear.imag


@pytest.mark.parametrize(("ra", "dec"), CENTERS)
def test_tangential_shear_is_a_peak_where_the_wcs_says(ra, dec):
    grid = SkyGrid(ra=ra, dec=dec, shape=(60, 70), pixel_scale=5)
    column, row = 50, 38
    catalog = blob(ra, dec, grid.wcs.wcs_pix2world([[column, row]], 0)[0])
    maps = catalog_to_map(*catalog, grid=grid)
    both = lensing.shear_to_kappa(maps.shear, padding=40, modes="EB").numpy()
    kappa, b_mode = smooth(both[..., 0], 1), smooth(both[..., 1], 1)
    assert np.unravel_index(kappa.argmax(), kappa.shape) == (row, column)
    assert kappa.max() == pytest.approx(0.1 * 9 / 10, rel=0.1)  # smoothed from a width of 3 pixels
    assert np.abs(b_mode).max() < 0.04 * kappa.max()


@pytest.mark.parametrize(("ra", "dec"), CENTERS[1:])
def test_tangent_maps_are_the_same_everywhere_on_the_sky(ra, dec):
    """A field off the equator, with its shear measured from each galaxy's own north, is one on the equator."""

    def binned(ra, dec):
        grid = SkyGrid(ra=ra, dec=dec, shape=(60, 70), pixel_scale=5)
        at = SkyCoord(ra, dec, unit="deg").directional_offset_by(60 * u.deg, 1.2 * u.deg)
        return catalog_to_map(*blob(ra, dec, (at.ra, at.dec), n=3000), grid=grid)

    for found, expected in zip(binned(ra, dec), binned(*CENTERS[0]), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


def test_turning_keeps_the_size_of_shear():
    grid = SkyGrid(ra=0, dec=60, shape=(30, 30), pixel_scale=120)
    maps = catalog_to_map([40.0], [50.0], [0.3], [-0.4], grid=grid)
    assert np.hypot(*maps.shear[maps.mask][0]) == pytest.approx(0.5, rel=1e-12)
    assert abs(maps.shear[maps.mask][0, 0] - 0.3) > 0.1


def random_catalog(n=500, ra=150.0, dec=20.0, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "ra": ra + rng.uniform(-0.5, 0.5, n),
        "dec": dec + rng.uniform(-0.4, 0.4, n),
        "e1": rng.normal(size=n),
        "e2": rng.normal(size=n),
        "weight": rng.uniform(0.1, 3, n),
    }


GRID = SkyGrid(ra=150.0, dec=20.0, shape=(8, 10), pixel_scale=6)


@pytest.mark.parametrize("projection", ["tangent", "plain"])
@pytest.mark.parametrize("dec", [0.0, 60.0])
def test_a_field_across_ra_0_is_one_elsewhere(projection, dec):
    near, far = random_catalog(ra=0.1, dec=dec), random_catalog(ra=140.1, dec=dec)
    wrapped = near | {"ra": near["ra"] % 360}
    assert np.ptp(wrapped["ra"]) > 359
    grids = [SkyGrid.around(c["ra"], c["dec"], pixel_scale=6, projection=projection) for c in (near, wrapped, far)]
    assert grids[0].shape == grids[1].shape == grids[2].shape
    assert grids[0].ra == pytest.approx(grids[1].ra) == pytest.approx(grids[2].ra - 140)
    maps = [catalog_to_map(**c, grid=grid) for c, grid in zip((near, wrapped, far), grids, strict=True)]
    for other in maps[1:]:
        for found, expected in zip(other, maps[0], strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    assert maps[0].counts.sum() == 500


@pytest.mark.parametrize("projection", ["tangent", "plain"])
@pytest.mark.parametrize(("ra", "dec"), CENTERS)
def test_pixels(projection, ra, dec):
    """Against the textbook formulas of both projections."""
    grid = SkyGrid(ra=ra, dec=dec, shape=(40, 50), pixel_scale=3, projection=projection)
    rng = np.random.default_rng(1)
    east, north = rng.uniform(-1.5, 1.5, (2, 1000))
    if projection == "tangent":
        east = east / np.cos(np.radians(dec))
        a, d, d0 = np.radians(east), np.radians(dec + north), np.radians(dec)
        depth = np.sin(d0) * np.sin(d) + np.cos(d0) * np.cos(d) * np.cos(a)
        x = np.degrees(np.cos(d) * np.sin(a) / depth)
        y = np.degrees((np.cos(d0) * np.sin(d) - np.sin(d0) * np.cos(d) * np.cos(a)) / depth)
    else:
        x, y = east, north
    column, row = np.floor(x / 0.05 + 25), np.floor(y / 0.05 + 20)
    inside = (column >= 0) & (column < 50) & (row >= 0) & (row < 40)
    assert 200 < inside.sum() < 900
    expected = np.where(inside, row * 50 + column, -1)
    np.testing.assert_array_equal(grid.index((ra + east) % 360, dec + north), expected)


@pytest.mark.parametrize("projection", ["tangent", "plain"])
def test_the_far_side_of_the_sky_is_off_the_grid(projection):
    grid = SkyGrid(ra=10.0, dec=20.0, shape=(5, 5), pixel_scale=60, projection=projection)
    np.testing.assert_array_equal(grid.index([10.0, 190.0, 100.0, 10.0], [20.0, -20.0, 0.0, -80.0]), [12, -1, -1, -1])


def test_grid_around_a_catalogue_holds_it_tightly():
    catalog = random_catalog()
    grid = SkyGrid.around(catalog["ra"], catalog["dec"], pixel_scale=2)
    assert grid.ra == pytest.approx(150, abs=0.01) and grid.dec == pytest.approx(20, abs=0.01)
    maps = catalog_to_map(**catalog, grid=grid)
    assert maps.counts.sum() == 500
    assert all(edge.any() for edge in (maps.mask[0], maps.mask[-1], maps.mask[:, 0], maps.mask[:, -1]))


def test_weighted_mean_and_noise_of_a_pixel():
    """Three galaxies in one pixel and one in another, worked by hand; one more weighs nothing."""
    ra, dec = np.array([150.01, 150.02, 150.03, 150.15, 150.15]), np.full(5, 20.01)
    e1, e2, w = np.array([0.1, 0.2, -0.3, 0.4, 9]), np.array([0.0, 0.1, 0.2, 0.3, 9]), np.array([1, 2, 3, 4, 0])
    plain = SkyGrid(ra=150.0, dec=20.0, shape=(8, 10), pixel_scale=6, projection="plain")
    maps = catalog_to_map(ra, dec, e1, e2, w, grid=plain)
    assert maps.counts[4, 5] == 3 and maps.counts[4, 6] == 1 and maps.counts.sum() == 4
    np.testing.assert_array_equal(maps.mask, maps.counts > 0)
    np.testing.assert_allclose(maps.shear[4, 5], [(0.1 + 0.4 - 0.9) / 6, (0.2 + 0.6) / 6])
    np.testing.assert_allclose(maps.shear[4, 6], [0.4, 0.3])
    mean = (0.1 + 0.4 - 0.9 + 1.6) / 10
    sigma = np.sqrt(((0.1 - mean) ** 2 + 4 * (0.2 - mean) ** 2 + 9 * (0.3 + mean) ** 2 + 16 * (0.4 - mean) ** 2) / 30)
    np.testing.assert_allclose(maps.noise_std[4, [5, 6], 0], [sigma * np.sqrt(14) / 6, sigma])
    assert not maps.shear[~maps.mask].any() and not maps.noise_std[~maps.mask].any()


def test_noise_is_the_scatter_of_the_map():
    """Of galaxies with very different noise, weighted by its inverse variance."""
    rng = np.random.default_rng(2)
    n = 50_000
    catalog = random_catalog(n) | {"weight": rng.choice([1.0, 25.0], n)}
    for name in ("e1", "e2"):
        catalog[name] = rng.normal(size=n) / np.sqrt(catalog["weight"])
    grid = SkyGrid.around(catalog["ra"], catalog["dec"], pixel_scale=1.5)
    maps = catalog_to_map(**catalog, grid=grid)
    pulls = maps.shear[maps.mask] / maps.noise_std[maps.mask]
    assert pulls.size > 2000
    assert np.var(pulls) == pytest.approx(1, abs=5 * np.sqrt(2 / pulls.size))


def test_order_of_galaxies_and_scale_of_weights_do_not_matter():
    catalog = random_catalog()
    maps = catalog_to_map(**catalog, grid=GRID)
    shuffle = np.random.default_rng(3).permutation(500)
    other = {name: values[shuffle] for name, values in catalog.items()}
    other["weight"] = 7 * other["weight"]
    for found, expected in zip(catalog_to_map(**other, grid=GRID), maps, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)
    unweighted = catalog_to_map(**(catalog | {"weight": None}), grid=GRID)
    assert np.abs(unweighted.shear - maps.shear).max() > 0.1


@pytest.mark.parametrize(
    ("signs", "along_ra", "along_diagonal"),
    [((1, 1), (1, 0), (0, 1)), ((1, -1), (1, 0), (0, -1)), ((-1, 1), (-1, 0), (0, 1)), ((-1, -1), (-1, 0), (0, -1))],
)
def test_signs(signs, along_ra, along_diagonal):
    """Galaxies stretched along RA, and along growing RA and Dec, in the four frames of the docstring."""
    for e, gamma in ((along_ra, (1, 0)), (along_diagonal, (0, 1))):
        maps = catalog_to_map([150.0], [20.0], [e[0]], [e[1]], grid=GRID, signs=signs)
        np.testing.assert_allclose(maps.shear[maps.mask], [gamma], atol=1e-12)


def same(found, expected, **tolerance):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, **tolerance or {"atol": 0})


@pytest.mark.parametrize("unit", [u.rad, u.arcmin, u.hourangle])
def test_units_are_converted(unit):
    catalog = random_catalog()
    table = Table(catalog | {name: (catalog[name] * u.deg).to(unit) for name in ("ra", "dec")})
    table["e1"] = (table["e1"] * u.one).to(u.percent)
    table["weight"].unit = "arcmin-2"
    grids = [SkyGrid.around(table["ra"], table["dec"], pixel_scale=side) for side in (2, 2 * u.arcmin, 120 * u.arcsec)]
    assert grids[0] == grids[1] == grids[2]
    expected = SkyGrid.around(catalog["ra"], catalog["dec"], pixel_scale=2)
    assert grids[0].shape == expected.shape and grids[0].ra == pytest.approx(expected.ra, rel=1e-14)
    same(catalog_to_map(**table, grid=GRID), catalog_to_map(**catalog, grid=GRID), atol=1e-12)
    found = GRID.index(table["ra"].quantity, table["dec"])
    np.testing.assert_array_equal(found, GRID.index(catalog["ra"], catalog["dec"]))
    own = SkyGrid(ra=(150 * u.deg).to(unit), dec=(20 * u.deg).to(unit), shape=(8, 10), pixel_scale=0.1 * u.deg)
    assert (own.ra, own.dec, own.pixel_scale) == pytest.approx((150, 20, 6), rel=1e-14)


@pytest.mark.parametrize("name", ["ra", "dec", "e1", "e2", "weight"])
@pytest.mark.parametrize("form", [np.ma.array, MaskedColumn, Masked])
def test_masked_galaxies_do_not_count(name, form):
    catalog, hidden = random_catalog(), np.arange(500) % 7 == 0
    rest = {column: values[~hidden] for column, values in catalog.items()}
    given = catalog | {name: form(np.where(hidden, -999.0, catalog[name]), mask=hidden)}
    same(catalog_to_map(**given, grid=GRID), catalog_to_map(**rest, grid=GRID))
    if name in ("ra", "dec"):
        grids = [SkyGrid.around(c["ra"], c["dec"], pixel_scale=1) for c in (given, rest)]
        assert grids[0] == grids[1]
        np.testing.assert_array_equal(GRID.index(given["ra"], given["dec"])[hidden], -1)


@pytest.mark.parametrize(
    ("sentinel", "share"),
    [(-9.0, 0.002), (-9.0, 0.05), (-99.0, 0.7), (999.0, 0.05), (-1.6375e30, 0.002), (-1.6375e30, 0.7)],
)
def test_sentinels_are_left_out_with_a_warning(sentinel, share):
    catalog = random_catalog()
    for name in ("e1", "e2"):
        catalog[name] = 0.3 * catalog[name]
    wrong = np.random.default_rng(4).permutation(500) < 500 * share
    catalog["e1"] = np.where(wrong, sentinel, catalog["e1"])
    with pytest.warns(UserWarning, match=f"{wrong.sum()} of 500 galaxies have no possible shear"):
        found = catalog_to_map(**catalog, grid=GRID)
    same(found, catalog_to_map(**{name: values[~wrong] for name, values in catalog.items()}, grid=GRID))


@pytest.mark.parametrize("scatter", [0.0, 0.02, 0.3, 1.0])
def test_noise_is_no_sentinel(scatter, recwarn):
    """Not even six sigma of it, nor galaxies as round as 0.9, nor sentinels of weight 0."""
    catalog = random_catalog(2000)
    for name in ("e1", "e2"):
        catalog[name] = scatter * catalog[name]
        catalog[name][:4] = 6 * scatter, -6 * scatter, 0.9, -999.0
    catalog["weight"][3] = 0
    on_grid = np.count_nonzero(GRID.index(catalog["ra"], catalog["dec"]) >= 0)
    assert catalog_to_map(**catalog, grid=GRID).counts.sum() == on_grid - 1
    assert not recwarn.list


def bin_with(**changes):
    return lambda: catalog_to_map(**(random_catalog(3) | changes), grid=GRID)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (bin_with(e1=[0.1, np.nan, 0.2]), "e1 must be finite; 1 of 3 values"),
        (bin_with(e1=[-999, -999, -999]), "3 of 3 galaxies have no possible shear"),
        (bin_with(e1=np.ma.array([0.1, 0.2, 0.3], mask=True)), "each of the 3 galaxies has a masked value"),
        (bin_with(e1=np.ma.array([0.1, np.inf, 0.3], mask=[1, 0, 0])), "e1 must be finite; 1 of 2 values"),
        (bin_with(ra=[1, 2, 3] * u.s), "ra must have the unit deg, or one that converts to it; its unit is s"),
        (bin_with(e2=[1, 2, 3] * u.deg), "e2 must have no unit; its unit is deg"),
        (lambda: SkyGrid.around([0, 1], [0, 1] * u.m, pixel_scale=1), "dec must have the unit deg"),
        (lambda: SkyGrid(ra=0, dec=0, shape=(4, 4), pixel_scale=1 * u.m), "pixel_scale must have the unit arcmin"),
        (lambda: SkyGrid(ra=np.ma.masked, dec=0, shape=(4, 4), pixel_scale=1), "ra must be finite"),
        (bin_with(weight=[1, np.inf, 1]), "weight must be finite"),
        (bin_with(weight=[1, -0.5, 1]), "weight must lie between 0 and inf; got -0.5 to 1"),
        (bin_with(ra=[150, 361, 150]), "ra must lie between -360 and 360 deg; got 150.0 to 361"),
        (bin_with(dec=[20, 20, -90.5]), "dec must lie between -90 and 90 deg; got -90.5"),
        (bin_with(ra=[150, 150]), "of one length; got .*'ra': .2,."),
        (lambda: catalog_to_map([], [], [], [], grid=GRID), "catalogue is empty"),
        (lambda: SkyGrid.around([], [], pixel_scale=1), "catalogue is empty"),
        (bin_with(ra=[15, 16, 17]), "no galaxy .* around RA 150.0000, Dec 20.0000; got RA 15.0000 to 17"),
        (bin_with(weight=[0, 0, 0]), "no galaxy of positive weight"),
        (lambda: catalog_to_map(**random_catalog(), grid=GRID, signs=(1, 0)), "signs must"),
        (lambda: SkyGrid.around([0, 180], [0, 0], pixel_scale=1), "RA 0 to 180"),
        (lambda: SkyGrid.around([0, 2], [0, 0], pixel_scale=0.01), "more than 8192 pixels of 0.01 arcmin"),
        (lambda: SkyGrid(ra=0, dec=91, shape=(4, 4), pixel_scale=1), "dec must lie"),
        (lambda: SkyGrid(ra=0, dec=0, shape=(4, 4.5), pixel_scale=1), "shape must be"),
        (lambda: SkyGrid(ra=0, dec=0, shape=(4,), pixel_scale=1), "shape must be"),
        (lambda: SkyGrid(ra=0, dec=0, shape=(4, 4), pixel_scale=0), "pixel_scale must be"),
        (
            lambda: SkyGrid(ra=0, dec=0, shape=(4, 4), pixel_scale=1, projection="flat"),
            "one of tangent, plain; got 'flat'",
        ),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()
