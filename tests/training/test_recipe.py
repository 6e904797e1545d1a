import json
import shutil

import pytest
import toy

from deepcosmo import zoo
from deepcosmo.training import Stage, evaluate, find_recipe, load_recipe, train


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A local zoo with the toy's recipe in it."""
    (tmp_path / "zoo" / "toy").mkdir(parents=True)
    shutil.copy(toy.__file__, tmp_path / "zoo" / "toy" / "recipe.py")
    monkeypatch.setenv("DEEPCOSMO_ZOO", str(tmp_path / "zoo"))
    return tmp_path / "zoo" / "toy"


def test_load_recipe_by_name_folder_and_file(folder):
    for where in ("toy", folder, folder / "recipe.py", str(folder)):
        assert find_recipe(where) == folder / "recipe.py"
        assert load_recipe(where).name == "toy"


def test_load_recipe_errors(folder):
    with pytest.raises(FileNotFoundError, match="no recipe 'toi' in the zoo; did you mean toy"):
        load_recipe("toi")
    (folder / "recipe.py").write_text("RECIPE = 3")
    with pytest.raises(ValueError, match="must define RECIPE"):
        load_recipe("toy")


def test_load_recipe_for_another_data_set(folder):
    with open(folder / "recipe.py", "a", encoding="utf-8") as file:
        file.write("\nOTHER = dataclasses.replace(RECIPE, dataset='other:2.0.0')\n")
    assert load_recipe("toy").dataset != "other:2.0.0"
    for name in ("other", "other:2.0.0"):
        assert load_recipe("toy", dataset=name).dataset == "other:2.0.0"
    with pytest.raises(ValueError, match="no recipe for the data set 'third' .* only for: .*, other:2.0.0"):
        load_recipe("toy", dataset="third")


@pytest.mark.parametrize(
    "field, value", [("epochs", 0), ("batch_size", 0), ("shuffle", 0), ("steps_per_epoch", 0), ("ema", 1.0)]
)
def test_stage_refuses(field, value):
    fields = dict(name="a", data=toy.pairs, optimizer=toy.adam, epochs=1, batch_size=1) | {field: value}
    with pytest.raises(ValueError, match=f"stage 'a': {field} must"):
        Stage(**fields)


def test_recipe_refuses_stages_of_one_name():
    stage = Stage(name="a", data=toy.pairs, optimizer=toy.adam, epochs=1, batch_size=1)
    with pytest.raises(ValueError, match="stages of different names"):
        toy.make_recipe(stage, stage)


def test_publish_and_evaluate(folder, tmp_path):
    stage = Stage(name="a", data=toy.pairs, optimizer=toy.adam, epochs=1, batch_size=50)
    recipe = toy.make_recipe(stage, model=toy.Toy)
    model = train(recipe, work_dir=tmp_path / "work")
    zoo.publish(model, recipe, metrics=[], training={"seconds": 1}, root=folder.parent)

    new = evaluate("toy")

    written = json.loads((folder / "model.json").read_text())
    (metric,) = written["metrics"]
    best = json.loads((tmp_path / "work" / "history.json").read_text())["history"][0]["val_loss"]
    assert metric["value"] == pytest.approx(best, rel=1e-5) and metric["split"] == "validation"
    assert written["weights_sha256_evaluated"] == new.files["model.weights.h5"]["sha256"]
    assert "loss [nats]" in (folder / "README.md").read_text()


def test_evaluate_unknown_name(folder):
    with pytest.raises(zoo.ZooError, match="no model is called 'nothing'"):
        evaluate("nothing")
