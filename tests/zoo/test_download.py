"""The zoo over a real static server on loopback."""

import shutil
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import CHECKOUT, _Quiet, python

from deepcosmo import cli, zoo
from deepcosmo.zoo import golden, store

NAME = "small_cosmos"


@pytest.fixture
def nowhere():
    """Address at which nothing listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def replays(call, small_zoo):
    with np.load(small_zoo / NAME / "golden.npz") as arrays:
        return max(golden.deviations(call, dict(arrays)).values()) < golden.TOLERANCE


@pytest.mark.parametrize("suffix", ["/1", "", "/1/"])
def test_load_from_a_url(small_tree, small_zoo, serve, suffix, own_cache):
    address = serve(small_tree)
    model = zoo.load(f"{address}/{NAME}{suffix}")
    assert replays(golden.call_keras(model), small_zoo)
    assert not list(own_cache.rglob(".download-*"))


def test_second_load_needs_no_network(small_tree, small_zoo, serve, nowhere, own_cache):
    address = serve(small_tree)
    zoo.download(f"{address}/{NAME}/1")
    origin = next(own_cache.iterdir())
    origin.rename(origin.with_name(store._origin(nowhere)))
    assert replays(golden.call_keras(zoo.load(f"{nowhere}/{NAME}/1")), small_zoo)
    assert replays(golden.call_keras(zoo.load(NAME)), small_zoo)  # a name finds it too
    assert NAME in zoo.list_models()


def test_saved_model_from_a_url(small_tree, small_zoo, serve):
    loaded = zoo.saved_model(f"{serve(small_tree)}/{NAME}/1")
    assert replays(golden.call_saved_model(loaded), small_zoo)


def test_tensorflow_hub_loads_the_same_url(small_tree, small_zoo, serve):
    import tensorflow_hub as hub

    loaded = hub.load(f"{serve(small_tree)}/{NAME}/1")
    assert replays(golden.call_saved_model(loaded), small_zoo)


def test_serve_tool(small_tree, tmp_path):
    command = [sys.executable, CHECKOUT / "export" / "serve.py", small_tree, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            url = server.stdout.readline().strip()
            assert (zoo.download(url) / "model.json").is_file()
        finally:
            server.terminate()


def test_order_local_cache_url(small_tree, small_zoo, serve, monkeypatch, own_cache):
    monkeypatch.setenv("DEEPCOSMO_URL", serve(small_tree))
    fetched = zoo.download(NAME)
    assert own_cache in fetched.parents
    assert zoo.url(NAME) == f"{store.os.environ['DEEPCOSMO_URL']}/{NAME}/1"
    monkeypatch.setenv("DEEPCOSMO_ZOO", str(small_zoo))
    assert zoo.download(NAME) == small_zoo / NAME


def test_two_origins_are_kept_apart(small_tree, tree, serve):
    first = zoo.download(f"{serve(small_tree)}/{NAME}/1")
    second = zoo.download(f"{serve(tree)}/{NAME}/1")
    assert first != second


@pytest.mark.parametrize(
    "file", ["sha256.json", *(f"{store.EXTRA}/{name}" for name in ("model.weights.h5", "model.json", "config.json"))]
)
@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_damaged_cache_is_fetched_again(small_tree, small_zoo, serve, file, damage):
    url = f"{serve(small_tree)}/{NAME}/1"
    path = zoo.download(url).parent / file
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2]) if damage == "truncated" else path.unlink()
    with pytest.warns(UserWarning, match="another copy"):
        assert replays(golden.call_keras(zoo.load(url)), small_zoo)
    assert path.read_bytes() == whole


def test_damaged_saved_model_is_fetched_again(small_tree, small_zoo, serve):
    url = f"{serve(small_tree)}/{NAME}/1"
    path = zoo.download(url).parent / "saved_model.pb"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.warns(UserWarning, match="saved_model.pb is damaged"):
        assert replays(golden.call_saved_model(zoo.saved_model(url)), small_zoo)


def test_damaged_local_copy_is_replaced_by_a_download(small_tree, small_zoo, serve, tmp_path, monkeypatch):
    shutil.copytree(small_zoo, tmp_path / "zoo")
    monkeypatch.setenv("DEEPCOSMO_ZOO", str(tmp_path / "zoo"))
    (tmp_path / "zoo" / NAME / "model.weights.h5").write_bytes(b"half")
    monkeypatch.setenv("DEEPCOSMO_URL", serve(small_tree))
    with pytest.warns(UserWarning, match="model.weights.h5 is damaged"):
        assert replays(golden.call_keras(zoo.load(NAME)), small_zoo)


def test_truncated_archive_is_refused(tree, serve):
    archive = tree / NAME / "1.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(zoo.DamagedFile, match=r"1\.tar\.gz was refused"):
        zoo.load(f"{serve(tree)}/{NAME}/1")


def test_broken_transfer_is_tried_again(small_tree, small_zoo, serve):
    class BreaksOnce(_Quiet):
        broken = False

        def copyfile(self, source, outputfile):
            if self.path.endswith(".tar.gz") and not BreaksOnce.broken:
                BreaksOnce.broken = True
                outputfile.write(source.read(1000))  # then the connection closes
            else:
                super().copyfile(source, outputfile)

    assert replays(golden.call_keras(zoo.load(f"{serve(small_tree, BreaksOnce)}/{NAME}/1")), small_zoo)
    assert BreaksOnce.broken


def test_cached_model_without_its_list_of_hashes_is_skipped(small_tree, serve, capsys):
    address = serve(small_tree)
    for name in (NAME, "stamps_cosmos"):
        folder = zoo.download(f"{address}/{name}/1").parent
    (folder / "sha256.json").unlink()
    assert cli.main(["list"]) == 0
    said = capsys.readouterr()
    assert NAME in said.out and "stamps_cosmos" not in said.out
    assert f"{folder} is an incomplete download" in said.err and len(said.err.splitlines()) == 1


def test_cache_that_cannot_be_written_to(small_tree, serve, own_cache):
    own_cache.write_text("a file")
    with pytest.raises(zoo.ZooError, match="cannot be written to .*; DEEPCOSMO_CACHE names another folder"):
        zoo.download(f"{serve(small_tree)}/{NAME}/1")


def test_unknown_on_the_server(small_tree, serve):
    address = serve(small_tree)
    with pytest.raises(zoo.ZooError, match="did you mean small_cosmos"):
        zoo.load(f"{address}/small_cosmoss/1")
    with pytest.raises(zoo.ZooError, match="only in version 1"):
        zoo.load(f"{address}/{NAME}/9")
    with pytest.raises(zoo.ZooError, match="contradicts"):
        zoo.load(f"{address}/{NAME}/1", version=2)


def test_not_a_download_tree(tmp_path, serve):
    with pytest.raises(zoo.ZooError, match="404"):
        zoo.load(f"{serve(tmp_path)}/{NAME}/1")


def test_no_network_and_no_cache_is_one_line(nowhere, monkeypatch):
    with pytest.raises(zoo.ZooError, match="out of reach") as error:
        zoo.load(f"{nowhere}/{NAME}/1")
    assert "\n" not in str(error.value)
    monkeypatch.setenv("DEEPCOSMO_URL", nowhere)
    with pytest.raises(zoo.ZooError, match="no small_cosmos in the cache .* out of reach"):
        zoo.load(NAME)


def test_processes_that_download_at_once_all_get_whole_files(small_tree, serve, own_cache):
    class Slow(_Quiet):
        def copyfile(self, source, outputfile):
            while block := source.read(2000):  # so that the downloads overlap
                outputfile.write(block)
                time.sleep(0.02)

    url = f"{serve(small_tree, Slow)}/{NAME}/1"
    script = f"from deepcosmo import zoo; d = zoo.download({url!r}); zoo.info({url!r}).verify(); print(d)"
    command = [sys.executable, "-c", script]
    running = [
        subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    answers = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], answers
    assert len({out for out, _ in answers}) == 1
    assert not any("damaged" in err for _, err in answers)


def test_killed_download_leaves_no_trap(small_tree, small_zoo, serve, own_cache):
    class Stalls(_Quiet):
        def copyfile(self, source, outputfile):
            if self.path.endswith(".tar.gz"):
                outputfile.write(source.read(1000))
                outputfile.flush()
                time.sleep(3)
            else:
                super().copyfile(source, outputfile)

    address = serve(small_tree, Stalls)
    script = f"from deepcosmo import zoo; zoo.download('{address}/{NAME}/1')"
    process = subprocess.Popen([sys.executable, "-c", script], cwd=CHECKOUT)
    deadline = time.monotonic() + 30
    while not any(path.is_file() for path in own_cache.rglob(".download-*/*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    whole = serve(small_tree)
    origin = next(own_cache.iterdir())
    origin.rename(origin.with_name(store._origin(whole)))
    assert replays(golden.call_keras(zoo.load(f"{whole}/{NAME}/1")), small_zoo)


def test_downloads_need_no_tensorflow(small_tree, serve):
    url = f"{serve(small_tree)}/{NAME}/1"
    script = f"import sys, deepcosmo; deepcosmo.zoo.download({url!r}); assert 'tensorflow' not in sys.modules"
    done = python("-c", script)
    assert done.returncode == 0, done.stderr
