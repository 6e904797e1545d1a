"""The data set `lensing_pairs`, from made-up convergence maps, and the surveys that observe them."""

import pickle

import dummy_kappatng
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from conftest import shared

from deepcosmo.physics.catalog import PIXEL_SCALE, SkyGrid, catalog_to_map
from deepcosmo.physics.lensing import kappa_to_shear
from tfds_builders import KappaMapsConfig, LensingPairsConfig
from tfds_builders.kappa_maps.simulations import split_of
from tfds_builders.lensing_pairs import survey

MAPS = KappaMapsConfig(name="tiny_kappatng", source="kappatng", size=64)
LSST = LensingPairsConfig(name="tiny_lsst", survey="lsst_y10", maps=MAPS, size=48)
COSMOS = LensingPairsConfig(name="tiny_cosmos", survey="cosmos_hst", maps=MAPS, size=48)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data directory with made-up files of kappaTNG in its folder for manual downloads."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "downloads/manual").mkdir(parents=True)
    dummy_kappatng.write(folder / "downloads/manual", size=64)
    return folder


def build(folder, config, **kwargs):
    builder = tfds.builder("lensing_pairs", config=config, data_dir=folder, **kwargs)
    builder.download_and_prepare()
    return builder


def examples(dataset):
    """simulation -> features"""
    return {int(example["simulation"]): example for example in tfds.as_numpy(dataset)}


def same(first, second):
    """Whether two passes have the same examples, whatever their order."""
    return first.keys() == second.keys() and all(
        np.array_equal(first[i][name], second[i][name]) for i in first for name in first[i]
    )


def test_pairs(folder):
    builder = build(folder, LSST)
    maps = tfds.builder("kappa_maps", config=MAPS, data_dir=folder)
    deviations = []
    for split, count in {"train": 6, "validation": 1, "test": 1}.items():
        pairs, whole = examples(builder.as_dataset(split=split)), examples(maps.as_dataset(split=split))
        assert pairs.keys() == whole.keys() and len(pairs) == count
        for simulation, pair in pairs.items():
            assert split_of(simulation) == split
            assert set(pair) == {"shear", "mask", "noise_std", "kappa", "simulation", "map"}
            kappa, mask = whole[simulation]["kappa"], pair["mask"]
            np.testing.assert_array_equal(pair["kappa"], kappa[8:-8, 8:-8])
            assert mask.dtype == bool and 0.3 < mask.mean() < 0.95
            assert not pair["shear"][~mask].any() and not pair["noise_std"][~mask].any()
            galaxies = (0.26 / pair["noise_std"][mask]) ** 2
            np.testing.assert_allclose(galaxies, np.round(galaxies), rtol=1e-5)
            clean = kappa_to_shear(kappa).numpy()[8:-8, 8:-8]
            deviations.append((pair["shear"] - clean)[mask] / pair["noise_std"][mask, None])
    deviations = np.concatenate(deviations)
    n = deviations.size
    assert n > 15_000
    assert abs(deviations.mean()) < 4.5 / np.sqrt(n) and abs(deviations.std() - 1) < 4.5 / np.sqrt(2 * n)
    assert abs(np.mean(deviations[:, 0] * deviations[:, 1])) < 4.5 / np.sqrt(n / 2)


def test_no_pass_is_like_another(folder):
    builder = build(folder, LSST)
    train = builder.as_dataset(split="train")
    passes = [examples(train) for _ in range(2)]
    assert not any(np.array_equal(passes[0][i]["shear"], passes[1][i]["shear"]) for i in passes[0])
    assert not any(np.array_equal(passes[0][i]["mask"], passes[1][i]["mask"]) for i in passes[0])
    repeated = [example["shear"] for example in tfds.as_numpy(builder.as_dataset(split="train").repeat(3))]
    assert len({shear.tobytes() for shear in repeated}) == 18
    # all over again: the same passes
    again = build(folder, LSST).as_dataset(split="train")
    assert all(same(one, examples(again)) for one in passes)
    other = examples(build(folder, LSST, seed=1).as_dataset(split="train"))
    assert not any(np.array_equal(other[i]["shear"], passes[0][i]["shear"]) for i in other)


def test_validation_and_test_stay_as_they_are(folder):
    builder = build(folder, LSST, seed=5)
    for split in ("validation", "test"):
        first = examples(builder.as_dataset(split=split))
        assert same(first, examples(builder.as_dataset(split=split, shuffle_files=True)))
        assert same(first, examples(build(folder, LSST).as_dataset(split=split)))
    both = examples(builder.as_dataset(split="train+test"))
    part = examples(builder.as_dataset(split="test[:1]"))
    assert len(part) == 1
    for simulation, example in part.items():
        assert np.array_equal(example["shear"], first[simulation]["shear"])
        assert np.array_equal(both[simulation]["shear"], first[simulation]["shear"])


