import json
import shutil

import numpy as np
import pytest

from deepcosmo import cli, zoo
from deepcosmo.zoo import golden

NAME = "small_cosmos"


@pytest.fixture
def local(small_zoo, tmp_path, monkeypatch):
    """A copy of the small zoo that a test may spoil, chosen with DEEPCOSMO_ZOO."""
    copy = tmp_path / "zoo"
    shutil.copytree(small_zoo, copy)
    monkeypatch.setenv("DEEPCOSMO_ZOO", str(copy))
    return copy


def edit(path, **changes):
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(content))


def test_load_gives_the_published_weights(local):
    model = zoo.load(NAME)
    with np.load(local / NAME / "golden.npz") as arrays:
        worst = golden.deviations(golden.call_keras(model), dict(arrays))
    assert len(worst) == 2 and max(worst.values()) < golden.TOLERANCE


def test_other_weights_are_noticed(local):
    model = zoo.load(NAME)
    model.log_sigma.assign(0.01)
    with np.load(local / NAME / "golden.npz") as arrays:
        worst = golden.deviations(golden.call_keras(model), dict(arrays))
    assert min(worst.values()) > golden.TOLERANCE


def test_weights_false_gives_a_fresh_network(local):
    (local / NAME / "model.weights.h5").unlink()
    fresh, other = zoo.load(NAME, weights=False), zoo.load(NAME, weights=False)
    assert fresh.count_params() == zoo.info(NAME).parameters
    assert np.any(fresh.layer.kernel != other.layer.kernel)


def test_published_weights_hold_no_optimiser(small_zoo):
    import h5py

    with h5py.File(small_zoo / NAME / "model.weights.h5") as file:
        assert "optimizer" not in file


def test_saved_model_of_a_local_entry(local):
    with np.load(local / NAME / "golden.npz") as arrays:
        worst = golden.deviations(golden.call_saved_model(zoo.saved_model(NAME)), dict(arrays))
    assert max(worst.values()) < golden.TOLERANCE


def test_lists_are_filtered(local):
    assert {NAME, "stamps_cosmos"} <= set(zoo.list_models())
    assert zoo.list_models(task="regression", dataset="none") == [NAME]
    assert zoo.list_models(dataset="cosmos_nothing") == []


def test_info(local):
    entry = zoo.info(NAME)
    assert (entry.name, entry.version, entry.model_class) == (NAME, 1, "deepcosmo_tests>SmallModel")
    assert entry.size == sum((local / NAME / file).stat().st_size for file in entry.files)
    assert entry.metrics[0]["split"] == "test"


def test_unknown_name_lists_the_nearest(local):
    with pytest.raises(zoo.ZooError, match="small_cosmo'; did you mean small_cosmos"):
        zoo.load("small_cosmo")
    with pytest.raises(zoo.ZooError, match="there are: .*small_cosmos"):
        zoo.load("xyzzy")


@pytest.mark.parametrize("name", ["", "../zoo", "Small", "small cosmos", "/tmp", "http://", "http:///x/1"])
def test_names_that_are_none(local, name):
    with pytest.raises(zoo.ZooError):
        zoo.load(name)


def test_versions(local):
    assert zoo.info(NAME, version=1).version == 1
    with pytest.raises(zoo.ZooError, match="no small_cosmos version 7 here, only version 1"):
        zoo.load(NAME, version=7)
    for bad in (0, -1, "1", 1.0, True):
        with pytest.raises(zoo.ZooError, match="positive integer"):
            zoo.load(NAME, version=bad)


def test_newer_format_is_refused(local):
    edit(local / NAME / "model.json", format=2)
    with pytest.raises(zoo.ZooError, match="newer deepcosmo .format 2"):
        zoo.load(NAME)


@pytest.mark.parametrize("file", ["config.json", "model.weights.h5"])
@pytest.mark.parametrize("damage", ["truncated", "changed", "missing"])
def test_damaged_file_is_refused_by_name(local, file, damage):
    path = local / NAME / file
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[:-10])
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    with pytest.warns(UserWarning, match=file), pytest.raises(zoo.DamagedFile, match=f"{file} is "):
        zoo.load(NAME)


@pytest.mark.parametrize("text", ["", '{"format": 1, "name"', "[]", '{"format": 1}'])
def test_damaged_entry_is_refused_by_name(local, text):
    (local / NAME / "model.json").write_text(text)
    with pytest.warns(UserWarning), pytest.raises(zoo.DamagedFile, match="model.json is damaged"):
        zoo.load(NAME)
    with pytest.warns(UserWarning, match="model.json is damaged"):
        assert NAME not in zoo.list_models()


def test_entry_of_another_model_is_refused(local):
    shutil.copy(local / "stamps_cosmos" / "model.json", local / NAME / "model.json")
    with pytest.warns(UserWarning), pytest.raises(zoo.DamagedFile, match="describes stamps_cosmos"):
        zoo.load(NAME)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda path: None, "no folder that can be read: No such file or directory"),
        (lambda path: path.write_text("a file"), "no folder that can be read: Not a directory"),
    ],
)
def test_broken_deepcosmo_zoo_is_reported(tmp_path, monkeypatch, capsys, broken, said):
    broken(tmp_path / "zoo")
    monkeypatch.setenv("DEEPCOSMO_ZOO", str(tmp_path / "zoo"))
    for command in ("list", "info maf_cosmos_catalog", "sample maf_cosmos_catalog", "train maf_cosmos_catalog"):
        assert cli.main(command.split()) == 1
        assert capsys.readouterr().err == f"deepcosmo: DEEPCOSMO_ZOO is {tmp_path / 'zoo'}, {said}\n"


def test_model_json_that_cannot_be_read_is_skipped_by_name(local, capsys):
    path = local / NAME / "model.json"
    for damage in (lambda: path.write_bytes(b"\xff\xfe{"), lambda: (path.unlink(), path.mkdir())):
        damage()
        assert cli.main(["list"]) == 0
        said = capsys.readouterr()
        assert "stamps_cosmos" in said.out and NAME not in said.out
        assert f"skipped: {path} " in said.err and len(said.err.splitlines()) == 1


def test_url_needs_an_address(local, monkeypatch):
    with pytest.raises(zoo.ZooError, match="DEEPCOSMO_URL"):
        zoo.url(NAME)
    monkeypatch.setenv("DEEPCOSMO_URL", "http://127.0.0.1:9/models/")
    assert zoo.url(NAME, version=3) == "http://127.0.0.1:9/models/small_cosmos/3"
