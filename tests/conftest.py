"""Fixtures of several folders: a temporary zoo with a small model, its download tree, a static server."""

import dataclasses
import functools
import http.server
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.fresh_process import pytest_runtest_protocol, pytest_runtestloop  # noqa: F401

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
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


@pytest.fixture(scope="session")
def small_zoo(tmp_path_factory):
    """Folder of a zoo with `small_cosmos` and the same as a generator of stamps, `stamps_cosmos`."""
    import small_recipe
    from small_model import SmallModel

    from deepcosmo import zoo

    root = tmp_path_factory.mktemp("published") / "zoo"
    for name, pixels in (("small_cosmos", 0), ("stamps_cosmos", 8)):
        task = "generation" if pixels else "regression"
        recipe = dataclasses.replace(small_recipe.RECIPE, name=name, task=task)
        model = SmallModel(pixels=pixels)
        metrics = recipe.evaluate(model, iter)
        training = {"seconds": 1, "hardware": "none", "git_revision": "0" * 40, "versions": {}}
        source = TESTS / "small_recipe.py"
        zoo.publish(model, recipe, metrics=metrics, training=training, root=root, source=source)
    return root


def export_tool(name):
    """The release tool `export/<name>.py` as a module."""
    spec = importlib.util.spec_from_file_location(f"export_{name}", CHECKOUT / "export" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def small_tree(small_zoo, tmp_path_factory):
    """Download tree of the small zoo."""
    out = tmp_path_factory.mktemp("served") / "models"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPCOSMO_ZOO", str(small_zoo))
        export_tool("build").build(out, small_zoo)
    return out


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
