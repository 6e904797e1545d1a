"""The Python of the README runs as it stands."""

import re

import pytest
from conftest import CHECKOUT, python

from tfds_builders.cosmos_stamps.cosmos_stamps_dataset_builder import Builder


def snippet(marker):
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    return re.search(f"^<!-- {marker} -->\n```python\n(.+?)\n```$", readme, re.MULTILINE | re.DOTALL)[1]


def run(script, folder, **variables):
    done = python("-c", script, cwd=folder, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_example(tmp_path):
    shapes = "; print(galaxies.shape, seen.shape, images.shape, posterior.batch_shape, galaxy.flux > 0)"
    said = run(snippet("example") + shapes.replace("; ", "\n"), tmp_path)
    assert said.split("\n")[-2] == "(16, 128, 128, 1) (16, 128, 128, 1) (16, 128, 128) (16,) True"
    assert (tmp_path / "flow_vae_saved" / "saved_model.pb").is_file()


def test_mass_mapping(tmp_path):
    said = run(snippet("mass mapping") + "\nprint(maps.samples.shape[0], maps.std.min() > 0)", tmp_path)
    assert said.split("\n")[-2] == "4 True"
    assert (tmp_path / "kappa.fits").is_file()


@pytest.mark.slow
def test_inference(tmp_path):
    """Its posteriors are calibrated: none of three p-values is below one in a thousand."""
    script = snippet("inference")
    assert len(script.splitlines()) <= 30
    p_values = "\nprint(min(*found.p_values()['ranks'], found.p_values()['tarp']), samples.shape)"
    p_value, shape = run(script + p_values, tmp_path).split("\n")[-2].split(" ", 1)
    assert shape == "(10000, 2)" and float(p_value) > 1e-3
    assert (tmp_path / "posterior.png").is_file() and (tmp_path / "calibration.png").is_file()


@pytest.mark.slow
def test_lensing(tmp_path):
    shapes = "\nprint(samples.shape, summaries.shape, posterior.batch_shape, maps.shape)"
    said = run(snippet("lensing") + shapes, tmp_path)
    assert said.split("\n")[-2] == "(10000, 2, 6) (2, 31) (2,) (2, 256, 256, 5)"


@pytest.mark.slow
def test_losses(tmp_path):
    """A mixture tells more than least squares."""
    script = snippet("losses")
    assert len(script.splitlines()) <= 30
    losses = {line.split()[0]: float(line.split()[1]) for line in run(script, tmp_path).splitlines() if "nats" in line}
    assert losses["MDN"] < losses["Regression"] - 0.2 and losses["MAFMoG"] < losses["Regression"] - 0.2


@pytest.mark.slow
def test_fine_tuning(tmp_path, monkeypatch):
    script = snippet("fine-tuning")
    assert len(script.splitlines()) <= 25
    # a few galaxies under the name of the configuration, where the script looks for it
    config = next(config for config in Builder.BUILDER_CONFIGS if config.name == "simulated")
    monkeypatch.setattr(config, "size", 256)
    Builder(config="simulated", data_dir=tmp_path / "data").download_and_prepare()
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    before = "\nprint(galaxies.shape, float(keras.ops.max(keras.ops.abs(galaxies - kept))))"
    kept = script.replace("model.save(", "kept = model.sample(n=64, seed=1)\nmodel.save(")
    shape, difference = run(kept + before, tmp_path).split("\n")[-2].rsplit(" ", 1)
    assert shape == "(64, 128, 128, 1)" and float(difference) == 0.0
