"""From a catalogue to the maps of a field, and how much of them lies at given positions."""

import functools
import re

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from conftest import shared

from deepcosmo import cli
from deepcosmo.inference.mass_mapping import field
from deepcosmo.physics.catalog import SkyGrid

RA, DEC = 0.02, 2.0  # the field lies across RA = 0
HALO = (RA + 0.1, DEC - 0.05)


def catalog(galaxies=12000, strength=0.06):
    """Galaxies of a square degree around an isothermal halo of kappa = strength / (2 arcmin), with shape noise 0.1."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-0.4, 0.4, (2, galaxies))
    ra, dec = RA + x / np.cos(np.radians(DEC)), DEC + y
    dx, dy = (ra - HALO[0]) * np.cos(np.radians(DEC)) * 60, (dec - HALO[1]) * 60
    phi, tangential = np.arctan2(dy, dx), strength / (np.hypot(dx, dy) + 0.5)
    e1, e2 = -tangential * np.cos(2 * phi), -tangential * np.sin(2 * phi)
    noise = 0.1 * rng.normal(size=(2, galaxies))
    return {"ra": ra % 360, "dec": dec, "e1": e1 + noise[0], "e2": e2 + noise[1]}


@pytest.fixture(scope="module")
def mapped():
    return field.map_field(catalog(), method="wiener", pixel_scale=0.6, num_samples=3)


def test_the_halo_is_where_it_is(mapped):
    row, column = np.unravel_index(np.argmax(mapped.result.mean), mapped.grid.shape)
    ra, dec = mapped.grid.wcs.wcs_pix2world(column, row, 0)
    assert (ra - HALO[0] + 180) % 360 - 180 == pytest.approx(0, abs=1.5 / 60)
    assert dec == pytest.approx(HALO[1], abs=1.5 / 60)


def test_the_files_hold_the_maps_and_their_places(mapped, tmp_path):
    mapped.write(tmp_path / "maps.fits", header={"SEED": 0})
    with fits.open(tmp_path / "maps.fits") as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "MEAN", "STD", "SNR", "SAMPLES", "MASK"]
        assert (hdus[0].header["METHOD"], hdus[0].header["NGAL"]) == ("wiener", 12000)
        np.testing.assert_array_equal(hdus["SAMPLES"].data, mapped.result.samples)
        x, y = WCS(hdus["MEAN"].header).wcs_world2pix(*HALO, 0)
        assert hdus["MEAN"].data[round(float(y)), round(float(x))] > 4 * np.std(hdus["MEAN"].data)


def test_coincidence(mapped):
    found = field.coincidence(mapped.result.mean, mapped, [HALO[0], 90.0], [HALO[1], 0.0], sets=200)
    assert found.size == 1 and found.fraction < 0.02 and found.mean > 4 * found.random_std
    nowhere = field.coincidence(0 * mapped.result.mean, mapped, [HALO[0]], [HALO[1]], sets=50)
    assert (nowhere.mean, nowhere.fraction) == (0, 1)
    with pytest.raises(ValueError, match="none of the positions"):
        field.coincidence(mapped.result.mean, mapped, [90.0], [0.0])


def test_units_and_masks_of_positions(mapped):
    ra, dec = np.array([HALO[0], RA - 0.2]), np.array([HALO[1], DEC])
    hidden, kappa = np.array([False, True]), mapped.result.mean
    one = field.coincidence(kappa, mapped, ra[:1], dec[:1], sets=200)
    assert field.coincidence(kappa, mapped, np.ma.array(ra, mask=hidden), dec, sets=200) == one
    assert (
        field.coincidence(kappa, mapped, ra[:1] * u.deg, np.radians(dec[:1]) * u.rad, sets=200, radius=30 * u.arcsec)
        == one
    )
    with pytest.raises(ValueError, match="ra must have the unit deg"):
        field.coincidence(kappa, mapped, ra * u.s, dec)


def test_masked_convergence_counts_as_not_observed(mapped):
    kappa = np.where(mapped.data.mask, 0.01, 0.0)
    hidden = np.zeros(kappa.shape, bool)
    hidden[: len(kappa) // 2] = True
    found = field.coincidence(
        np.ma.array(np.where(hidden, -999, 0.01), mask=hidden), mapped, [HALO[0], RA], [DEC - 0.3, DEC + 0.3], sets=50
    )
    assert found.size == 1
    np.testing.assert_allclose([found.mean, found.random_mean], 0.01, rtol=1e-12)
    for wrong in (np.nan, -1.6375e30):
        with pytest.raises(ValueError, match=f"more than 11 in size, in {hidden.sum()} pixels: mask them"):
            field.coincidence(np.where(hidden, wrong, 0.01), mapped, [RA], [DEC])


def test_masked_galaxies_do_not_make_the_map_larger():
    """Nor do units of the catalogue or of pixels change it."""
    whole, far = catalog(3000), np.arange(3000) < 3
    given = whole | {
        "ra": whole["ra"] * u.deg,
        "dec": np.where(far, 2.9, whole["dec"]),
        "e1": np.ma.array(np.where(far, -999, whole["e1"]), mask=far),
    }
    rest = {name: values[~far] for name, values in whole.items()}
    found, expected = (
        field.map_field(c, method="kaiser_squires", pixel_scale=p)
        for c, p in ((given, 90 * u.arcsec), (rest | {"weight": None}, 1.5))
    )
    assert found.grid == expected.grid
    np.testing.assert_array_equal(found.result.mean, expected.result.mean)


def test_a_grid_of_ones_own():
    grid = SkyGrid(ra=RA, dec=DEC, shape=(40, 48), pixel_scale=1.0)
    mapped = field.map_field(catalog(3000), method="kaiser_squires", grid=grid)
    assert mapped.result.mean.shape == (40, 48) and set(mapped.pictured()) >= {"mean", "signal to noise"}


def test_the_command(tmp_path, capsys):
    Table(catalog(4000)).write(tmp_path / "shear.fits")
    (tmp_path / "clusters.txt").write_text(f"# from nowhere\n# ID RA DEC\n1 {HALO[0]} {HALO[1]}\n")
    files = {"--catalog": "shear.fits", "--points": "clusters.txt", "--out": "new/kappa"}
    arguments = [word for option, name in files.items() for word in (option, str(tmp_path / name))]
    assert cli.main(["map", *arguments, "--method", "wiener", "--pixel-scale", "1.2", "-n", "2"]) == 0
    said = capsys.readouterr().out
    assert "mean convergence at 1 positions" in said and "4000 galaxies" in said
    assert (tmp_path / "new" / "kappa.png").stat().st_size > 20000
    assert fits.getdata(tmp_path / "new" / "kappa.fits", "SAMPLES").shape[0] == 2


def test_the_command_tells_what_it_leaves_out(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = Table(catalog(4000))
    table["e1"][:20] = -999
    table["e2"][20:25] = np.nan
    table.write("shear.fit", format="fits")
    command = ["map", "--catalog", "shear.fit", "--method", "kaiser_squires", "--pixel-scale", "1.2"]
    assert cli.main([*command, "--out", "kap.fits"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "deepcosmo: shear.fit: column e2: 5 of 4000 values are missing"
    assert "20 of 3995 galaxies have no possible shear" in lines[1] and len(lines) == 2
    assert sorted(path.name for path in tmp_path.glob("kap*")) == ["kap.fits", "kap.png"]
    assert fits.getheader("kap.fits")["NGAL"] == 3975
    for out in ("shear.fit", "kap.png/kap", "."):
        assert cli.main([*command, "--out", out]) == 1
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert len(Table.read("shear.fit")) == 4000


@pytest.mark.parametrize("name", ["mean", "std"])
def test_a_map_that_is_not_finite_is_never_written(tmp_path, capsys, monkeypatch, name):
    """Whatever method it comes from."""
    from deepcosmo.inference.mass_mapping import kaiser_squires

    estimate = kaiser_squires.estimate

    @functools.wraps(estimate)
    def broken(*arguments, **options):
        result = estimate(*arguments, **options)
        getattr(result, name)[3, 4] = np.nan
        return result

    monkeypatch.setattr(kaiser_squires, "estimate", broken)
    Table(catalog(4000)).write(tmp_path / "shear.fits")
    assert (
        cli.main(
            [
                "map",
                "--catalog",
                str(tmp_path / "shear.fits"),
                "--method",
                "kaiser_squires",
                "--pixel-scale",
                "1.2",
                "--out",
                str(tmp_path / "kappa"),
            ]
        )
        == 1
    )
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "'kaiser_squires' diverged: 1 of " in lines[0] and f"of its {name}" in lines[0]
    assert not (tmp_path / "kappa.fits").exists()


def test_the_command_draws_from_the_posterior_by_default(tmp_path):
    Table(catalog(4000)).write(tmp_path / "shear.fits")
    assert cli.main(["map", "--catalog", str(tmp_path / "shear.fits"), "-n", "1", "-o", str(tmp_path / "kappa")]) == 0
    assert fits.getheader(tmp_path / "kappa.fits")["METHOD"] == "posterior"
    assert fits.getdata(tmp_path / "kappa.fits", "SAMPLES").shape[0] == 1


def test_the_cosmos_field(tmp_path, capsys):
    """Convergence lies where the X-ray clusters are."""
    folder = shared("cosmos_shear")
    assert (
        cli.main(
            [
                "map",
                "--catalog",
                str(folder),
                "--column",
                "weight=nhweight_int",
                "--signs",
                "1",
                "-1",
                "--points",
                str(folder / "xray.txt"),
                "--out",
                str(tmp_path / "cosmos"),
                "--method",
                "wiener",
                "-n",
                "2",
            ]
        )
        == 0
    )
    said = capsys.readouterr().out
    assert "417117 galaxies" in said
    found = [float(number) for number in re.findall(r"0\.\d{4}", said)]
    at_clusters, random, scatter = found[:3]
    assert at_clusters > random + 5 * scatter
    with fits.open(tmp_path / "cosmos.fits") as hdus:
        assert hdus["MEAN"].data.shape == (272, 279)
        x, y = WCS(hdus["MEAN"].header).wcs_world2pix(150.116, 2.247, 0)  # the middle of the catalogue
        assert np.hypot(x - hdus["MEAN"].data.shape[1] / 2, y - hdus["MEAN"].data.shape[0] / 2) < 30


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.remove_column("e1"), "has no column e1"),
        (lambda t: t.remove_rows(slice(None)), "empty"),
        (lambda t: t["dec"].__setitem__(0, 95.0), "dec must lie between"),
        (lambda t: t["e2"].__setitem__(0, np.inf), "e2 must be finite"),
        (lambda t: t["e2"].__setitem__(slice(None), -999.0), "200 of 200 galaxies have no possible shear"),
        (lambda t: setattr(t["ra"], "unit", "s"), "column ra must have the unit deg"),
        (lambda t: t.add_column(t["e1"], name="g1"), "e1 may be any of its columns e1, g1"),
    ],
)
def test_bad_catalogues_are_named_in_one_line(tmp_path, capsys, change, words):
    table = Table(catalog(200))
    change(table)
    table.write(tmp_path / "shear.fits")
    assert cli.main(["map", "--catalog", str(tmp_path / "shear.fits"), "--method", "wiener"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and words in lines[0]
