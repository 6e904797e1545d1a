"""The data set `lensing_sbi`: what is in it, noise that is fresh in training only, scores, splits."""

import dataclasses
import pickle

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from deepcosmo.models.maps.field_statistics import FieldStatistics
from deepcosmo.physics.lensing_survey import lsst_y10_small
from tfds_builders import LensingSBIConfig
from tfds_builders.lensing_sbi import lensing_sbi_dataset_builder, reading

SIZES = {"train": 32, "validation": 16, "test": 16}
PLAIN = LensingSBIConfig(name="tiny", survey="lsst_y10_small", **SIZES)
STATISTICS = LensingSBIConfig(name="tiny_statistics", survey="lsst_y10_small", statistics=2, **SIZES)
SCORES = LensingSBIConfig(name="tiny_scores", survey="lsst_y10_small", scores=True, **SIZES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def builder(folder):
    builder = tfds.builder("lensing_sbi", config=PLAIN, data_dir=folder)
    builder.download_and_prepare()
    return builder


def examples(dataset):
    return {int(example["number"]): example for example in tfds.as_numpy(dataset)}


def test_maps_and_their_parameters(builder):
    survey, seen = lsst_y10_small(), set()
    for split, count in SIZES.items():
        found = examples(builder.as_dataset(split=split))
        assert len(found) == count
        for number, example in found.items():
            assert set(example) == {"theta", "kappa", "map", "number"}
            assert example["map"].shape == survey.shape and example["theta"].shape == (2,)
            noise = example["map"] - example["kappa"]
            assert noise.std() == pytest.approx(survey.noise_std, rel=5 / np.sqrt(2 * noise.size))
            seen.add((number, *example["theta"]))
    assert len({row[0] for row in seen}) == len({row[1] for row in seen}) == sum(SIZES.values())


def test_statistics_are_those_of_the_same_maps(builder, folder):
    """The same universes, with other noise: power at signal-dominated wavenumbers is the same."""
    of_maps = tfds.builder("lensing_sbi", config=STATISTICS, data_dir=folder)
    of_maps.download_and_prepare()
    found, maps = (examples(b.as_dataset(split="train")) for b in (of_maps, builder))
    layer = FieldStatistics.of(lsst_y10_small())
    for number, example in found.items():
        assert set(example) == {"theta", "statistics", "number"}
        np.testing.assert_array_equal(example["theta"], maps[number]["theta"])
        assert example["statistics"].shape == (2, layer.dim) and np.isfinite(example["statistics"]).all()
        assert np.abs(example["statistics"][0] - example["statistics"][1]).max() > 0.01
    of_noisy = [layer(maps[number]["map"][None])[0] for number in found]
    stored = [example["statistics"][0] for example in found.values()]
    largest = 4 * layer.bands  # of ln power in the most distant bin, in the lowest band
    assert np.corrcoef(np.array(of_noisy)[:, largest], np.array(stored)[:, largest])[0, 1] > 0.95  # noise differs


def test_every_second_universe_is_near_ours(builder, folder):
    config = LensingSBIConfig(name="tiny_near", survey="lsst_y10_small", near=True, **SIZES)
    near = tfds.builder("lensing_sbi", config=config, data_dir=folder)
    near.download_and_prepare()
    tested = [[row["theta"] for row in examples(b.as_dataset(split="test")).values()] for b in (near, builder)]
    np.testing.assert_array_equal(*tested)  # of the prior
    found, others = (examples(b.as_dataset(split="train")) for b in (near, builder))
    # numbers are three times places, and sixteen universes are of one batch
    first = [n for n in found if n // 3 % 2 == 0]
    for number in first:
        np.testing.assert_array_equal(found[number]["theta"], others[number]["theta"])
        np.testing.assert_allclose(found[number]["kappa"], others[number]["kappa"], rtol=2e-3, atol=2e-4)
    of_near = np.array([found[n]["theta"] for n in found if n not in first])
    # scatters of 0.07, of the prior 0.2 and 0.14; 16 draws know theirs to 18%
    assert len(of_near) == len(first) == 16 and np.all(of_near.std(0) < 0.07 * 1.6)


def test_a_map_is_that_of_its_parameters(builder):
    """The variance of maps follows sigma_8 and Omega_m."""
    rows = examples(builder.as_dataset(split="train")).values()
    predicted = [np.log(row["theta"][1] * (row["theta"][0] + 0.05)) for row in rows]
    assert np.corrcoef(predicted, [np.log(row["kappa"].astype(float).std()) for row in rows])[0, 1] > 0.9


def test_noise_is_fresh_in_training_alone(builder):
    for split in SIZES:
        dataset = builder.as_dataset(split=split)
        first, second = examples(dataset), examples(dataset)
        fresh = [np.abs(first[n]["map"] - second[n]["map"]).max() > 0 for n in first]
        assert all(fresh) if split == "train" else not any(fresh)
        again = examples(pickle.loads(pickle.dumps(builder)).as_dataset(split=split))
        assert all(np.array_equal(first[n]["map"], again[n]["map"]) for n in first)


def test_two_builds_are_the_same(builder, tmp_path):
    other = tfds.builder("lensing_sbi", config=PLAIN, data_dir=tmp_path)
    other.download_and_prepare()
    first, second = (examples(b.as_dataset(split="validation")) for b in (builder, other))
    assert all(np.array_equal(first[n]["kappa"], second[n]["kappa"]) for n in first)


def test_beam_makes_the_same(builder, tmp_path):
    import apache_beam as beam

    options = beam.options.pipeline_options.PipelineOptions(["--runner=DirectRunner"])
    other = tfds.builder("lensing_sbi", config=PLAIN, data_dir=tmp_path)
    other.download_and_prepare(download_config=tfds.download.DownloadConfig(beam_options=options))
    for split in SIZES:
        first, second = (examples(b.as_dataset(split=split)) for b in (builder, other))
        assert set(first) == set(second)
        assert all(np.array_equal(first[n]["kappa"], second[n]["kappa"]) for n in first)


def test_universes_without_maps_are_counted(monkeypatch):
    def simulator(*_):
        kappa = np.zeros((16, 2, 2, 1), "float32")
        kappa[3, 0, 1], kappa[7, 1, 1] = np.nan, np.inf
        return lambda _: {"theta": tf.reshape(tf.range(32.0), (16, 2)), "kappa": tf.constant(kappa)}

    monkeypatch.setattr(lensing_sbi_dataset_builder, "_simulator", simulator)
    with pytest.warns(UserWarning, match=r"train: 2 of the 16 universes from number 32 on .* left out: \[\[6.0, 7.0\]"):
        made = dict(lensing_sbi_dataset_builder._examples(("train", 2), PLAIN))
    assert list(made) == [f"{n:07d}" for n in range(32, 48) if n not in (35, 39)]


def test_scores(folder):
    """One realisation of the noise, and the derivative of its likelihood, whose mean is zero for the prior's draws."""
    builder = tfds.builder("lensing_sbi", config=SCORES, data_dir=folder)
    builder.download_and_prepare()
    rows = list(examples(builder.as_dataset(split="train")).values())
    assert set(rows[0]) == {"theta", "map", "score", "number"}
    scores = np.stack([row["score"] for row in rows])
    assert scores.shape == (32, 2) and np.isfinite(scores).all() and np.all(scores.std(0) > 1)


def test_universes_that_come_after_others(builder, folder):
    later = dataclasses.replace(PLAIN, name="later", train=16, first=16)
    later = tfds.builder("lensing_sbi", config=later, data_dir=folder)
    later.download_and_prepare()
    stored, found = (examples(b.as_dataset(split="train")) for b in (builder, later))
    assert set(found) == {number for number in stored if number >= 3 * 16}
    for number, example in found.items():
        np.testing.assert_array_equal(example["kappa"], stored[number]["kappa"])
    ours, theirs = (examples(b.as_dataset(split="test")) for b in (builder, later))
    assert set(ours) == set(theirs)


def test_what_is_measured_of_maps_is_kept(builder, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_SAVED", 5)

    def measure(maps):
        return tf.reduce_mean(maps, [1, 2])

    def pairs(measure, count=32):
        train = builder.as_dataset(split="train").take(count)
        found = reading.measured(train, measure, keep=tmp_path / "kept.npz", progress=False)
        return found, np.concatenate([v for v, _ in found.batch(16).as_numpy_iterator()])

    _, half = pairs(measure, 16)  # as an interruption would leave it
    found, whole = pairs(measure)
    expected = tf.reduce_mean(next(iter(builder.as_dataset(split="train").batch(32)))["map"], [1, 2])
    np.testing.assert_allclose(whole, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(whole[:16], half)
    assert found.cardinality() == 32
    _, other = pairs(lambda maps: 2.0 * measure(maps))
    np.testing.assert_allclose(other, 2 * expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("option", "value"), [("survey", "euclid"), ("train", 20), ("test", 0), ("first", 20)])
def test_bad_configurations(option, value):
    with pytest.raises(ValueError, match=f"{option} must be"):
        LensingSBIConfig(name="bad", **{option: value})
