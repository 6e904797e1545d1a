"""The catalogue of parametric fits: where it is found, how it is read and split."""

import os

import dummy_release
import numpy as np
import pytest

from tfds_builders.cosmos_stamps import catalog


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No release anywhere."""
    import galsim

    monkeypatch.setattr(galsim.meta_data, "share_dir", str(tmp_path / "share"))
    return tmp_path


def write(folder, name, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    dummy_release.write_table(folder / name, dummy_release.fits_record(np.arange(10) + 100 * seed, seed))
    return folder / name


def test_reads_the_columns_of_galsim(nowhere):
    record = dummy_release.fits_record(np.arange(50))
    dummy_release.write_table(nowhere / "my_fits.fits", record)
    galaxies, dropped = catalog.read_catalog(nowhere)
    assert galaxies.dtype == catalog.COLUMNS and galaxies.dtype.isnative
    assert sum(dropped.values()) == 0
    single = ~galaxies["use_bulge"]
    assert np.array_equal(galaxies["use_bulge"], record["use_bulgefit"] == 1)
    assert np.allclose(galaxies["flux"][single], record["flux"][single, 0])
    assert np.allclose(galaxies["hlr"], record["hlr"][:, 0])
    both = galaxies[~single]
    assert np.allclose(both["bulge_fraction"] * both["flux"], record["flux"][~single, 1])
    assert np.allclose(both["bulge_hlr"], record["hlr"][~single, 1])
    assert np.allclose(both["disk_q"], record["bulgefit"][~single, 3])
    assert np.allclose(both["bulge_phi"], record["bulgefit"][~single, 15])
    assert not galaxies["bulge_hlr"][single].any()
    assert galaxies["n"].min() >= 0.3 and np.allclose(np.round(galaxies["n"] / 0.05) * 0.05, galaxies["n"])


def test_order_of_the_places(nowhere, monkeypatch):
    share = write(nowhere / "share/COSMOS_25.2_training_sample", "real_galaxy_catalog_25.2_fits.fits", 1)
    assert catalog.find_catalog() == share
    manual = write(nowhere / "manual", "real_galaxy_catalog_23.5_fits.fits", 2)
    assert catalog.find_catalog(manual_dir=nowhere / "manual") == manual
    mine = write(nowhere / "mine", "any_fits.fits", 3)
    monkeypatch.setenv("DEEPCOSMO_COSMOS_DIR", os.pathsep.join([str(nowhere / "empty"), str(nowhere / "mine")]))
    assert catalog.find_catalog(manual_dir=nowhere / "manual") == mine
    assert catalog.find_catalog(path=share) == share
    assert catalog.find_catalog(path=nowhere / "manual") == manual


def test_nothing_there(nowhere):
    with pytest.raises(FileNotFoundError) as error:
        catalog.read_catalog()
    for part in ("real_galaxy_catalog_25.2_fits.fits", "DEEPCOSMO_COSMOS_DIR", "galsim_download_cosmos"):
        assert part in str(error.value)
    (nowhere / "other_fits.fits").write_bytes(b"")
    with pytest.raises(FileNotFoundError):
        catalog.read_catalog(nowhere / "nothing.fits")


def test_splits():
    split = catalog.split_of(np.arange(20_000))
    share = {name: np.mean(split == name) for name in ("train", "validation", "test")}
    # binomial: 4.5 sigma
    assert abs(share["train"] - 0.8) < 4.5 * np.sqrt(0.16 / 20_000)
    assert abs(share["test"] - 0.1) < 4.5 * np.sqrt(0.09 / 20_000)
    assert sum(share.values()) == pytest.approx(1)
    # they must never change: published models were trained on them
    known = {0: "train", 5: "validation", 6: "train", 22: "train", 1286742: "test"}
    assert {i: catalog.split_of(i) for i in known} == known
    assert list(catalog.split_of(np.array([1286742]))) == [catalog.split_of(1286742)]
