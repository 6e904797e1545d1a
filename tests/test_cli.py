import codecs
import os
import re
import sys

import numpy as np
import pytest
from astropy.io import fits
from conftest import TESTS, python

import deepcosmo
from deepcosmo import cli

HEAVY = {"tensorflow", "keras", "numpy"}
COMMANDS = ["list", "info", "sample", "map", "train", "evaluate", "renew", "export", "download"]


@pytest.fixture
def chosen(small_zoo, monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPCOSMO_ZOO", str(small_zoo))
    monkeypatch.chdir(tmp_path)


def failure(capsys, *arguments):
    """The one line on standard error with which a command fails."""
    assert cli.main(list(arguments)) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("deepcosmo: ")
    return lines[0]


@pytest.mark.parametrize(
    "script", ["import deepcosmo", "from deepcosmo import cli; cli.arguments.parser().format_help()"]
)
def test_starts_without_tensorflow(script):
    done = python("-c", f"{script}; import sys; assert not {HEAVY!r} & set(sys.modules)")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0 and f"deepcosmo {command}" in text and len(text) > 150


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert all(re.search(rf"^    {command} ", text, re.MULTILINE) for command in COMMANDS)


@pytest.mark.parametrize(
    "arguments", ["", "lst", "sample", "sample x -n 0", "sample x -n 1.5", "sample x --seed a", "train x --strategy y"]
)
def test_wrong_usage_is_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments.split())
    assert end.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("command", ["info", "sample", "evaluate", "renew", "download"])
def test_unknown_model(chosen, capsys, command):
    assert "did you mean small_cosmos" in failure(capsys, command, "small_cosmo")


def test_unknown_recipe(chosen, capsys):
    assert "small_cosmos" in failure(capsys, "train", "small_cosmo")


def test_list(chosen, capsys):
    assert cli.main(["list"]) == 0
    assert re.search(r"small_cosmos +1 +regression +none/small:1.0.0", capsys.readouterr().out)
    assert cli.main(["list", "--task", "regression"]) == 0
    assert "stamps_cosmos" not in capsys.readouterr().out
    failure(capsys, "list", "--task", "cooking")


def test_list_into_a_closed_pipe(chosen, small_zoo):
    """As `deepcosmo list | head` does."""
    broken = "import os; r, w = os.pipe(); os.close(r); os.dup2(w, 1)"
    script = f"{broken}; from deepcosmo import cli; cli.main(['list'])"
    done = python("-c", script, DEEPCOSMO_ZOO=str(small_zoo), PYTHONUNBUFFERED="")
    assert "Traceback" not in done.stderr and "Broken" not in done.stderr


def test_info(chosen, capsys):
    assert cli.main(["info", "small_cosmos"]) == 0
    text = capsys.readouterr().out
    assert "Limits: Not for science." in text and re.search(r"NLL \[nat\] +\d\.\d+ ± 0\.\d+ +test +64", text)


def test_sample_stamps(chosen, capsys, tmp_path):
    assert cli.main(["sample", "stamps_cosmos", "--seed", "5"]) == 0
    text = capsys.readouterr().out
    files = re.findall(r"samples/\S+", text)
    assert files == ["samples/stamps_cosmos.png", "samples/stamps_cosmos.fits"]
    assert (tmp_path / files[0]).read_bytes().startswith(b"\x89PNG")
    with fits.open(tmp_path / files[1]) as hdus:
        header, table = hdus[0].header, hdus["CONDITIONS"]
        drawn = deepcosmo.zoo.load("stamps_cosmos").draw(64, seed=5)
        np.testing.assert_array_equal(hdus[0].data, drawn["image"][..., 0])
        np.testing.assert_array_equal(table.data["mag_auto"], drawn["mag_auto"])
        assert (header["BUNIT"], header["CUNIT1"], header["SEED"]) == ("ct/s", "arcsec", 5)
        assert header["CD1_1"] == header["CD2_2"] == header["PIXSCALE"] == 0.03
        assert header["CRPIX1"] == 4.5 and header["MAGZERO"] == 25.94 and header["PSFFWHM"] == 0.05
        assert table.columns["flux_radius"].unit == "pix"


