"""What other programs leave in a user's environment: backends of Keras, a home directory that nobody knows."""

import importlib
import json

import keras
import pytest
from conftest import CHECKOUT, python

from deepcosmo import _keras

NEEDS = "ImportError: deepcosmo needs Keras on TensorFlow, not on {}: set KERAS_BACKEND=tensorflow"


@pytest.fixture
def keras_json(tmp_path):
    """Writes Keras's own configuration and returns its folder."""

    def write(**configured):
        default = {"floatx": "float32", "epsilon": 1e-7, "backend": "tensorflow", "image_data_format": "channels_last"}
        (tmp_path / "keras.json").write_text(json.dumps(default | configured))
        return str(tmp_path)

    return write


@pytest.mark.parametrize(
    "code",
    [
        "import deepcosmo; deepcosmo.zoo.load('maf_cosmos_catalog')",
        "from deepcosmo.models.flows import MAF",
        "from deepcosmo import training",
        "from deepcosmo.inference import sbi; sbi.NPE",
    ],
)
def test_another_backend_is_refused_by_name(code):
    done = python("-c", code, KERAS_BACKEND="jax")
    assert done.stderr.splitlines()[-1].startswith(NEEDS.format("jax"))


def test_another_backend_in_the_configuration_of_keras(keras_json):
    load = "from deepcosmo import models"
    done = python("-c", load, KERAS_HOME=keras_json(backend="torch"), KERAS_BACKEND="")
    assert done.stderr.splitlines()[-1].startswith(NEEDS.format("torch"))
    done = python("-c", load, KERAS_HOME=keras_json(backend="torch"), KERAS_BACKEND="tensorflow")
    assert done.returncode == 0, done.stderr


def test_a_keras_that_was_imported_on_another_backend(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(ImportError, match="not on jax"):
        importlib.reload(_keras)


def test_physics_and_the_zoo_s_entries_need_no_keras():
    code = "import deepcosmo, deepcosmo.physics.fields; print(deepcosmo.zoo.list_models())"
    done = python("-c", code, KERAS_BACKEND="jax")
    assert done.returncode == 0 and "maf_cosmos_catalog" in done.stdout, done.stderr


def test_the_command_runs_whatever_the_backend_of_other_programs(tmp_path):
    command = ["-m", "deepcosmo.cli", "sample", "maf_cosmos_catalog", "-n", "2", "-o", tmp_path]
    done = python(*command, cwd=CHECKOUT, KERAS_BACKEND="jax")
    assert done.returncode == 0 and (tmp_path / "maf_cosmos_catalog.fits").is_file(), done.stderr


HOMELESS = """
import os, pwd
def getpwuid(uid): raise KeyError(uid)
pwd.getpwuid = getpwuid
for name in ("HOME", "XDG_CACHE_HOME", "DEEPCOSMO_CACHE"): os.environ.pop(name, None)
import deepcosmo; from deepcosmo import cli
"""  # as in containers that run under any user id


def homeless(code, folder, **environment):
    return python("-c", HOMELESS + code, cwd=folder, **environment)


def test_packaged_models_load_without_a_home_directory(tmp_path):
    done = homeless("for name in deepcosmo.zoo.list_models(): print(deepcosmo.zoo.load(name))", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("<") == len(list((CHECKOUT / "zoo").glob("*/model.json")))


def test_names_without_a_home_directory(tmp_path):
    done = homeless("assert cli.main(['list']) == 0; cli.main(['info', 'maf_cosmos'])", tmp_path)
    assert "maf_cosmos_catalog" in done.stdout
    assert "or maf_cosmos_catalog" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("command", "environment", "said"),
    [
        (
            "'download', 'x_y'",
            {"DEEPCOSMO_URL": "http://127.0.0.1:9"},
            "no home directory for the cache: set DEEPCOSMO_CA",
        ),
        ("'info', 'x_y'", {"DEEPCOSMO_ZOO": "~/zoo"}, "DEEPCOSMO_ZOO is ~/zoo, and there is no such home directory"),
        ("'sample', 'maf_cosmos_catalog'", {}, "no home directory: set HOME to a folder"),
    ],
)
def test_what_needs_a_home_directory_says_so(tmp_path, command, environment, said):
    done = homeless(f"assert cli.main([{command}]) == 1", tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert said in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
