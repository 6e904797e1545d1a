"""Published configurations name classes, not files: the layout may change under them."""

import json
import shutil

import pytest
from conftest import CHECKOUT, python

from deepcosmo.zoo.entry import sha256

NAMES = "maf_cosmos_catalog", "mdn_lensing_small"  # the second has layers within layers


def _without_modules(config):
    """A configuration in which no file of deepcosmo is right."""
    if isinstance(config, dict):
        changed = {key: _without_modules(value) for key, value in config.items()}
        if str(config.get("module")).startswith("deepcosmo"):
            changed["module"] = "deepcosmo.nowhere"
        return changed
    return [_without_modules(value) for value in config] if isinstance(config, list) else config


@pytest.mark.parametrize("name", NAMES)
def test_modules_of_a_configuration_do_not_matter(name, tmp_path):
    """In a new process, where no class is registered before `load`."""
    shutil.copytree(CHECKOUT / "zoo" / name, tmp_path / name)
    config = tmp_path / name / "config.json"
    config.write_text(json.dumps(_without_modules(json.loads(config.read_text()))))
    entry = tmp_path / name / "model.json"
    content = json.loads(entry.read_text())
    content["files"]["config.json"] = {"sha256": sha256(config), "bytes": config.stat().st_size}
    entry.write_text(json.dumps(content))
    script = f"import deepcosmo; print(deepcosmo.zoo.load({name!r}).count_params())"
    done = python("-c", script, DEEPCOSMO_ZOO=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == content["parameters"]