def test_fits_has_a_wcs_that_astropy_and_galsim_read(chosen, tmp_path):
    import galsim
    from astropy.wcs import WCS

    assert cli.main(["sample", "stamps_cosmos", "-n", "2"]) == 0
    path = "samples/stamps_cosmos.fits"
    np.testing.assert_allclose(np.diag(WCS(fits.getheader(path)).pixel_scale_matrix)[:2], 0.03)
    with fits.open(path) as hdus:
        hdus[0].verify("exception")
    assert galsim.fits.readCube(path)[0].array.shape == (8, 8)


def test_sample_catalogue_in_batches(chosen, capsys, tmp_path):
    assert cli.main(["sample", "small_cosmos", "-n", "600", "-o", "out"]) == 0
    assert (tmp_path / "out" / "small_cosmos.png").stat().st_size > 1000
    mag = fits.getdata(tmp_path / "out" / "small_cosmos.fits", "CATALOG")["mag_auto"]
    assert len(mag) == len(np.unique(mag)) == 600


def test_sample_a_catalogue_of_one(chosen, tmp_path):
    assert cli.main(["sample", "small_cosmos", "-n", "1", "-o", "out"]) == 0
    assert (tmp_path / "out" / "small_cosmos.png").stat().st_size > 1000


@pytest.mark.parametrize("output", ["new/galaxies.fits", "new/galaxies.png"])
def test_sample_into_a_file(chosen, tmp_path, output):
    assert cli.main(["sample", "stamps_cosmos", "-n", "2", "-o", output]) == 0
    assert sorted(path.name for path in tmp_path.joinpath("new").iterdir()) == ["galaxies.fits", "galaxies.png"]


def test_draws_that_are_not_finite_are_not_written(chosen, capsys, monkeypatch, tmp_path):
    from small_model import SmallModel

    draw = SmallModel.draw

    def broken(*arguments, **options):
        drawn = {name: np.array(values) for name, values in draw(*arguments, **options).items()}
        drawn["mag_auto"][0] = np.nan
        return drawn

    monkeypatch.setattr(SmallModel, "draw", broken)
    assert "drew values that are not finite, of mag_auto" in failure(capsys, "sample", "small_cosmos")
    assert not (tmp_path / "samples").exists()


