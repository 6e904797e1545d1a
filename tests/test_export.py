import hashlib
import json
import shutil
import tarfile

import numpy as np
import pytest
import tensorflow as tf
from conftest import CHECKOUT, export_tool, python
from small_model import SmallModel

from deepcosmo import export
from deepcosmo._graphs import shared
from deepcosmo.zoo import golden

# The small model's class is not part of deepcosmo, so a process that loads it has to import it first.
RUN_WITH_SMALL_MODEL = "import sys, runpy, small_model; runpy.run_path(sys.argv.pop(1), run_name='__main__')"


def test_endpoints_become_signatures(tmp_path):
    model = SmallModel()
    export.save(model, tmp_path / "saved")
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    assert set(loaded.signatures) == {"serving_default", "log_prob", "sample"}
    x = tf.ones([4, 3])
    drawn = loaded.signatures["sample"](x=x, seed=tf.constant([1, 2]))["y"]
    np.testing.assert_allclose(drawn, model.sample(x, [1, 2]), rtol=1e-5)


def test_endpoints_of_one_function_and_constants_of_several_are_written_once(tmp_path):
    model, calls = SmallModel(), []
    constant = shared(np.random.default_rng(0).normal(size=50_000), "float32")

    def score(x):
        calls.append(x)
        return {"score": model(x) + tf.reduce_sum(constant)}

    x = [tf.TensorSpec([None, 3], name="x")]
    other = lambda x: {"score": model(x) - tf.reduce_sum(constant)}, x  # noqa: E731
    model.endpoints = lambda: {"score": (score, x), "other": other, "serving_default": (score, x)}
    export.save(model, tmp_path / "saved")
    assert len(calls) == 1
    assert 200_000 < (tmp_path / "saved" / "saved_model.pb").stat().st_size < 300_000
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    given = tf.ones([2, 3])
    np.testing.assert_allclose(loaded.score(given)["score"], score(given)["score"], rtol=1e-5)
    np.testing.assert_allclose(loaded.signatures["other"](x=given)["score"], other[0](given)["score"], rtol=1e-5)


def test_folder_in_use_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError):
        export.save(SmallModel(), tmp_path)
    with pytest.raises(FileExistsError):
        export.save(SmallModel(), tmp_path / "file")
    with pytest.raises(NotADirectoryError, match="file is a file"):
        export.save(SmallModel(), tmp_path / "file" / "new")


def test_incomplete_endpoints_are_refused(tmp_path):
    model = SmallModel()
    complete = model.endpoints()
    model.endpoints = lambda: {"log_prob": complete["log_prob"]}
    with pytest.raises(ValueError, match="serving_default"):
        export.save(model, tmp_path / "a")
    nameless = (lambda x: x, [tf.TensorSpec([None])])
    model.endpoints = lambda: complete | {"sample": nameless}
    with pytest.raises(ValueError, match="'sample' .* without a name"):
        export.save(model, tmp_path / "b")


