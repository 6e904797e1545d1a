"""What networks for mass mapping are measured by: errors beside other methods', calibration, statistics of samples."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np
import scipy.ndimage
import scipy.stats
import tensorflow_datasets as tfds
from numpy.typing import ArrayLike

import tfds_builders  # noqa: F401  (registers lensing_pairs)
from deepcosmo._types import Progress
from deepcosmo.inference import MassMap, mass_map
from deepcosmo.metrics import maps as statistics
from deepcosmo.metrics.metric import Metric
from deepcosmo.metrics.ranks import ranks, tarp_coverage, tarp_rank
from deepcosmo.physics import fields
from deepcosmo.physics.catalog import PIXEL_SCALE

__all__ = ["clustered", "cosmos_windows", "estimator", "mass_map_metrics", "sample_metrics", "windows"]

Pair: TypeAlias = dict[str, Any]
Estimator: TypeAlias = Callable[..., MassMap]

BLOCK = 32  # pixels, 9.4': TARP compares means over such blocks, of which data tell something
PEAKS = (0.01, 0.02, 0.035, 0.5)  # bins of the convergence of peaks, smoothed by 1'
TAILS = (-0.015, 0.015, 0.03, 0.06)  # of the distribution of the convergence


def clustered(values: np.ndarray, groups: np.ndarray) -> tuple[Any, Any]:
    """Mean of values (n, ...) and its error where values of a group are not independent, such as maps of a simulation.

    The error is that of the mean over the means of groups; `groups` (n,) says which each value belongs to.
    """
    means = np.array([np.mean(values[groups == g], 0) for g in np.unique(groups)])
    return np.mean(values, 0), np.std(means, 0, ddof=1) / np.sqrt(len(means))


def windows(pairs: Iterable[Pair], size: int, hole: float = 0.0) -> Iterator[Pair]:
    """The middle `size` x `size` pixels of examples of `lensing_pairs`.

    Where something was observed within `hole` arcmin of their middle, it is masked, and marked in a map `hole`.
    """
    away = np.hypot(*(np.mgrid[:size, :size] - (size - 1) / 2)) * PIXEL_SCALE
    for pair in pairs:
        whole = pair["kappa"].shape[0]
        middle = slice((whole - size) // 2, (whole + size) // 2)
        cut = {name: pair[name][middle, middle] for name in ("kappa", "shear", "noise_std", "mask")}
        cut["hole"] = cut["mask"] & (away < hole)
        yield cut | {"mask": cut["mask"] & ~cut["hole"], "simulation": int(pair["simulation"])}


def cosmos_windows(size: int, hole: float = 0.0) -> tuple[list[Pair], str]:
    """`windows` of the test split of `lensing_pairs/cosmos_hst`, a list, and what to call the split."""
    found = list(windows(tfds.as_numpy(tfds.load("lensing_pairs/cosmos_hst", split="test")), size, hole))
    real = np.array_equal(found[0]["mask"], found[1]["mask"])  # simulated fields differ
    return found, "lensing_pairs/cosmos_hst, test" + ", mask and noise of the real field" * real


def estimator(method: str, **options: Any) -> Estimator:
    """A method of `mass_map` as a function of (pair, seed), for pairs of `windows`."""

    def estimate(pair, seed):
        return mass_map(
            pair["shear"], pair["noise_std"], pair["mask"], pixel_scale=PIXEL_SCALE, method=method, seed=seed, **options
        )

    return estimate


def _smooth(kappa, arcmin):
    return scipy.ndimage.gaussian_filter(kappa, arcmin / PIXEL_SCALE, axes=(-2, -1), mode="nearest")


def _blocks(kappa, mask):
    """Means (..., n) over blocks that are observed for the most part."""
    rows, columns = (n // BLOCK * BLOCK for n in mask.shape)

    def means(v):
        v = v[..., :rows, :columns]
        return v.reshape(*v.shape[:-2], rows // BLOCK, BLOCK, columns // BLOCK, BLOCK).mean((-3, -1))

    return means(kappa)[..., means(mask.astype(float)) > 0.5]


class _Calibration:
    """Ranks of the truth in what a method says of it, over many maps."""

    def __init__(self):
        self.ranks, self.means, self.truths, self.simulations = [], [], [], []
        self.in_holes = []
        self.tarp, self.peaks = [], []  # of methods that draw samples

    def add(self, result, pair, reference, number):
        mask, kappa = pair["mask"], pair["kappa"]

        def no_mean(maps):  # which shear does not tell
            return maps - maps[..., mask].mean(-1)[..., None, None]

        if result.samples is None:
            rank = scipy.stats.norm.cdf((kappa - result.mean) / result.std)
        else:
            rank = ranks(kappa, result.samples, seed=number)
            blocks = (_blocks(no_mean(v), mask) for v in (kappa, result.samples, reference))
            self.tarp.append(tarp_rank(*blocks, seed=number))
            counts = [statistics.peaks(no_mean(_smooth(v, 1.0)), PEAKS, mask) for v in (kappa, *result.samples)]
            self.peaks.append(ranks(counts[0], np.array(counts[1:]), seed=number))
        self.ranks.append(rank[mask].astype("f4"))
        self.in_holes.append(rank[pair["hole"]])
        self.means.append(result.mean[mask].astype("f4"))
        self.truths.append(kappa[mask].astype("f4"))
        self.simulations.append(pair["simulation"])

    def figures(self):
        """Yields (name, value, error, reference)."""
        ranks, means, truths = (np.concatenate(v) for v in (self.ranks, self.means, self.truths))
        group = np.repeat(self.simulations, [len(v) for v in self.ranks])
        for level in (0.68, 0.95):
            inside = np.abs(2 * ranks - 1) < level
            yield f"pixels within {level:.0%} intervals", *clustered(inside, group), f"{level}"
            for by, values in (("posterior mean", means), ("truth", truths)):
                third = statistics.thirds(values)
                for i, which in enumerate(("lowest", "middle", "highest")):
                    expected = f"{level}" if values is means else "not that of the level even for exact posteriors"
                    chosen = third == i
                    yield (
                        f"the same, {which} third by {by} ({level:.0%})",
                        *clustered(inside[chosen], group[chosen]),
                        expected,
                    )
        hole = np.concatenate(self.in_holes)
        if hole.size:
            group = np.repeat(self.simulations, [len(v) for v in self.in_holes])
            for level in (0.68, 0.95):
                inside = np.abs(2 * hole - 1) < level
                yield f"pixels within {level:.0%} intervals, in the hole", *clustered(inside, group), f"{level}"
        if not self.tarp:
            return
        levels = np.linspace(0.1, 0.9, 9)
        off = tarp_coverage(self.tarp, levels) - levels
        worst = int(np.abs(off / np.sqrt(levels * (1 - levels))).argmax())
        yield (
            "TARP: largest departure of the expected coverage",
            off[worst],
            np.sqrt(levels[worst] * (1 - levels[worst]) / len(self.tarp)),
            f"0; at {levels[worst]:.1f}, of means over {BLOCK * PIXEL_SCALE:.1f}' less that of the map",
        )
        yield "TARP: p-value of uniformity", scipy.stats.kstest(self.tarp, "uniform").pvalue, None, "uniform in (0, 1)"
        peaks, simulations = np.array(self.peaks), np.array(self.simulations)
        for i, (low, high) in enumerate(zip(PEAKS, PEAKS[1:], strict=False)):
            heights = f"peaks of {low} < kappa < {high}" if i < len(PEAKS) - 2 else f"peaks of kappa > {low}"
            yield f"mean rank of the number of {heights}", *clustered(peaks[:, i], simulations), "0.5"
            pvalue = scipy.stats.kstest(peaks[:, i], "uniform").pvalue
            yield f"p-value of uniform ranks, {heights}", pvalue, None, "uniform in (0, 1)"


def mass_map_metrics(
    pairs: Sequence[Pair],
    methods: Mapping[str, Estimator],
    *,
    network: str,
    split: str,
    progress: Progress,
    references: Mapping[str, str] | None = None,
) -> list[Metric]:
    """Errors and calibration of a network beside other methods, on the same maps.

    Args:
        pairs: list of what `windows` makes of examples of `lensing_pairs`.
        methods: dict name -> function of (pair, seed) that returns a `MassMap`; "wiener" among them.
        network: name of the one whose calibration is measured.
        split: what to call the pairs.
        progress: wraps an iterable in a progress bar.
        references: dict name of a metric -> what others found.

    Returns:
        List of `Metric`. RMSE and Pearson r are those of maps less their mean inside the mask; errors are those of
        means over simulations.
    """
    errors, calibration = {name: [] for name in methods}, _Calibration()
    groups = np.array([pair["simulation"] for pair in pairs])
    random = np.random.default_rng(0)

    def estimates(number):
        return {name: method(pairs[number], [7, number]) for name, method in methods.items()}

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # one map alone does not keep all cores busy
        estimated = pool.map(estimates, range(len(pairs)))
        for number, (pair, results) in enumerate(zip(progress(pairs), estimated, strict=True)):
            # drawn without a look at the truth: a map of another simulation
            reference = pairs[random.choice(np.flatnonzero(groups != pair["simulation"]))]["kappa"]
            for name, result in results.items():
                errors[name].append(statistics.map_errors(result.best, pair["kappa"], pair["mask"]))
            calibration.add(results[network], pair, reference, number)

    def metric(name, value, error=None, reference=None):
        return Metric(
            name=name,
            value=float(value),
            error=None if error is None else float(error),
            reference=(references or {}).get(name, reference),
            split=split,
            size=len(pairs),
        )

    errors = {name: np.array(values) for name, values in errors.items()}
    ours, found = errors[network], []
    for name in sorted(errors.keys() - {network}, key=lambda name: (name != "wiener", name)):  # what counts comes first
        theirs = errors[name]
        ratio, gain = 100 * (ours[:, 0] / theirs[:, 0] - 1), ours[:, 1] - theirs[:, 1]
        found.append(metric(f"RMSE, {network} / {name} - 1 [%]", *clustered(ratio, groups)))
        found.append(metric(f"Pearson r, {network} - {name}", *clustered(gain, groups)))
    for name, values in errors.items():
        mean, error = clustered(values, groups)
        found += [metric(f"RMSE, {name}", mean[0], error[0]), metric(f"Pearson r, {name}", mean[1], error[1])]
    return found + [metric(*figure) for figure in calibration.figures()]


def sample_metrics(samples: np.ndarray, maps: np.ndarray, simulations: ArrayLike, *, split: str) -> list[Metric]:
    """Unconditional samples against maps of simulations: power, moments, tails of the distribution, and peaks.

    Args:
        samples: (n, rows, columns), without mean.
        maps: (m, rows, columns).
        simulations: of the maps (m,).
        split: what to call the maps.

    Returns:
        List of `Metric`, in per cent of what maps show.
    """
    sides = np.array(samples, "f4"), np.array(maps - maps.mean((1, 2), keepdims=True), "f4")
    groups = np.arange(len(samples)), np.asarray(simulations)
    edges = np.array([300, 1000, 3000, 8000, 20000.0])
    measured = [[] for _ in sides]
    for each, found in zip(sides, measured, strict=True):
        power = fields.measured_power(each[:, None], pixel_scale=PIXEL_SCALE, edges=edges)[1].numpy()[:, 0, 0]
        found += [
            (f"C(ell), {low:.0f} < ell < {high:.0f}", power[:, i])
            for i, (low, high) in enumerate(zip(edges, edges[1:], strict=False))
        ]
        for arcmin in (1.0, 2.0):
            smooth = _smooth(each, arcmin)
            smooth -= smooth.mean((1, 2), keepdims=True)
            found.append((f"standard deviation, smoothed by {arcmin:.0f}'", smooth.std((1, 2))))
            found.append((f"third moment, smoothed by {arcmin:.0f}'", np.mean(smooth**3, (1, 2))))
            for tail in TAILS:
                beyond = f"kappa {'<' if tail < 0 else '>'} {tail}"
                share = np.mean(smooth < tail if tail < 0 else smooth > tail, (1, 2))
                found.append((f"pixels of {beyond}, smoothed by {arcmin:.0f}'", share))
            counts = np.array([statistics.peaks(kappa, PEAKS) for kappa in smooth], float)
            for i, (low, high) in enumerate(zip(PEAKS, PEAKS[1:], strict=False)):
                found.append((f"peaks of {low} < kappa < {high}, smoothed by {arcmin:.0f}'", counts[:, i]))
    metrics = []
    for (name, ours), (_, theirs) in zip(*measured, strict=True):
        (a, da), (b, db) = (clustered(v, g) for v, g in zip((ours, theirs), groups, strict=True))
        if b > 0:  # some peaks are too high for any map
            metrics.append(
                Metric(
                    name=f"{name}, samples / simulations - 1 [%]",
                    value=float(100 * (a / b - 1)),
                    error=float(100 / b * np.hypot(da, db * a / b)),
                    split=split,
                    size=len(maps),
                )
            )
    return metrics
