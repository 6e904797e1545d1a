"""Fixtures of several folders: a temporary zoo with a small model, its download tree, a static server."""

import dataclasses
import fcntl
import functools
import http.server
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from tests.fresh_process import pytest_runtest_protocol, pytest_runtestloop  # noqa: F401

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
RUN = "DEEPCOSMO_TESTS_RUN"  # folder of what the processes of a run share
TESTS = Path(__file__).parent
CHECKOUT = TESTS.parent
# real data, which are no part of the project
SHARED = Path(os.environ.get("DEEPCOSMO_SHARED_DATA", CHECKOUT / "../shared/data"))


def shared(name):
    """A file or folder of the shared data; the test is skipped where there are none."""
    if not (SHARED / name).exists():
        pytest.skip(f"{name} of the shared data is not on this machine")
    return SHARED / name


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test reads or writes the user's cache, reads the user's data, or looks beyond this machine."""
    monkeypatch.setenv("DEEPCOSMO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    for name in ("ZOO", "URL", "COSMOS_DIR", "COSMOS_SHEAR"):
        monkeypatch.delenv(f"DEEPCOSMO_{name}", raising=False)
    return tmp_path / "cache"


def pytest_configure(config):
    """Makes the folder of `once`, which all processes of a run inherit."""
    if RUN not in os.environ:
        os.environ[RUN] = tempfile.mkdtemp(prefix="deepcosmo-tests-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(RUN), ignore_errors=True))


def once(name, make):
    """The folder that `make(folder)` has filled, once for all processes of a run."""
    folder, part = Path(os.environ[RUN], name), Path(os.environ[RUN], f"{name}.part")
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            make(part)
            part.rename(folder)
    return folder


@pytest.fixture(scope="session")
def small_zoo():
    """Folder of a zoo with `small_cosmos` and the same as a generator of stamps, `stamps_cosmos`."""
    return once("small_zoo", _publish)


def _publish(root):
    import small_recipe
    from small_model import SmallModel

    from deepcosmo import zoo

    for name, pixels in (("small_cosmos", 0), ("stamps_cosmos", 8)):
        task = "generation" if pixels else "regression"
        recipe = dataclasses.replace(small_recipe.RECIPE, name=name, task=task)
        model = SmallModel(pixels=pixels)
        metrics = recipe.evaluate(model, iter)
        training = {"seconds": 1, "hardware": "none", "git_revision": "0" * 40, "versions": {}}
        source = TESTS / "small_recipe.py"
        zoo.publish(model, recipe, metrics=metrics, training=training, root=root, source=source)


def export_tool(name):
    """The release tool `export/<name>.py` as a module."""
    spec = importlib.util.spec_from_file_location(f"export_{name}", CHECKOUT / "export" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def small_tree(small_zoo):
    """Download tree of the small zoo."""

    def build(folder):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DEEPCOSMO_ZOO", str(small_zoo))
            export_tool("build").build(folder, small_zoo)

    return once("small_tree", build)


@pytest.fixture
def tree(small_tree, tmp_path):
    """A copy of the download tree that a test may spoil."""
    copy = tmp_path / "tree"
    shutil.copytree(small_tree, copy)
    return copy


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    """Function that serves a folder with Python's static server and returns its address."""
    servers = []

    def start(folder, handler=_Quiet):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def python(*arguments, cwd=None, executable=sys.executable, path=(CHECKOUT, TESTS), **environment):
    """Runs Python in a process of its own; `path` becomes its PYTHONPATH."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))} | environment
    command = [str(executable), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
