"""The data set `kappa_maps`: tiny simulations, and made-up files of kappaTNG."""

import dummy_kappatng
import h5py
import numpy as np
import pytest
import tensorflow_datasets as tfds
from conftest import shared
from made_up import MadeUp

import tfds_builders
from deepcosmo.physics import cosmology, lightcone
from tfds_builders import KappaMapsConfig
from tfds_builders.kappa_maps import kappatng, simulations

LOGNORMAL = KappaMapsConfig(name="tiny_lognormal", source="lognormal", simulations=7, maps=2, size=16)
LIGHTCONE = KappaMapsConfig(name="tiny_lightcone", source="lightcone", simulations=1, maps=2, size=16, particles=16)
TNG = KappaMapsConfig(name="tiny_kappatng", source="kappatng", size=16)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    dummy_kappatng.write(folder)
    return folder


def build(folder, config, manual=None, beam=None, **kwargs):
    builder = tfds.builder("kappa_maps", config=config, data_dir=folder, **kwargs)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual, beam_options=beam))
    return builder


def examples(builder):
    """All examples of a builder: (simulation, map) -> features, with the split."""
    found = {}
    for split in builder.info.splits:
        for example in tfds.as_numpy(builder.as_dataset(split=split)):
            found[int(example["simulation"]), int(example["map"])] = {**example, "split": split}
    return found


def assert_identical(first, second):
    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_equal(first[key], second[key])


