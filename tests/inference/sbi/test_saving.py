import functools
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow_probability as tfp

from deepcosmo.inference import sbi

tfd = tfp.distributions
PRIOR = tfd.Independent(tfd.Uniform([0.0], 1.0), 1)
QUICK = {"progress": False, "max_epochs": 3}
MDN = {"density": "mdn", "options": {"hidden": (16, 16), "components": 2}}


def simulate(n):
    rng = np.random.default_rng(0)
    theta = rng.uniform(0, 1, (n, 1)).astype("float32")
    return theta, (theta + 0.2 * rng.normal(size=(n, 3))).astype("float32")


def compressor(trainable):
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(2)])
    network.trainable = trainable
    return network


chains = functools.partial(pytest.param, marks=pytest.mark.slow)  # take long to compile
ESTIMATORS = {
    "NPE": lambda: sbi.NPE(PRIOR, **MDN),
    "NPE with a compressor": lambda: sbi.NPE(PRIOR, compressor=compressor(True), **MDN),
    "NLE of summaries": lambda: sbi.NLE(PRIOR, compressor=compressor(False), **MDN),
    "NRE": lambda: sbi.NRE(PRIOR, options={"hidden": (16, 16)}),
    "ensemble": lambda: sbi.Ensemble([sbi.NPE(PRIOR, **MDN) for _ in range(2)]),
}


@pytest.mark.parametrize("kind", [chains(kind) if "NLE" in kind or "NRE" in kind else kind for kind in ESTIMATORS])
def test_same_samples_after_a_file(kind, tmp_path):
    theta, x = simulate(200)
    estimator = ESTIMATORS[kind]().fit(theta, x, **QUICK)
    estimator.save(tmp_path / "file")
    loaded = sbi.load(tmp_path / "file", PRIOR)
    draws = [e.posterior(x[0]).sample(50, seed=3) for e in (loaded, estimator)]
    np.testing.assert_array_equal(*draws)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    one, other = (e.members[1] if kind == "ensemble" else e for e in (loaded, estimator))
    assert one.history == other.history and type(one) is type(other) and one.density == other.density
    with pytest.warns(UserWarning, match="unlike all simulations"):
        one.posterior(np.array([9.0, 0.0, 0.0]))
    with pytest.raises(ValueError, match="the observation holds NaN"):
        one.posterior(np.array([np.nan, 0.0, 0.0]))
    assert len(one.fit(theta, x, **QUICK).history) == 3  # it can be trained anew


@pytest.fixture
def file(tmp_path):
    sbi.NPE(PRIOR, **MDN).fit(*simulate(200), **QUICK).save(tmp_path / "file")
    return tmp_path / "file"


def test_another_prior(file):
    sbi.load(file, tfd.Independent(tfd.Uniform([0.0], 1.0), 1))
    with pytest.raises(ValueError, match="not the prior that the estimator was trained with"):
        sbi.load(file, tfd.Independent(tfd.Uniform([0.0], 1.1), 1))
    with pytest.raises(ValueError, match="of 1 parameters, and the prior of 2"):
        sbi.load(file, tfd.MultivariateNormalDiag([0.0, 0.0]))
    bijector = tfp.bijectors.Chain([tfp.bijectors.Sigmoid(), tfp.bijectors.Scale(2.0)])
    same = tfd.TransformedDistribution(tfd.Logistic([0.0], 0.5), bijector)  # uniform in (0, 1), too
    with pytest.raises(ValueError, match="another bijector"):
        sbi.load(file, tfd.Independent(same, 1))


FILES = Path(__file__).parent / "files"
"""Written by the first release, before files were compressed: other than that, they are as they were."""
FIRST_PRIOR = tfd.Independent(tfd.Uniform([0.0, -1.0], [1.0, 2.0]), 1)


@pytest.mark.parametrize("kind", ["NPE", "NLE", "NRE", "Ensemble"])
def test_files_of_the_first_release(kind):
    """NPE has gaps and a compressor that was trained along; an ensemble mixes its members' draws in another way now."""
    with np.load(FILES / "expected.npz") as expected:
        posterior = sbi.load(FILES / kind, FIRST_PRIOR).posterior(expected["x"])
        np.testing.assert_allclose(posterior.log_prob(expected["theta"]), expected[f"{kind}_log_prob"], atol=1e-4)
        if kind == "NPE":
            np.testing.assert_allclose(posterior.sample(20, seed=3), expected["NPE"], atol=1e-6)


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder .*away to write file into"):
        sbi.load(FILES / "NLE", FIRST_PRIOR).save(tmp_path / "away" / "file")
    with pytest.raises(FileNotFoundError):
        sbi.load(tmp_path / "missing", PRIOR)
    whole = (FILES / "NLE").read_bytes()
    damaged = bytearray(whole)
    damaged[100:140] = bytes(40)
    for content in (b"", b"not a file of ours", whole[: len(whole) // 2], bytes(damaged)):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(ValueError, match="file is no file of sbi.save"):
            sbi.load(tmp_path / "file", PRIOR)
    with zipfile.ZipFile(tmp_path / "file", "w") as archive:
        archive.writestr("notes.txt", "a zip archive of something else")
    with pytest.raises(ValueError, match="file is no file of sbi.save: it has no estimator.json"):
        sbi.load(tmp_path / "file", PRIOR)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_nothing_is_left_of_a_file_that_could_not_be_written(tmp_path):
    (tmp_path / "file").mkdir()
    estimator = sbi.load(FILES / "NLE", FIRST_PRIOR)
    with pytest.raises(OSError):
        sbi.save(estimator, tmp_path / "file")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_nothing_to_save(tmp_path):
    for estimator in (sbi.NLE(PRIOR), sbi.Ensemble([sbi.NPE(PRIOR)])):
        with pytest.raises(RuntimeError, match="no network to save"):
            estimator.save(tmp_path / "file")
    assert not list(tmp_path.iterdir())
