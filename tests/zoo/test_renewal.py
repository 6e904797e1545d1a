"""Renewing the recorded recipe, in a zoo under git."""

import json
import shutil
import subprocess

import pytest
from conftest import TESTS

from deepcosmo import cli, training, zoo
from deepcosmo.zoo import publishing, renewal

NAME = "small_cosmos"


def git(folder, *arguments):
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, check=True)


@pytest.fixture
def folder(small_zoo, tmp_path, monkeypatch):
    """The folder of a model, whose recipe is committed as it was published."""
    shutil.copytree(small_zoo, tmp_path / "zoo")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "published")
    monkeypatch.setenv("DEEPCOSMO_ZOO", str(tmp_path / "zoo"))
    return tmp_path / "zoo" / NAME


def edit(folder, old, new):
    path = folder / "recipe.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_imports_and_words_are_renewed(folder):
    before = zoo.info(NAME)
    edit(folder, "training import Recipe, Stage", "training import Stage\nfrom deepcosmo.training.recipe import Recipe")
    edit(folder, "    rng = np", "    # one stream for each split\n    rng = np")
    edit(folder, 'limits="Not for science."', 'limits="Not for science; " "nor for anything else."')
    (problem, *_) = publishing.audit(folder)
    assert f"deepcosmo renew {NAME}" in problem
    assert cli.main(["renew", NAME]) == 0
    assert publishing.audit(folder) == []
    entry = zoo.info(NAME)
    assert entry.limits == "Not for science; nor for anything else." in (folder / "README.md").read_text()
    assert (entry.metrics, entry.weights_sha256_evaluated) == (before.metrics, before.weights_sha256_evaluated)
    changed = {name for name in entry.files if entry.files[name] != before.files[name]}
    assert changed == {"recipe.py"}


def test_recorded_recipe_is_found_behind_later_commits(folder):
    for words in ("Second.", "Third."):
        edit(folder, (folder / "recipe.py").read_text().split('summary="')[1].split('"')[0], words)
        git(folder, "commit", "-am", words)
    assert training.renew(NAME).summary == "Third."


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("seed=1,", "seed=2,", "RECIPE"),
        ("size=(64, 3)", "size=(65, 3)", "data"),
        ("model=SmallModel,", "model=lambda: SmallModel(),", "RECIPE"),
    ],
)
def test_anything_else_is_refused_by_name(folder, capsys, old, new, named):
    recorded = (folder / "model.json").read_text()
    edit(folder, old, new)
    assert cli.main(["renew", NAME]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"more than imports and words: {named};" in line and "deepcosmo evaluate" in line
    assert (folder / "model.json").read_text() == recorded


def test_recipe_that_cannot_be_imported_is_refused(folder):
    edit(folder, "from deepcosmo.zoo import golden", "from deepcosmo.nothing import golden")
    with pytest.raises(ValueError, match="recipe.py cannot be imported: No module named 'deepcosmo.nothing'"):
        training.renew(NAME)


def test_recorded_recipe_in_no_commit(folder):
    content = json.loads((folder / "model.json").read_text())
    content["files"]["recipe.py"]["sha256"] = "0" * 64
    (folder / "model.json").write_text(json.dumps(content))
    with pytest.raises(zoo.ZooError, match="sha256 000000000000..., is in no commit"):
        training.renew(NAME)


def test_zoo_without_git(folder):
    shutil.rmtree(folder.parents[1] / ".git")
    assert training.renew(NAME) == zoo.info(NAME)  # nothing changed: nothing to look up
    edit(folder, "Not for science.", "For science.")
    with pytest.raises(zoo.ZooError, match="cannot be looked up in git: .*not a git repository"):
        training.renew(NAME)


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("from a import f\nf()", "from b.c import f\nf()", []),
        ("import a.f as f\nf()", "from b import f\nf()", []),
        ("def g():\n    'Old.'\n    from a import f\n    f()", "from b import f\ndef g():\n    f()", []),
        ("x = 1", "import tfds_builders\nx  =  1  # one", []),
        ("r = Recipe(seed=1, limits='a')", "r = Recipe(seed=1, limits=f'{B} b', citation='c')", []),
        ("s = dataclasses.replace(r, summary='a')", "s = dataclasses.replace(r, summary='b')", []),
        ("from a import f\nf()", "f()", ["the import of f"]),
        ("from a import f as h\nh()", "from a import g as h\nh()", ["the import of h"]),
        ("x = max(y)", "from a import minimum as max\nx = max(y)", ["the import of max"]),
        ("x = 1", "x = 1.0", ["x"]),
        ("x = 1\ny = 2", "y = 2\nx = 1", ["the order of the statements"]),
        ("def f(): return 1\ndef g(): return 1", "def f(): return 2\ndef h(): return 1", ["f", "g", "h"]),
        ("f(1)\nclass A: pass", "f(2)\nclass A: pass", ["f(1)", "f(2)"]),
        ("s = Stage(limits='a')", "s = Stage(limits='b')", ["s"]),
    ],
)
def test_differences(old, new, found):
    assert renewal.differences(old.encode(), new.encode()) == found


def test_published_recipes_equal_themselves_only():
    sources = [path.read_bytes() for path in sorted((TESTS.parent / "zoo").glob("*/recipe.py"))]
    for i, source in enumerate(sources):
        assert [not renewal.differences(source, other) for other in sources] == [i == j for j in range(len(sources))]
