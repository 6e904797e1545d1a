"""Figures of mass maps on posteriors that are known: those of white Gaussian maps with white noise."""

import numpy as np
import pytest

from deepcosmo.inference.mass_mapping.methods import MassMap
from deepcosmo.metrics import mass_maps

SIGNAL, NOISE = 0.02, 0.03
GAIN = SIGNAL**2 / (SIGNAL**2 + NOISE**2)
SCATTER = SIGNAL * np.sqrt(1 - GAIN)


@pytest.fixture(scope="module")
def pairs():
    """`shear` is the noisy convergence here."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(64):
        kappa = SIGNAL * rng.normal(size=(64, 64))
        found.append(
            {
                "kappa": kappa,
                "shear": kappa + NOISE * rng.normal(size=kappa.shape),
                "noise_std": NOISE,
                "mask": rng.uniform(size=kappa.shape) > 0.1,
                "hole": np.eye(64, dtype=bool),
                "simulation": number % 8,
            }
        )
    return found


def exact(pair, seed, width=1.0, samples=19):
    mean = GAIN * pair["shear"]
    noise = np.random.default_rng(seed).normal(size=(samples, *mean.shape))
    return MassMap(mean=mean, std=np.full_like(mean, width * SCATTER), samples=mean + width * SCATTER * noise)


def figures(pairs, **methods):
    methods = {"wiener": lambda pair, seed: MassMap(mean=pair["shear"]), **methods}
    found = mass_maps.mass_map_metrics(pairs, methods, network="ours", split="test", progress=iter)
    assert all(metric.size == len(pairs) and metric.split == "test" for metric in found)
    return {metric.name: metric for metric in found}


@pytest.mark.parametrize("with_samples", [True, False])
def test_exact_posteriors_are_calibrated(pairs, with_samples):
    def ours(pair, seed):
        result = exact(pair, seed)
        return result if with_samples else result._replace(samples=None)

    found = figures(pairs, ours=ours)
    pixels = sum(pair["mask"].sum() for pair in pairs)
    for level in (0.68, 0.95):
        error = np.sqrt(level * (1 - level) / pixels)
        assert abs(found[f"pixels within {level:.0%} intervals"].value - level) < 4.5 * error
        for which in ("lowest", "middle", "highest"):
            third = found[f"the same, {which} third by posterior mean ({level:.0%})"]
            assert abs(third.value - level) < 4.5 * np.sqrt(3) * error
            assert third.error < 4 * error
    # as well on the diagonal, which stands for a hole here
    assert abs(found["pixels within 68% intervals, in the hole"].value - 0.68) < 4.5 * np.sqrt(0.68 * 0.32 / 64**2)
    # thirds by the truth cannot show it
    assert found["the same, lowest third by truth (68%)"].value < 0.6
    if with_samples:
        assert found["TARP: p-value of uniformity"].value > 1e-3
        assert found["p-value of uniform ranks, peaks of 0.01 < kappa < 0.02"].value > 1e-3
    assert found["RMSE, ours"].value == pytest.approx(SCATTER, rel=0.01)
    assert found["RMSE, wiener"].value == pytest.approx(NOISE, rel=0.01)
    assert found["RMSE, ours / wiener - 1 [%]"].value == pytest.approx(100 * (SCATTER / NOISE - 1), abs=0.5)
    assert found["Pearson r, ours - wiener"].value == pytest.approx(0, abs=1e-9)  # they differ by a factor


def test_wrong_widths_are_seen(pairs):
    found = figures(pairs, ours=lambda pair, seed: exact(pair, seed, width=0.6))
    assert found["pixels within 68% intervals"].value < 0.55
    assert found["TARP: p-value of uniformity"].value < 0.05


def test_errors_are_those_of_simulations():
    """Values that are equal within a group tell as much as one of each."""
    rng = np.random.default_rng(1)
    each = rng.normal(size=50)
    mean, error = mass_maps.clustered(np.repeat(each, 20), np.repeat(np.arange(50), 20))
    assert mean == pytest.approx(each.mean()) and error == pytest.approx(each.std(ddof=1) / np.sqrt(50))


def test_windows():
    pair = {
        "kappa": np.arange(100.0).reshape(10, 10),
        "shear": np.zeros((10, 10, 2)),
        "noise_std": np.ones((10, 10)),
        "mask": np.ones((10, 10), bool),
        "simulation": np.int64(3),
        "map": np.int64(1),
    }
    (cut,) = mass_maps.windows([pair], 4, hole=0.25)
    assert cut["shear"].shape == (4, 4, 2) and cut["simulation"] == 3
    assert cut["hole"].sum() == 4 and cut["hole"][1:3, 1:3].all() and np.array_equal(cut["mask"], ~cut["hole"])
    np.testing.assert_array_equal(cut["kappa"], pair["kappa"][3:7, 3:7])


def test_samples_against_maps():
    """Of fields that are 10% stronger: power +21%, standard deviation +10%, third moment of none."""
    rng = np.random.default_rng(2)
    white = np.exp(0.5 * rng.normal(size=(2, 96, 64, 64)))
    white -= white.mean((2, 3), keepdims=True)
    samples, maps = 0.044 * white[0], 0.04 * white[1]
    found = {m.name: m for m in mass_maps.sample_metrics(samples, maps, np.arange(96) % 8, split="test")}
    for name, expected in (
        ("C(ell), 8000 < ell < 20000", 21),
        ("standard deviation, smoothed by 1'", 10),
        ("third moment, smoothed by 1'", 33),
    ):
        metric = found[f"{name}, samples / simulations - 1 [%]"]
        assert abs(metric.value - expected) < 4.5 * metric.error and 0 < metric.error < 30
