"""What is installed: a wheel, and an sdist, hold the published models and all that the data sets need."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile

import pytest
from conftest import CHECKOUT, TESTS, python

TOP_LEVEL = {"setup.cfg", "setup.py", "deepcosmo", "zoo", "tfds_builders", "tests", "export", "README.md"}
SMALL_FILES = {"CHANGELOG.md", "CITATION.cff", "LICENSE", "ruff.toml"}


@pytest.fixture(scope="module")
def checkout(small_zoo, tmp_path_factory):
    """A copy of the checkout with the small zoo in place of the real one."""
    copy = tmp_path_factory.mktemp("source") / "checkout"
    nothing = shutil.ignore_patterns("__pycache__", "_published", "*.egg-info")
    for name in ("deepcosmo", "tfds_builders"):
        shutil.copytree(CHECKOUT / name, copy / name, ignore=nothing)
    for name in ("setup.cfg", "setup.py", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, copy / name)
    shutil.copytree(small_zoo, copy / "zoo")
    return copy


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    done = python("-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", out, checkout)
    assert done.returncode == 0, done.stderr
    return next(out.glob("deepcosmo-*.whl"))


def test_wheel_holds_zoo_and_data_files(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for model in ("small_cosmos", "stamps_cosmos"):
        for file in ("model.json", "config.json", "model.weights.h5", "golden.npz", "recipe.py", "README.md"):
            assert f"deepcosmo/zoo/_published/{model}/{file}" in names
    tops = {name.split("/")[0] for name in names}
    assert {name for name in tops if not name.endswith(".dist-info")} == {"deepcosmo", "tfds_builders"}
    wanted = {
        path.relative_to(CHECKOUT).as_posix()
        for package in ("deepcosmo", "tfds_builders")
        for path in (CHECKOUT / package).rglob("*")
        if path.is_file() and not {"__pycache__", "_published"} & set(path.parts)
    }
    assert wanted <= names


def test_wheel_works_without_the_checkout(wheel, tmp_path):
    """In a new environment that borrows only the dependencies of this one."""
    home = tmp_path / "elsewhere"
    venv.create(home, with_pip=False, symlinks=True)
    site = next(home.glob("lib/python*/site-packages"))
    borrowed = {path for path in sys.path if path.endswith("-packages")}
    (site / "borrowed.pth").write_text("\n".join(sorted(borrowed)))
    program = home / "bin" / "python"
    install = ["-m", "pip", "--python", program, "install", "-q", "--no-deps", "--no-index", wheel]
    done = python(*install, path=[])
    assert done.returncode == 0, done.stderr
    tests = tmp_path / "tests"  # the class of the small model, which the package does not have
    tests.mkdir()
    shutil.copy(TESTS / "small_model.py", tests)
    script = (
        "import small_model, deepcosmo; model = deepcosmo.zoo.load('small_cosmos');"
        "import tfds_builders; print(deepcosmo.__file__, model.count_params())"
    )
    done = python("-c", script, cwd=tmp_path, executable=program, path=[tests])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(home))
    listed = subprocess.run(
        [home / "bin" / "deepcosmo", "list"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )
    assert listed.returncode == 0 and "small_cosmos" in listed.stdout, listed.stderr


def test_sdist_holds_the_zoo(checkout, tmp_path):
    script = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    done = python("-c", script, tmp_path, cwd=checkout, path=[])
    assert done.returncode == 0, done.stderr
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {"zoo/small_cosmos/model.weights.h5", "zoo/small_cosmos/model.json", "setup.py"} <= names


def test_top_level():
    tracked = subprocess.run(["git", "ls-files"], cwd=CHECKOUT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    tops = {line.split("/")[0] for line in tracked.stdout.splitlines()}
    assert {top for top in tops if not top.startswith(".")} <= TOP_LEVEL | SMALL_FILES


@pytest.mark.parametrize(
    "marker, begin",
    [("main command", "pip install -e "), ("test command", "pip install -e "), ("slow tests", "pytest ")],
)
def test_readme_has_the_commands_that_ci_runs(marker, begin):
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    found = re.search(f"^<!-- {marker} -->\n```bash\n(.+?)\n```$", readme, re.MULTILINE | re.DOTALL)
    assert found and found[1].startswith(begin)


@pytest.mark.parametrize(
    ("first", "second", "third", "status", "said"),
    [
        ("echo testing", "echo drawing", "echo training", 0, ["testing", "drawing", "training"]),
        ("false && echo testing", "echo drawing", "echo training", 1, []),
        ("echo testing", "false && echo drawing", "echo training", 1, ["testing"]),
        ("echo testing", "echo drawing", "false", 1, ["testing", "drawing"]),
        (None, "echo drawing", "echo training", 1, []),
    ],
)
def test_ci_runs_the_commands_of_the_readme(tmp_path, first, second, third, status, said):
    """In a folder of its own, with a stand-in for the program that makes the environment."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(CHECKOUT / ".ci" / "run", tmp_path / ".ci" / "run")
    blocks = [("main command", second), ("other", "echo wrong"), ("slow tests", third), ("test command", first)]
    text = "".join(f"<!-- {name} -->\n```bash\n{line}\n```\nText.\n" for name, line in blocks if line)
    (tmp_path / "README.md").write_text(text)
    python3 = tmp_path / "bin" / "python3"
    python3.parent.mkdir()
    python3.write_text('#!/bin/sh\nmkdir -p "$3/bin"\n')
    python3.chmod(0o755)
    path = f"{python3.parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", tmp_path / ".ci" / "run"]
    done = subprocess.run(command, env=os.environ | {"PATH": path}, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert [line for line in done.stdout.splitlines() if not line.startswith("+")] == said
