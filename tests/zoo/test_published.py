"""Every model in zoo/: whole, evaluated, documented, and still giving its golden arrays."""

import tarfile

import numpy as np
import pytest
import tensorflow as tf
from conftest import CHECKOUT, export_tool, once, python

from deepcosmo import zoo
from deepcosmo.zoo import golden, publishing
from deepcosmo.zoo.entry import CONFIG, GOLDEN, WEIGHTS, sha256

FOLDERS = sorted(path.parent for path in (CHECKOUT / "zoo").glob("*/model.json"))
ARCHIVE = sorted(path.parent for path in (CHECKOUT / "tests" / "archive").glob("*/*/model.json"))
"""Models as they were published by earlier releases: configurations and weights that load for ever."""
published = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def _content(folder):
    return tuple(sha256(folder / name) for name in (CONFIG, WEIGHTS, GOLDEN))


REPLAYED = {_content(folder): folder for folder in (*FOLDERS, *ARCHIVE)}.values()  # the same model once


@published
def test_is_fit_to_publish(folder):
    assert publishing.audit(folder) == []


@pytest.mark.parametrize("folder", REPLAYED, ids=lambda folder: "/".join(folder.parts[-2:]))
def test_replays_its_golden_arrays(folder, monkeypatch):
    monkeypatch.setenv("DEEPCOSMO_ZOO", str(folder.parent))
    model = zoo.load(folder.name)
    with np.load(folder / GOLDEN) as arrays:
        worst = golden.deviations(golden.call_keras(model), dict(arrays))
    assert worst and max(worst.values()) < golden.TOLERANCE, worst


def test_every_published_model_is_archived():
    """From its first release on; a new version joins the archive when it is released."""
    assert {folder.name for folder in FOLDERS} <= {folder.name for folder in ARCHIVE}


@published
def test_golden_arrays_cover_every_endpoint(folder):
    with np.load(folder / "golden.npz") as arrays:
        covered = {name.split("/")[0] for name in arrays}
    endpoints = set(zoo.load(folder.name, weights=False).endpoints())
    assert covered <= endpoints and endpoints - covered <= {"serving_default"}


def test_zoo_is_small_enough_for_a_wheel():
    assert sum(path.stat().st_size for path in (CHECKOUT / "zoo").rglob("*") if path.is_file()) < 80e6


def test_table_in_readme():
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    table = publishing.table(zoo.Entry.read(folder) for folder in FOLDERS)
    assert f"-->\n{table}<!-- /models -->" in readme


@pytest.fixture
def tree():
    """Download tree of the zoo."""
    return once("tree", lambda folder: export_tool("build").build(folder, CHECKOUT / "zoo"))


@pytest.mark.slow
@published
def test_saved_model_holds_its_weights_and_little_else(folder, tree):
    """Constants are not copied into every endpoint."""
    with tarfile.open(tree / folder.name / f"{zoo.info(folder.name).version}.tar.gz") as tar:
        members = [m for m in tar.getmembers() if not m.name.startswith("assets.extra")]
    weights = (folder / "model.weights.h5").stat().st_size
    assert weights < sum(m.size for m in members) < 2 * weights + 4e6


@pytest.mark.slow
def test_saved_models_replay_their_golden_arrays_on_a_bare_tensorflow(tree):
    done = python(CHECKOUT / "export" / "check.py", tree, path=[])
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("outputs, largest deviation") == len(FOLDERS)


@pytest.mark.slow
def test_tensorflow_hub_draws_galaxies_from_a_static_server(tree, serve):
    import tensorflow_hub as hub

    url = f"{serve(tree)}/flow_vae_cosmos/{zoo.info('flow_vae_cosmos').version}"
    n, seed = tf.constant(2), tf.constant([3, 4])
    drawn = hub.load(url).signatures["sample"](n=n, seed=seed)["galaxy"]
    same = zoo.load(url).endpoints()["sample"][0](n, seed)["galaxy"]
    assert drawn.shape == (2, 128, 128, 1)
    np.testing.assert_allclose(drawn, same, atol=1e-4 * np.max(same))