class KappaTNGTest(MadeUp, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = tfds_builders.KappaMaps
    BUILDER_CONFIG_NAMES_TO_TEST = [TNG]
    SPLITS = {"train": 6, "validation": 1, "test": 1}
    write = staticmethod(dummy_kappatng.write)


@pytest.fixture(scope="module")
def lognormal(tmp_path_factory):
    return build(tmp_path_factory.mktemp("lognormal"), LOGNORMAL)


def test_features(lognormal):
    found = examples(lognormal)
    assert found.keys() == {(simulation, number) for simulation in range(7) for number in range(2)}
    z, n = simulations.n_z()
    for (simulation, _), example in found.items():
        assert example["split"] == simulations.split_of(simulation)
        universe = simulations.universe(simulation)._asdict()
        assert example["cosmology"] == pytest.approx(universe, rel=1e-6)
        assert example["kappa"].shape == (16, 16) and 0.002 < example["kappa"].std() < 0.05
        np.testing.assert_allclose(example["z"], z, rtol=1e-6)
        np.testing.assert_allclose(example["n_z"], n, rtol=1e-6)
        assert example["pixel_scale"] == pytest.approx(0.292969, rel=1e-5)
    assert len({example["kappa"].tobytes() for example in found.values()}) == 14


def test_splits_share_no_simulation(lognormal):
    splits = {}
    for (simulation, _), example in examples(lognormal).items():
        splits.setdefault(simulation, set()).add(example["split"])
    assert all(len(found) == 1 for found in splits.values())
    # they must never change: models were trained on them
    first = [simulations.split_of(i) for i in range(20)]
    assert first == 2 * (["train"] * 6 + ["validation"] + ["test"] * 3)


def test_a_build_is_repeatable_with_beam_and_without(lognormal, tmp_path):
    """Nor do simulations depend on how many there are."""
    import apache_beam as beam

    few = KappaMapsConfig(name="few", source="lognormal", simulations=2, maps=2, size=16)
    first_two = {key: example for key, example in examples(lognormal).items() if key[0] < 2}
    assert_identical(first_two, examples(build(tmp_path / "again", few)))
    options = beam.options.pipeline_options.PipelineOptions(["--runner=DirectRunner"])  # no type checks, as tfds build
    assert_identical(first_two, examples(build(tmp_path / "beam", few, beam=options)))


def test_universes():
    """Omega_m and S_8 cover their square evenly."""
    drawn = [simulations.universe(i) for i in range(40)]
    omega_m = np.array([c.omega_c + c.omega_b for c in drawn])
    s_8 = np.array([c.sigma_8 for c in drawn]) * np.sqrt(omega_m / 0.3)
    cells = np.histogram2d(omega_m, s_8, bins=(4, 4), range=((0.2, 0.4), (0.65, 0.95)))[0]
    assert cells.sum() == 40 and cells.min() >= 1
    # and so do those of the test split
    test = [simulations.split_of(i) == "test" for i in range(32)]
    cells = np.histogram2d(omega_m[:32][test], s_8[:32][test], bins=(2, 2), range=((0.2, 0.4), (0.65, 0.95)))[0]
    assert cells.sum() == 9 and cells.min() >= 1


def test_lognormal_maps_have_halofits_power():
    config = KappaMapsConfig(name="few", source="lognormal", maps=4, size=256)
    variance = np.mean(np.square(list(simulations.lognormal_maps(0, config))))
    ell = np.geomspace(2, 1e5, 200)
    power = cosmology.angular_power(simulations.universe(0), ell, *simulations.n_z(), spin=0)[0, 0]
    modes = 360 / (512 * config.pixel_scale / 60) * np.fft.fftfreq(512, 1 / 512)
    modes = np.hypot(modes[:, None], modes)
    area = np.radians(512 * config.pixel_scale / 60) ** 2
    expected = np.sum(np.interp(modes, ell, power), where=modes > 0) / area
    # scatter of 20 such runs: 5%
    assert variance == pytest.approx(expected, rel=0.2)


def test_lightcones_go_on_where_they_were_stopped(tmp_path, monkeypatch):
    folder = tmp_path / "planes"
    first = examples(build(tmp_path / "first", LIGHTCONE, simulations=folder))
    assert first.keys() == {(0, 0), (0, 1)}
    assert [file.name for file in folder.iterdir()] == ["planes_16_0000.npz"]
    assert all(0.002 < example["kappa"].std() < 0.1 for example in first.values())
    # simulated anew: the same
    assert_identical(first, examples(build(tmp_path / "second", LIGHTCONE)))

    def fail(*_, **__):
        raise AssertionError("this was simulated already")

    monkeypatch.setattr(lightcone, "lens_planes", fail)
    assert_identical(first, examples(build(tmp_path / "third", LIGHTCONE, simulations=folder)))
    with pytest.raises(AssertionError, match="already"):
        build(tmp_path / "fourth", LIGHTCONE)


def test_redshifts_of_kappatng():
    np.testing.assert_allclose(kappatng.SOURCE_REDSHIFTS, np.loadtxt(shared("theory/kappaTNG_zs.dat")), atol=1e-6)


def test_planes_of_kappatng():
    """All sources at one redshift: the planes around it, by distance in redshift; the ends."""
    planes = kappatng.SOURCE_REDSHIFTS
    z = np.linspace(0, 4, 40_001)
    for at, expected in {
        float(planes[7]): {7: 1.0},
        float(0.25 * planes[20] + 0.75 * planes[21]): {20: 0.25, 21: 0.75},
        float(0.5 * planes[0]): {0: 0.5},
        3.5: {39: 1.0},
    }.items():
        weights = kappatng.plane_weights(z, np.exp(-0.5 * ((z - at) / 5e-4) ** 2))
        wanted = np.zeros(40)
        wanted[list(expected)] = list(expected.values())
        np.testing.assert_allclose(weights, wanted, atol=0.02)


def test_kappatng(runs, tmp_path):
    found = examples(build(tmp_path, TNG, manual=runs))
    z, n = simulations.n_z()
    nodes = [0.0, *kappatng.SOURCE_REDSHIFTS]
    for run in range(8):
        planes = np.stack([np.zeros((16, 16)), *(dummy_kappatng.plane(run, number) for number in range(40))])
        at = []  # convergence at each redshift of n(z)
        for redshift in z:
            i = np.searchsorted(nodes, redshift, side="right") - 1
            beyond = (redshift - nodes[i]) / (nodes[i + 1] - nodes[i]) if i < 40 else 0.0
            at.append((1 - beyond) * planes[i] + beyond * planes[min(i + 1, 40)])
        expected = np.trapezoid(np.array(at) * n[:, None, None], z, axis=0) / np.trapezoid(n, z)
        np.testing.assert_allclose(found[run, 0]["kappa"], expected, atol=1e-8)
        assert found[run, 0]["split"] == simulations.split_of(run)
        assert found[run, 0]["cosmology"]["sigma_8"] == pytest.approx(0.8159)


def test_bad_files_of_kappatng(runs, tmp_path):
    z, n = simulations.n_z()
    with pytest.raises(ValueError, match=r"z00/kappa must have shape \(32, 32\); it has \(16, 16\)"):
        kappatng.read(runs / "run000.hdf5", z, n, 32)
    with h5py.File(tmp_path / "short.hdf5", "w") as file:
        file["z00/kappa"] = dummy_kappatng.plane(0, 0)
    with pytest.raises(ValueError, match="short.hdf5 has no data set z01/kappa"):
        kappatng.read(tmp_path / "short.hdf5", z, n, 16)
    (tmp_path / "manual").mkdir()
    (tmp_path / "manual" / "README.txt").write_text("empty")
    with pytest.raises(FileNotFoundError, match="no HDF5 files of kappaTNG"):
        build(tmp_path, TNG, manual=tmp_path / "manual")


@pytest.mark.parametrize("wrong", [{"source": "ramses"}, {"simulations": 0}, {"size": -1}, {"pixel_scale": 0.0}])
def test_wrong_options(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        KappaMapsConfig(**{"name": "mine", "source": "lognormal"} | wrong)
