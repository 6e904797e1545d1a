"""The data set `cosmos_stamps`, built from a made-up release."""

import dummy_release
import numpy as np
import pytest
import tensorflow_datasets as tfds

import tfds_builders
from tfds_builders import CosmosStampsConfig
from tfds_builders.cosmos_stamps.catalog import split_of


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    dummy_release.write(folder)
    return folder


def build(folder, release, config="parametric", download=None, **kwargs):
    builder = tfds.builder("cosmos_stamps", config=config, data_dir=folder, catalog=release, **kwargs)
    builder.download_and_prepare(download_config=download)
    return builder


def examples(builder):
    """All examples of a builder: ident -> features, with the split."""
    found = {}
    for split in builder.info.splits:
        for example in tfds.as_numpy(builder.as_dataset(split=split)):
            found[int(example["attrs"]["ident"])] = {**example, "split": split}
    return found


def assert_identical(first, second):
    assert first.keys() == second.keys()
    for ident, example in first.items():
        flat = [{**e, **{f"attrs/{k}": v for k, v in e["attrs"].items()}} for e in (example, second[ident])]
        for name in flat[0].keys() - {"attrs"}:
            np.testing.assert_array_equal(flat[0][name], flat[1][name], err_msg=f"{ident}: {name}")


class ParametricTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = tfds_builders.CosmosStamps
    BUILDER_CONFIG_NAMES_TO_TEST = ["parametric"]
    SPLITS = dummy_release.PER_SPLIT


class RealTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = tfds_builders.CosmosStamps
    BUILDER_CONFIG_NAMES_TO_TEST = ["real"]
    SPLITS = dummy_release.PER_SPLIT


@pytest.fixture(scope="module")
def parametric(tmp_path_factory, release):
    return build(tmp_path_factory.mktemp("parametric"), release, processes=1)


def test_features(parametric):
    found = examples(parametric)
    assert found.keys() == set(dummy_release.idents().tolist())
    for ident, example in found.items():
        assert example["split"] == split_of(ident)
        assert example["image"].shape == example["clean"].shape == (128, 128)
        assert np.isclose(example["psf"].sum(), 1, atol=1e-5)
        assert np.unravel_index(example["psf"].argmax(), (64, 64)) == (32, 32)
        noise = (example["image"] - example["clean"]) / example["noise_std"]
        # correlated: about 4 pixels share their noise, so 128^2 pixels give the std to 1.2%
        assert abs(noise.std() - 1) < 0.06
        flux = 10 ** (-0.4 * (example["attrs"]["mag_auto"] - 25.94))
        assert np.isclose(example["attrs"]["flux"], flux, rtol=1e-5)
        assert 0.5 < example["clean"].sum() / flux < 1.001


def test_two_builds_are_identical(parametric, release, tmp_path):
    assert_identical(examples(parametric), examples(build(tmp_path, release, processes=2)))


def test_beam_makes_the_same(parametric, release, tmp_path):
    import apache_beam as beam

    # type checks off, as in `tfds build`
    options = beam.options.pipeline_options.PipelineOptions(["--runner=DirectRunner"])
    download = tfds.download.DownloadConfig(beam_options=options)
    assert_identical(examples(parametric), examples(build(tmp_path, release, download=download)))


def test_fitted_fluxes(release, tmp_path):
    config = CosmosStampsConfig(name="parametric_fit", source="parametric", flux="fit")
    record = dummy_release.fits_record(dummy_release.idents())
    fitted = np.where(record["use_bulgefit"], record["flux"][:, 3], record["flux"][:, 0])
    found = examples(build(tmp_path, release, config, processes=1))
    for ident, flux in zip(record["IDENT"].tolist(), fitted, strict=True):
        assert np.isclose(found[ident]["attrs"]["flux"], flux, rtol=1e-5)


def test_bad_rows_are_dropped_and_counted(tmp_path):
    record = dummy_release.fits_record(np.arange(5000, 5100))
    record["flux"][0] = 0
    record["sersicfit"][1, 3] = np.nan
    record["hlr"][2] = -0.1
    record["hlr"][3:5] = 1e-3
    record["sersicfit"][5, 3] = 0
    record["IDENT"][7] = record["IDENT"][6]
    record["zphot"][8] = -1
    dummy_release.write_table(tmp_path / "some_fits.fits", record)
    builder = build(tmp_path, tmp_path, processes=1)
    dropped = {reason: n for reason, n in builder.info.metadata["dropped"].items() if n}
    assert dropped == {
        "not finite": 1,
        "flux not positive": 1,
        "half-light radius outside 0.01-10 arcsec": 3,
        "axis ratio outside (0, 1]": 1,
        "size or redshift not positive": 1,
        "repeated identifier": 1,
    }
    found = examples(builder)
    assert len(found) == 92 and not {5000, 5001, 5002, 5003, 5004, 5005, 5008} & found.keys()
    # written to disk, too
    again = tfds.builder("cosmos_stamps/parametric", data_dir=tmp_path)
    assert again.info.metadata["dropped"]["repeated identifier"] == 1


@pytest.mark.parametrize("config", ["parametric", "real"])
def test_missing_catalogue(config, tmp_path, monkeypatch):
    import galsim

    monkeypatch.setattr(galsim.meta_data, "share_dir", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="real_galaxy_catalog_25.2(?s:.*)galsim_download_cosmos"):
        build(tmp_path, None, config)


@pytest.mark.parametrize("wrong", [{"source": "hubble"}, {"flux": "mag"}, {"noise": "white"}, {"noise_std": -1.0}])
def test_wrong_options(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CosmosStampsConfig(**{"name": "mine", "source": "parametric"} | wrong)


def test_simulated(tmp_path, monkeypatch):
    from deepcosmo import zoo

    class Catalogue:
        def sample(self, n, seed):
            rng = np.random.default_rng(seed)
            columns = {name: np.full(n, 0.5) for name in ("hlr", "q", "phi", "zphot", "flux", "n")}
            columns |= {"mag_auto": rng.uniform(22, 25, n), "flux_radius": np.full(n, 8.0)}
            columns["hlr"][:3] = -1
            return columns

    monkeypatch.setattr(zoo, "load", lambda name: {"maf_cosmos_catalog": Catalogue()}[name])
    config = CosmosStampsConfig(name="few", source="simulated", size=40)
    monkeypatch.setattr("tfds_builders.cosmos_stamps.psfs.MODEL_COUNT", 4)
    builder = build(tmp_path, tmp_path / "nowhere", config, processes=1)
    found = examples(builder)
    assert found.keys() == set(range(3, 40))
    assert builder.info.metadata["dropped"]["half-light radius outside 0.01-10 arcsec"] == 3