def test_ways_of_reading(folder, tmp_path):
    expected = examples(build(folder, LSST).as_dataset(split="train"))
    kwargs = {"builder_kwargs": {"config": LSST}, "data_dir": folder, "shuffle_files": True}
    loaded, info = tfds.load("lensing_pairs", split="train", with_info=True, **kwargs)
    assert same(expected, examples(loaded))
    assert info.features["shear"].shape == (48, 48, 2) and "lensing" in info.description
    batch = next(iter(tfds.load("lensing_pairs", split="train", batch_size=4, **kwargs)))
    assert batch["shear"].shape == (4, 48, 48, 2) and batch["mask"].shape == (4, 48, 48)

    builder = pickle.loads(pickle.dumps(build(folder, LSST, seed=3)))
    unpickled = examples(builder.as_dataset(split="train"))
    assert same(unpickled, examples(build(folder, LSST, seed=3).as_dataset(split="train")))
    builder.as_dataset(split="test").save(str(tmp_path / "saved"))
    saved = tf.data.Dataset.load(str(tmp_path / "saved"))
    assert same(examples(saved), examples(builder.as_dataset(split="test")))

    skipped = builder.as_dataset(split="test", decoders={"kappa": tfds.decode.SkipDecoding()})
    assert skipped.element_spec["kappa"].dtype == tf.string and skipped.element_spec["shear"].shape == (48, 48, 2)
    enough = tfds.decode.PartialDecoding({"shear": True, "simulation": True, "map": True})
    assert "kappa" not in builder.as_dataset(split="test", decoders=enough).element_spec
    with pytest.raises(ValueError, match="decoders must decode shear, simulation and map; they leave out shear"):
        builder.as_dataset(split="test", decoders=tfds.decode.PartialDecoding({"kappa": True}))


def catalogue(path):
    """A CSV of 20,000 galaxies with a hole, and the columns."""
    rng = np.random.default_rng(2)
    columns = {"ra": rng.uniform(150, 150.3, 20_000), "dec": rng.uniform(2, 2.3, 20_000)}
    columns |= {"e1": rng.normal(0, 0.3, 20_000), "e2": rng.normal(0, 0.3, 20_000), "w": rng.uniform(0.5, 2, 20_000)}
    kept = np.hypot(columns["ra"] - 150.15, columns["dec"] - 2.15) > 0.02
    columns = {name: values[kept] for name, values in columns.items()}
    np.savetxt(path, np.stack(list(columns.values()), 1), delimiter=",", header=",".join(columns), comments="")
    return columns


def test_field_of_a_catalogue(folder, tmp_path, monkeypatch):
    columns = catalogue(tmp_path / "shear.csv")
    grid = SkyGrid(ra=np.median(columns["ra"]), dec=np.median(columns["dec"]), shape=(48, 48), pixel_scale=PIXEL_SCALE)
    field = catalog_to_map(*columns.values(), grid=grid)
    builder = build(folder, COSMOS, catalog=tmp_path / "shear.csv")
    monkeypatch.setenv("DEEPCOSMO_COSMOS_SHEAR", str(tmp_path / "shear.csv"))
    for dataset in (builder.as_dataset(split="train"), build(folder, COSMOS).as_dataset(split="train")):
        passes = [examples(dataset) for _ in range(2)]
        for example in [*passes[0].values(), *passes[1].values()]:
            np.testing.assert_array_equal(example["mask"], field.mask)
            np.testing.assert_allclose(example["noise_std"] ** 2, np.mean(field.noise_std**2, -1), rtol=1e-5)
        assert not any(np.array_equal(passes[0][i]["shear"], passes[1][i]["shear"]) for i in passes[0])
    # it is COSMOS's
    with pytest.raises(ValueError, match="catalog is for the survey cosmos_hst alone; this is lsst_y10"):
        build(folder, LSST, catalog=tmp_path / "shear.csv")
    assert examples(build(folder, LSST).as_dataset(split="test"))[7]["mask"].mean() < 0.95


def galaxies(noise_std, sigma_e):
    return np.where(noise_std > 0, (sigma_e / np.maximum(noise_std, 1e-9)) ** 2, 0)


def test_drawn_fields_are_like_the_real_one():
    """COSMOS (Schrabback et al. 2010): edges, holes, numbers of galaxies and noise."""
    setup = survey.SURVEYS["cosmos_hst"]
    real = survey.cosmos_noise_std(shared("cosmos_shear"), 360)
    drawn = survey.draw_noise_std(setup, (360, 360), [0, 1], count=8).numpy()
    assert np.mean(real > 0) == pytest.approx(0.5231, abs=1e-4)
    assert np.mean(drawn > 0) == pytest.approx(np.mean(real > 0), rel=0.01)
    assert real[real > 0].mean() == pytest.approx(drawn[drawn > 0].mean(), rel=0.02)
    ours, theirs = (galaxies(noise, setup.sigma_e)[noise > 0] for noise in (drawn, real))
    assert ours.mean() == pytest.approx(theirs.mean(), rel=0.03)
    assert ours.var() == pytest.approx(theirs.var(), rel=0.1)
    # fields differ, and are not smaller in the middle
    assert len({field.tobytes() for field in drawn > 0}) == 8
    middle = np.mean(drawn[:, 80:280, 80:280] > 0)
    assert middle == pytest.approx(np.mean(real[80:280, 80:280] > 0), abs=0.01)


