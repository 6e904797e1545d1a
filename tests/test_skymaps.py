"""Catalogues and maps on disk: columns, names, and a WCS that knows where each galaxy went."""

import bz2
import gzip

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits, votable
from astropy.table import Table
from astropy.wcs import WCS
from conftest import shared

from deepcosmo import skymaps
from deepcosmo._quantities import masked
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


@pytest.mark.parametrize(
    "names", [("RA", "DEC", "g1", "g2", "w"), ("ra", "dec", "gamma1", "gamma2"), ("Ra", "Dec", "E1", "E2", "WEIGHT")]
)
def test_usual_names(catalog, tmp_path, names):
    columns = dict(zip(catalog, names, strict=False))
    Table({new: catalog[old] for old, new in columns.items()}).write(tmp_path / "catalog.fits")
    same(skymaps.read_catalog(tmp_path / "catalog.fits"), {old: catalog[old] for old in columns})


def test_given_names_go_before_usual_ones(catalog, tmp_path):
    Table(catalog | {"ALPHA_J2000": catalog["ra"] + 1}).write(tmp_path / "catalog.fits")
    found = skymaps.read_catalog(tmp_path / "catalog.fits", columns={"ra": "ALPHA_J2000"})
    same(found, catalog | {"ra": catalog["ra"] + 1})


@pytest.fixture
def galaxies():
    rng = np.random.default_rng(1)
    ranges = {"ra": (0, 360), "dec": (-90, 90), "e1": (-1, 1), "e2": (-1, 1)}
    return Table({name: rng.uniform(*limits, 6) for name, limits in ranges.items()})


def text(table, delimiter=",", first=""):
    """A table as text, each number with all its digits."""
    rows = [table.colnames, *([repr(float(value)) for value in row] for row in table)]
    return first + "".join(delimiter.join(row) + "\n" for row in rows)


def both(path, galaxies):
    """A file gives the galaxies, as a catalogue and as positions."""
    same(skymaps.read_catalog(path), dict(galaxies.columns))
    np.testing.assert_array_equal(skymaps.read_positions(path), np.stack([galaxies["ra"], galaxies["dec"]], -1))


