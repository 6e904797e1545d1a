import dataclasses
import json
import re
import shutil

import pytest
import small_recipe
from small_model import SmallModel

from deepcosmo import zoo
from deepcosmo.zoo import publishing

NAME = "small_cosmos"
METRIC = {"name": "NLL [nat]", "value": 1.5, "error": 0.1, "reference": "2.0", "split": "test", "size": 9}


@pytest.fixture
def root(small_zoo, tmp_path):
    shutil.copytree(small_zoo, tmp_path / "zoo")
    (tmp_path / "README.md").write_text("Before\n<!-- models: generated -->\nold\n<!-- /models -->\nAfter\n")
    return tmp_path / "zoo"


def test_a_fresh_entry_has_no_problems(root):
    assert publishing.audit(root / NAME) == []


def test_weights_changed_without_evaluation_are_a_problem(root):
    """Other weights, published with their right sha256 but with the old metrics."""
    entry = zoo.Entry.read(root / NAME)
    model = SmallModel()
    model.save_weights(root / NAME / "model.weights.h5")
    assert any("damaged" in problem for problem in publishing.audit(root / NAME))
    file = publishing.fingerprint(root / NAME / "model.weights.h5")
    dataclasses.replace(entry, files=entry.files | {"model.weights.h5": file}).write()
    assert any("not measured with these weights" in problem for problem in publishing.audit(root / NAME))


@pytest.mark.parametrize("field", ["task", "summary", "dataset", "licence", "citation", "limits", "metrics"])
def test_missing_metadata_is_a_problem(root, field):
    content = json.loads((root / NAME / "model.json").read_text())
    (root / NAME / "model.json").write_text(json.dumps(content | {field: [] if field == "metrics" else ""}))
    assert any(field in problem for problem in publishing.audit(root / NAME))


def test_edited_card_is_a_problem(root):
    (root / NAME / "README.md").write_text("better than it is")
    assert any("README.md" in problem for problem in publishing.audit(root / NAME))


def test_large_file_is_a_problem(root):
    entry = zoo.Entry.read(root / NAME)
    path = root / NAME / "recipe.py"
    path.write_bytes(b"#" * (publishing.LARGEST_FILE + 1))
    files = entry.files | {"recipe.py": publishing.fingerprint(path)}
    dataclasses.replace(entry, files=files).write()
    assert any("more than 8" in problem for problem in publishing.audit(root / NAME))


def test_new_metrics_reach_card_and_table(root):
    zoo.record_metrics(NAME, [METRIC], root=root)
    assert publishing.audit(root / NAME) == []
    assert "| NLL [nat] | 1.50 ± 0.10 | 2.0 | test | 9 |" in (root / NAME / "README.md").read_text()
    readme = (root.parent / "README.md").read_text()
    assert readme.startswith("Before\n<!-- models: generated -->\n| model |")
    assert readme.endswith("<!-- /models -->\nAfter\n")
    assert "NLL [nat] 1.50 ± 0.10" in readme and "old" not in readme


def test_metrics_of_damaged_weights_are_refused(root):
    (root / NAME / "model.weights.h5").write_bytes(b"half")
    with pytest.raises(zoo.DamagedFile, match="model.weights.h5"):
        zoo.record_metrics(NAME, [METRIC], root=root)


def test_publish_needs_the_recipe(tmp_path):
    with pytest.raises(zoo.ZooError, match="comes with its recipe"):
        zoo.publish(SmallModel(), small_recipe.RECIPE, metrics=[], training={}, root=tmp_path)


def test_publish_notices_a_model_that_does_not_repeat_itself(root):
    """Golden arrays of other weights than those that are published."""
    recipe = dataclasses.replace(small_recipe.RECIPE, golden=lambda model: small_recipe.golden_arrays(SmallModel()))
    before = {path.name: path.read_bytes() for path in (root / NAME).iterdir()}
    with pytest.raises(zoo.ZooError, match="does not reproduce"):
        zoo.publish(SmallModel(), recipe, metrics=[METRIC], training={}, root=root)
    assert {path.name: path.read_bytes() for path in (root / NAME).iterdir()} == before


def test_publish_refuses_files_that_are_too_large(root, monkeypatch):
    monkeypatch.setattr(publishing, "LARGEST_FILE", 1000)
    with pytest.raises(zoo.ZooError, match="larger than .* model.weights.h5"):
        zoo.publish(SmallModel(), small_recipe.RECIPE, metrics=[METRIC], training={}, root=root)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(1.23456, 0.012, "1.235 ± 0.012"), (1234.5, 56.0, "1234 ± 56"), (0.5, None, "0.5"), (0.5, 0.0, "0.5")],
)
def test_quantity(value, error, text):
    assert publishing.quantity(value, error) == text


def test_a_card_shows_the_pictures_beside_it(root):
    entry = zoo.publish(SmallModel(), small_recipe.RECIPE, metrics=[METRIC], training={}, root=root)
    assert "![" not in publishing.card(entry)
    (entry.directory / "samples.png").write_bytes(b"")
    assert "](samples.png)" in publishing.card(entry)
    assert any("not the card" in problem for problem in publishing.audit(entry.directory))
    publishing.write(entry)
    assert publishing.audit(entry.directory) == []


def test_bars_in_a_name_do_not_break_the_tables(root):
    metric = METRIC | {"name": "median |dmag|"}
    entry = zoo.publish(SmallModel(), small_recipe.RECIPE, metrics=[metric], training={}, root=root)
    assert "| median \\|dmag\\| |" in publishing.card(entry)
    row = publishing.table([entry]).splitlines()[-1]
    assert len(re.findall(r"(?<!\\)\|", row)) == 7