def test_index_names_every_archive(small_tree):
    index = json.loads((small_tree / "index.json").read_text())
    assert set(index["models"]) == {"small_cosmos", "stamps_cosmos"}
    for name in index["models"]:
        record = index["models"][name]["1"]
        content = (small_tree / record["archive"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == record["sha256"] and len(content) == record["bytes"]
        assert (small_tree / name / "1").read_bytes() == content


def test_archives_run_on_a_bare_tensorflow(small_tree):
    done = python(CHECKOUT / "export" / "check.py", small_tree, path=[])
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("outputs, largest deviation") == 2


def test_a_flow_runs_on_a_bare_tensorflow(tmp_path):
    """Its endpoints are traced through TensorFlow Probability, of which nothing may be left."""
    from deepcosmo.models.densities.flows import MAF

    model = MAF(dim=2, context_dim=1, transforms=2, hidden=(8,))
    export.save(model, tmp_path / "saved")
    y, context = np.ones([3, 2], "float32"), np.ones([3, 1], "float32")
    inputs = {
        "log_prob": {"y": y, "context": context},
        "sample": {"context": context, "seed": np.array([1, 2], "int32")},
    }
    extra = tmp_path / "saved" / "assets.extra"
    extra.mkdir()
    np.savez(extra / "golden.npz", **golden.record(model, inputs))
    done = python(CHECKOUT / "export" / "check.py", "--replay", tmp_path / "saved", path=[])
    assert done.returncode == 0 and "2 outputs" in done.stdout, done.stderr


def test_bare_tensorflow_is_bare(tmp_path):
    script = (
        f"import sys; sys.path.insert(0, {str(CHECKOUT / 'export')!r}); import check\n"
        "try: check.replay(check.Path(sys.argv[1]))\n"
        "except Exception: pass\n"
        "for name in ('deepcosmo', 'keras', 'tf_keras', 'tensorflow_probability'):\n"
        "    try: __import__(name)\n"
        "    except ImportError: print('absent', name)"
    )
    assert python("-c", script, tmp_path).stdout.count("absent") == 4


def test_check_fails_on_other_outputs(small_tree, tmp_path):
    """An archive whose golden arrays are not its model's."""
    tree = _rebuilt(small_tree, tmp_path, lambda arrays: {k: v + ("/out/" in k) for k, v in arrays.items()})
    done = python(CHECKOUT / "export" / "check.py", tree, path=[])
    assert done.returncode == 1 and "deviates by" in done.stdout


def test_check_fails_on_a_changed_archive(small_tree, tmp_path):
    tree = _rebuilt(small_tree, tmp_path, dict)
    index = json.loads((tree / "index.json").read_text())
    index["models"]["small_cosmos"]["1"]["sha256"] = "0" * 64
    (tree / "index.json").write_text(json.dumps(index))
    done = python(CHECKOUT / "export" / "check.py", tree, path=[])
    assert done.returncode == 1 and "fail" in done.stderr


def _rebuilt(small_tree, tmp_path, change):
    """A download tree with one archive whose golden arrays were changed."""
    build = export_tool("build")
    with tarfile.open(small_tree / "small_cosmos" / "1.tar.gz") as tar:
        tar.extractall(tmp_path / "content")
    path = tmp_path / "content" / "assets.extra" / "golden.npz"
    with np.load(path) as arrays:
        changed = change(dict(arrays))
    np.savez(path, **changed)
    archive = tmp_path / "tree" / "small_cosmos" / "1.tar.gz"
    archive.parent.mkdir(parents=True)
    build.pack(tmp_path / "content", archive)
    record = {"archive": "small_cosmos/1.tar.gz", "sha256": hashlib.sha256(archive.read_bytes()).hexdigest()}
    index = {"format": 1, "models": {"small_cosmos": {"1": record}}}
    (tmp_path / "tree" / "index.json").write_text(json.dumps(index))
    return tmp_path / "tree"


@pytest.mark.slow
def test_two_builds_give_the_same_archives(small_zoo, tmp_path):
    for out in "ab":
        tool = CHECKOUT / "export" / "build.py"
        done = python("-c", RUN_WITH_SMALL_MODEL, tool, tmp_path / out, "--zoo", small_zoo)
        assert done.returncode == 0, done.stderr
    for name in ("small_cosmos/1.tar.gz", "stamps_cosmos/1.tar.gz", "index.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_a_published_version_is_never_rebuilt(small_zoo, small_tree, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPCOSMO_ZOO", str(small_zoo))
    tree = shutil.copytree(small_tree, tmp_path / "tree")
    build = export_tool("build")
    assert build.build(tree, small_zoo) == []
    index = json.loads((tree / "index.json").read_text())
    index["models"]["small_cosmos"]["1"]["weights_sha256"] = "0" * 64
    (tree / "index.json").write_text(json.dumps(index))
    with pytest.raises(SystemExit, match="raise its version"):
        build.build(tree, small_zoo)


def test_deviation_sees_shapes_and_nans():
    old = {"f/in/x": np.ones(2), "f/out/y": np.array([1.0, np.nan, -np.inf])}
    deviation = lambda y: golden.deviations(lambda *_: {"y": np.array(y)}, old)["f/out/y"]  # noqa: E731
    assert deviation([1.0, np.nan, -np.inf]) == 0.0
    assert deviation([1.1, np.nan, -np.inf]) == pytest.approx(0.05)
    for different in ([1.0, np.nan, 0.0], [np.nan, np.nan, -np.inf], [1.0, np.nan]):
        assert deviation(different) == np.inf