@pytest.mark.parametrize("name", ["a.csv", "a.CSV", "a.txt", "a", "a.fits"])
@pytest.mark.parametrize("delimiter", [",", ", ", ";", "\t", " ", "   "])
@pytest.mark.parametrize("first", ["", "# made on Monday\n# of ra and dec\n\n", "#", "# "])
def test_text(galaxies, tmp_path, name, delimiter, first):
    """Whatever it is called, stands between columns or goes before their names."""
    (tmp_path / name).write_text(text(galaxies, delimiter, first))
    both(tmp_path / name, galaxies)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.encode("utf-8-sig"),
        lambda t: t.replace("\n", "\r\n").encode(),
        lambda t: gzip.compress(t.encode()),
        lambda t: bz2.compress(t.encode()),
        lambda t: t.replace("\n", "\n# more\n").encode(),
        lambda t: t.replace("ra,", '"ra",').replace("\n", ',"NGC 1, \u00e9toile"\n').encode("latin-1"),
    ],
)
def test_text_of_other_programs(galaxies, tmp_path, change):
    """Byte order mark, line ends of Windows, compressed, comments in between, quotes around a name with a comma."""
    (tmp_path / "a.csv").write_bytes(change(text(galaxies)))
    both(tmp_path / "a.csv", galaxies)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.vot", "votable"),
        ("a", "fits"),
        ("a.fit", "fits"),
        ("a.csv", "fits"),
        ("a.txt", "ascii.ecsv"),
        ("a.xml", "votable"),
    ],
)
def test_formats_are_told_by_content(galaxies, tmp_path, name, form):
    galaxies.write(tmp_path / name, format=form)
    both(tmp_path / name, galaxies)
    (tmp_path / "a.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    both(tmp_path / "a.gz", galaxies)


def test_the_table_with_the_columns_is_read(galaxies, tmp_path):
    """As LDAC has it second, after one of header cards; VOTables may hold several too."""
    cards = Table({"Field Header Card": np.zeros(1), "RA": np.zeros(1)})
    tables = [fits.BinTableHDU(cards, name="LDAC_IMHEAD"), fits.BinTableHDU(galaxies, name="LDAC_OBJECTS")]
    fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(tmp_path / "ldac.fits")
    both(tmp_path / "ldac.fits", galaxies)
    one, other = (votable.from_table(table) for table in (cards, galaxies))
    one.resources.extend(other.resources)
    one.to_xml(str(tmp_path / "two.vot"))
    both(tmp_path / "two.vot", galaxies)


def test_rows_with_blanks_in_cells_between_tabs(tmp_path):
    """As in the list of X-ray clusters of COSMOS; without tabs nobody knows where such a cell ends."""
    (tmp_path / "a.txt").write_text("# ID    RA     DEC    z\n1\t150.5\t2.25\t0.7   0.1\n2\t150.25\t2.5\t0.3\n")
    np.testing.assert_array_equal(skymaps.read_positions(tmp_path / "a.txt"), [[150.5, 2.25], [150.25, 2.5]])
    (tmp_path / "b.txt").write_text("name ra dec\nNGC 1 150.5 2.25\n")
    with pytest.raises(ValueError, match="names 3 columns, but has 1 lines with another number"):
        skymaps.read_positions(tmp_path / "b.txt")


@pytest.mark.parametrize(
    ("form", "unit"),
    [("fits", "deg"), ("fits", "rad"), ("votable", "rad"), ("votable", "arcsec"), ("ascii.ecsv", "hourangle")],
)
def test_units_are_converted(galaxies, tmp_path, form, unit):
    table = galaxies.copy()
    for name in ("ra", "dec"):
        table[name] = (galaxies[name] * u.deg).to(unit)
    table["e1"] = (galaxies["e1"] * u.one).to("percent") if form == "ascii.ecsv" else galaxies["e1"]
    table.write(tmp_path / "a", format=form)
    found = skymaps.read_catalog(tmp_path / "a")
    for name in galaxies.colnames:
        np.testing.assert_allclose(found[name], galaxies[name], rtol=1e-14)
    np.testing.assert_array_equal(skymaps.read_positions(tmp_path / "a"), np.stack([found["ra"], found["dec"]], -1))


def test_units_in_other_spellings(galaxies, tmp_path):
    hdu = fits.BinTableHDU(galaxies)
    hdu.header["TUNIT1"], hdu.header["TUNIT2"] = "DEGREES", "radians"
    hdu.writeto(tmp_path / "a.fits")
    found = skymaps.read_catalog(tmp_path / "a.fits")
    np.testing.assert_array_equal(found["ra"], galaxies["ra"])
    np.testing.assert_allclose(found["dec"], np.degrees(galaxies["dec"]), rtol=1e-14)


def test_units_of_a_folder(galaxies, tmp_path):
    for name in galaxies.colnames:
        header = fits.Header({"BUNIT": "rad"} if name in ("ra", "dec") else {})
        fits.writeto(tmp_path / f"{name}.FIT", np.asarray(galaxies[name]), header)
    np.testing.assert_allclose(skymaps.read_catalog(tmp_path)["ra"], np.degrees(galaxies["ra"]), rtol=1e-14)


@pytest.mark.parametrize(("column", "unit"), [("ra", "s"), ("dec", "furlongs"), ("e1", "deg")])
def test_units_that_do_not_convert(galaxies, tmp_path, column, unit):
    galaxies[column].unit = u.Unit(unit, parse_strict="silent")
    galaxies.write(tmp_path / "a", format="ascii.ecsv")
    with pytest.raises(ValueError, match=f"column {column} must have .*; its unit is {unit}"):
        skymaps.read_catalog(tmp_path / "a")


def test_weights_may_have_any_unit(galaxies, tmp_path):
    galaxies["w"] = np.arange(6) / u.arcmin**2
    Table(galaxies).write(tmp_path / "a", format="ascii.ecsv")
    np.testing.assert_array_equal(skymaps.read_catalog(tmp_path / "a")["weight"], np.arange(6))


def missing(path, galaxies, column, rows):
    """A file gives the galaxies, in a column some of them masked, and says how many."""
    with pytest.warns(UserWarning, match=f"column {column}: {len(rows)} of 6 values are missing"):
        found = skymaps.read_catalog(path)
    np.testing.assert_array_equal(np.flatnonzero(masked(found[column])), rows)
    assert np.isnan(np.asarray(found[column])[rows]).all()
    assert type(found["e1" if column != "e1" else "e2"]) is np.ndarray
    whole = np.delete(np.arange(6), rows)
    np.testing.assert_array_equal(found[column][whole], galaxies[column][whole])
    return found


@pytest.mark.parametrize("word", ["", "NA", "nan", "NULL", "--", "<NA>", " N/A "])
def test_missing_words(galaxies, tmp_path, word):
    lines = text(galaxies).splitlines()
    lines[2], lines[6] = (",".join([*lines[i].split(",")[:2], word, lines[i].split(",")[3]]) for i in (2, 6))
    (tmp_path / "a.csv").write_text("\n".join(lines))
    found = missing(tmp_path / "a.csv", galaxies, "e1", [1, 5])
    grid = SkyGrid(ra=0, dec=0, shape=(400, 400), pixel_scale=60, projection="plain")
    rest = {name: values[[0, 2, 3, 4]] for name, values in galaxies.columns.items()}
    for one, other in zip(catalog_to_map(**found, grid=grid), catalog_to_map(**rest, grid=grid), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("form", ["fits", "votable", "ascii.ecsv"])
@pytest.mark.parametrize("column", ["ra", "e2"])
def test_missing_values_of_formats(galaxies, tmp_path, form, column):
    hidden = np.isin(np.arange(6), [1, 5])
    galaxies[column] = np.ma.array(np.where(hidden, -999, galaxies[column]), mask=hidden)
    galaxies.write(tmp_path / "a", format=form)
    missing(tmp_path / "a", galaxies, column, [1, 5])
    if column == "ra":
        with pytest.warns(UserWarning, match="2 of 6"):
            positions = skymaps.read_positions(tmp_path / "a")
        np.testing.assert_array_equal(masked(positions), np.outer(hidden, [True, False]))


def test_missing_integers(galaxies, tmp_path):
    weight = fits.Column("weight", "J", null=-1, array=np.array([1, -1, 2, 3, 4, 5]))
    columns = fits.BinTableHDU(galaxies).columns + fits.ColDefs([weight])
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "a.fits")
    galaxies["weight"] = [1, np.nan, 2, 3, 4, 5]
    missing(tmp_path / "a.fits", galaxies, "weight", [1])


@pytest.mark.parametrize("names", [("RA", "ra"), ("ra", "Ra")])
def test_columns_that_may_be_either(galaxies, tmp_path, names):
    table = Table(
        {
            names[0]: galaxies["ra"],
            names[1]: np.radians(galaxies["ra"]),
            "dec": galaxies["dec"],
            "e1": galaxies["e1"],
            "e2": galaxies["e2"],
        }
    )
    (tmp_path / "a.csv").write_text(text(table))
    table.write(tmp_path / "a.ecsv")
    for name in ("a.csv", "a.ecsv"):
        for read in (skymaps.read_catalog, skymaps.read_positions):
            with pytest.raises(ValueError, match=f"ra may be any of its columns {names[0]}, {names[1]}"):
                read(tmp_path / name)
        same(skymaps.read_catalog(tmp_path / name, columns={"ra": names[0]}), dict(galaxies.columns))
    galaxies["g1"] = galaxies["e1"] / 2
    galaxies.write(tmp_path / "b.ecsv")
    with pytest.raises(ValueError, match="e1 may be any of its columns e1, g1"):
        skymaps.read_catalog(tmp_path / "b.ecsv")


@pytest.mark.parametrize("form", ["fits", "votable", "ascii.ecsv", "ascii.csv", "ascii.commented_header"])
def test_empty_tables(galaxies, tmp_path, form):
    galaxies[:0].write(tmp_path / "a", format=form)
    for read in (skymaps.read_catalog, skymaps.read_positions):
        with pytest.raises(ValueError, match="a: column ra is empty: the table has no rows"):
            read(tmp_path / "a")


@pytest.mark.parametrize(
    ("text", "columns", "words"),
    [
        ("ra,dec,g1\n1,2,3\n", {}, "no column e2 or g2 or gamma2; it has ra, dec, g1"),
        ("ra,dec,e1,e2\n1,2,3,4\n", {"weight": "w8"}, "no column w8; it has ra, dec, e1, e2"),
        ("ra,dec,e1,e2\n1,2,3,4\n", {"e1": "E1"}, "no column E1"),
        ("ra,dec,e1,e2\n1,2,3,4\n", {"shear": "e1"}, "columns must be of ra, .*; got shear"),
        ("ra,dec,e1,e2\n1,2,north,4\n", {}, "column e1 must hold numbers"),
    ],
)
def test_bad_columns(tmp_path, text, columns, words):
    (tmp_path / "catalog.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        skymaps.read_catalog(tmp_path / "catalog.csv", columns=columns)


def test_no_table(tmp_path):
    fits.writeto(tmp_path / "image.fits", np.zeros((3, 3)))
    (tmp_path / "cut.fits").write_bytes((tmp_path / "image.fits").read_bytes()[:700])
    (tmp_path / "page.xml").write_text("<html><p>404 Not Found</p></html>")
    (tmp_path / "cut.vot").write_text("<?xml version='1.0'?><VOTABLE><RESOURCE>")
    (tmp_path / "other.csv").write_bytes(b"PAR1\0\1")
    (tmp_path / "nothing.csv").write_text("")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"ra,dec\n" * 1000)[:40])
    (tmp_path / "short.csv").write_text("ra,dec,e1,e2\n1,2,0.1,0.2\n1,2,0.1\n")
    for path in list(tmp_path.iterdir()):
        for read in (skymaps.read_catalog, skymaps.read_positions):
            with pytest.raises(ValueError, match=f"{path.name} is no table in FITS, VOTable, ECSV or text: ."):
                read(path)
    (tmp_path / "catalog.fits").write_text("ra dec\n1 2\n")
    with pytest.raises(ValueError, match="no column e1 or g1 or gamma1; it has ra, dec"):
        skymaps.read_catalog(tmp_path / "catalog.fits")
    with pytest.raises(FileNotFoundError):
        skymaps.read_catalog(tmp_path / "nowhere.fits")
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
        "kappa": rng.normal(size=(6, 9)),
        "samples": rng.normal(size=(4, 6, 9)).astype(np.float32),
        "counts": rng.integers(9, size=(6, 9)),
        "mask": rng.uniform(size=(6, 9)) > 0.5,
    }
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