@pytest.mark.parametrize(
    "command",
    [
        "export small_cosmos file/x",
        "export small_cosmos file/x/y",
        "sample small_cosmos -o file",
        "sample small_cosmos -o file/x.fits",
        "train RECIPE -o file",
        "train RECIPE -o file/x",
        "map --catalog file --out file/x",
        "map --catalog file",
        "map --catalog file/x",
        "map --catalog nowhere",
        "map --catalog file --out folder",
        "map --catalog file --out .",
        "train file",
        "train file/recipe.py",
        "info file/x",
        "evaluate file",
        "download file/x",
        "renew file/x",
    ],
)
def test_paths_in_the_way_are_named_in_one_line(chosen, capsys, tmp_path, command):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.fits").mkdir()
    said = failure(capsys, *command.replace("RECIPE", str(TESTS / "small_recipe.py")).split())
    assert "Errno" not in said
    assert (tmp_path / "file").read_text() == "mine" and not any((tmp_path / "folder.fits").iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.fits"]


def test_terminals_that_are_not_utf_8(small_zoo, tmp_path):
    """Every command runs to its end, with ASCII in place of what cannot be shown."""
    rng = np.random.default_rng(0)
    galaxies = rng.uniform([10, 0, -0.3, -0.3], [10.5, 0.5, 0.3, 0.3], (4000, 4))
    np.savetxt(tmp_path / "shear.csv", galaxies, delimiter=",", header="ra,dec,e1,e2")
    commands = [
        "list",
        "info small_cosmos",
        "sample small_cosmos -n 300",
        "export small_cosmos saved",
        "info small_cosmo",
        "map --catalog shear.csv --method kaiser_squires --pixel-scale 0.9",
        f"train {TESTS / 'small_recipe.py'}",
        "evaluate small_cosmos",
        "download small_cosmos",
        "--help",
        "map --help",
    ]
    script = """if True:
        import sys, small_model
        from deepcosmo import cli
        for command in sys.argv[1:]:
            try:
                status = cli.main(command.split())
            except SystemExit as end:
                status = end.code
            print("status", status, command, flush=True)
    """
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "DEEPCOSMO_ZOO": str(small_zoo)}
    done = python("-c", script, *commands, cwd=tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    expected = [f"status {int(command == 'info small_cosmo')} {command}" for command in commands]
    assert re.findall(r"^status .*$", done.stdout, re.MULTILINE) == expected, done.stderr
    assert re.search(r"NLL \[nat\] +\d\.\d+ \+- 0\.", done.stdout) and done.stdout.isascii()


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", b"1.0 +- 0.1 ... Sersic ? \xc3\xa9\n"),
        ("latin-1", b"1.0 \xb1 0.1 ... S\xe9rsic ? \xc3\xa9\n"),
        ("utf-8", "1.0 ± 0.1 … Sérsic σ é\n".encode()),
    ],
)
def test_characters_that_a_terminal_lacks(encoding, expected):
    """The last one is the name of a file whose bytes Python could not decode."""
    codecs.register_error("deepcosmo", cli.program._plain)
    assert "1.0 ± 0.1 … Sérsic σ \udcc3\udca9\n".encode(encoding, "deepcosmo") == expected


def test_sample_of_a_model_that_does_not_draw(chosen, capsys, monkeypatch):
    from small_model import SmallModel

    monkeypatch.delattr(SmallModel, "draw")
    assert "a model for regression: it does not draw" in failure(capsys, "sample", "small_cosmos")


def test_export(chosen, capsys, tmp_path):
    assert cli.main(["export", "small_cosmos", "saved"]) == 0
    assert "endpoints: serving_default, log_prob, sample" in capsys.readouterr().out
    assert (tmp_path / "saved" / "saved_model.pb").is_file()
    assert "not an empty folder" in failure(capsys, "export", "small_cosmos", "saved")


def test_download(small_tree, serve, capsys, own_cache):
    assert cli.main(["download", f"{serve(small_tree)}/small_cosmos/1"]) == 0
    assert capsys.readouterr().out.startswith(str(own_cache))


def test_train_sample_evaluate(chosen, capsys, tmp_path, monkeypatch):
    """The whole line for a user's own recipe."""
    recipe = TESTS / "small_recipe.py"
    assert cli.main(["train", str(recipe)]) == 0
    assert "small_cosmos, version 1, is in runs/small_cosmos" in capsys.readouterr().out
    assert "resume" in failure(capsys, "train", str(recipe))
    assert cli.main(["train", str(recipe), "--resume"]) == 0
    monkeypatch.setenv("DEEPCOSMO_ZOO", "runs")
    trained = deepcosmo.zoo.info("small_cosmos")
    assert trained.training["seconds"] >= 0 and "tensorflow" in trained.training["versions"]
    before = (tmp_path / "runs" / "small_cosmos" / "model.json").read_text()
    assert cli.main(["sample", "small_cosmos", "-n", "3"]) == 0
    assert cli.main(["evaluate", "small_cosmos"]) == 0
    assert (tmp_path / "runs" / "small_cosmos" / "model.json").read_text() == before


def test_download_is_not_evaluated(small_tree, serve, capsys):
    assert "local zoo" in failure(capsys, "evaluate", f"{serve(small_tree)}/small_cosmos/1")


def test_module_runs_as_a_program(small_zoo):
    done = python("-m", "deepcosmo.cli", "info", "nothing_like_it", DEEPCOSMO_ZOO=str(small_zoo))
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
    assert os.path.basename(sys.executable) not in done.stderr