@pytest.mark.parametrize("shape", [(360, 360), (96, 120)])
def test_holes_and_galaxies(shape):
    """Many galaxies: what is empty are holes; without stars: what varies are galaxies."""
    holes = survey.Survey(density=2000, sigma_e=1.0, stars=0.1, star_radii=(0.3, 3.0))
    observed = np.mean(survey.draw_noise_std(holes, shape, [0, 1], count=24).numpy() > 0, (1, 2))
    assert abs(observed.mean() - 0.9) < 4.5 * observed.std() / np.sqrt(24)
    sparse = survey.Survey(density=18, sigma_e=0.28, stars=1e-9, star_radii=(0.3, 3.0))
    number = galaxies(survey.draw_noise_std(sparse, shape, [0, 1], count=24).numpy(), 0.28)
    each, expected = number.mean((1, 2)), 18 * PIXEL_SCALE**2
    assert abs(each.mean() - expected) < 4.5 * each.std() / np.sqrt(24) + 0.002 * expected
    # Poisson's variance and that of the density, 0.059 of its square
    assert number.var() == pytest.approx(expected + 0.059 * expected**2, rel=0.05)


def test_one_large_hole_in_a_frame():
    setup = survey.Survey(density=2000, sigma_e=1.0, stars=1e-9, star_radii=(0.3, 3.0), hole=5.0)
    empty = np.sum(survey.draw_noise_std(setup, (360, 360), [0, 1], count=12).numpy() == 0, (1, 2))
    area = np.pi * (5.0 / PIXEL_SCALE) ** 2
    assert empty.max() == pytest.approx(area, rel=0.02) and np.median(empty) > 0.9 * area
    # a smaller map is a window of it
    share = [np.mean(survey.draw_noise_std(setup, (90, 90), [0, i], count=200).numpy() == 0) for i in range(4)]
    assert np.mean(share) == pytest.approx(area / 360**2, rel=0.4)


@pytest.mark.parametrize("name", survey.SURVEYS)
def test_the_seed_is_all(name):
    setup, shear = survey.SURVEYS[name], tf.random.stateless_normal([3, 40, 56, 2], [0, 0])
    eager = survey.observe(shear, setup, [4, 5])

    @tf.function(input_signature=[tf.TensorSpec([None, 40, 56, 2]), tf.TensorSpec([2], tf.int32)])
    def graph(shear, seed):
        return survey.observe(shear, setup, seed)

    for key, value in graph(shear, tf.constant([4, 5])).items():
        np.testing.assert_allclose(value, eager[key], atol=1e-6)
    assert eager["shear"].shape == (3, 40, 56, 2) and eager["mask"].shape == eager["noise_std"].shape == (3, 40, 56)
    other = survey.observe(shear, setup, [4, 6])
    assert not np.array_equal(other["shear"], eager["shear"])
    assert len({noise.numpy().tobytes() for noise in eager["noise_std"]}) == 3


def test_convergence_and_given_noise():
    kappa = np.random.default_rng(0).normal(size=(32, 32)).astype("f4")
    noise_std = np.where(np.arange(32) < 16, 0.5, 0.0) * np.ones((32, 1))
    observed = survey.observe(kappa, noise_std, [0, 1])
    from_shear = survey.observe(kappa_to_shear(kappa), noise_std, [0, 1])
    np.testing.assert_allclose(observed["shear"], from_shear["shear"], atol=1e-6)
    np.testing.assert_array_equal(observed["mask"], noise_std > 0)
    deviation = (observed["shear"] - kappa_to_shear(kappa))[:, :16] / 0.5
    assert abs(np.std(deviation) - 1) < 4.5 / np.sqrt(2 * 1024)


@pytest.mark.parametrize("wrong", [{"survey": "euclid"}, {"size": 0}])
def test_wrong_options(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LensingPairsConfig(**{"name": "mine", "survey": "hsc"} | wrong)


def test_maps_that_do_not_fit(tmp_path):
    small = LensingPairsConfig(name="large", survey="hsc", maps="lightcone_small", size=200)
    with pytest.raises(ValueError, match="at least 200 pixels on a side(?s:.*)lightcone_small have 128"):
        build(tmp_path, small)
    coarse = KappaMapsConfig(name="coarse", source="lognormal", size=64, pixel_scale=1.0)
    with pytest.raises(ValueError, match="of 0.29297 arcmin"):
        build(tmp_path, LensingPairsConfig(name="coarse", survey="hsc", maps=coarse, size=32))