def test_maps_with_units_and_gaps(tmp_path):
    path, values = tmp_path / "maps.fits", np.arange(54.0).reshape(6, 9)
    maps = {
        "gaps": np.ma.array(values, mask=values < 9),
        "counts": np.ma.array(values.astype(int), mask=values == 3),
        "area": values * u.arcmin**2,
        "plain": values * u.m,
    }
    skymaps.write_maps(path, maps, GRID.wcs, units={"area": "arcsec2"})
    expected = {
        "gaps": np.where(values < 9, np.nan, values),
        "counts": np.where(values == 3, np.nan, values),
        "area": 3600 * values,
        "plain": values,
    }
    for name in maps:
        np.testing.assert_allclose(skymaps.read_map(path, name)[0], expected[name], rtol=1e-14)
    assert [fits.getheader(path, name)["BUNIT"] for name in maps] == ["", "", "arcsec2", "m"]
    with pytest.raises(ValueError, match="plain must have the unit s"):
        skymaps.write_maps(path, maps, GRID.wcs, units={"plain": "s"})


def descending():
    wcs = GRID.wcs
    wcs.wcs.cdelt = -wcs.wcs.cdelt[0], wcs.wcs.cdelt[1]
    return wcs


@pytest.mark.parametrize(
    ("values", "wcs", "words"),
    [
        (np.zeros((9, 6)), GRID.wcs, r"shear must have shape .* WCS \(6, 9\); got \(9, 6\)"),
        (np.zeros((6, 9, 2)), GRID.wcs, "shear must have shape"),
        (np.zeros(6), GRID.wcs, "shear must have shape"),
        (np.zeros((6, 9)), descending(), "must ascend"),
        (np.zeros((6, 9)), WCS(naxis=2), "two celestial axes"),
    ],
)
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
