"""How good posteriors of cosmology given convergence maps are: densities, calibration, symmetry, figures of merit."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from deepcosmo._types import PathLike, Progress
from deepcosmo.inference.explicit.power_spectrum import PowerSpectrum
from deepcosmo.metrics.calibration import Calibration, calibration
from deepcosmo.metrics.metric import Metric
from deepcosmo.metrics.two_sample import c2st
from deepcosmo.models import MapPosterior
from deepcosmo.models.maps.compressors import in_batches
from deepcosmo.physics.lensing_survey import LensingSurvey

__all__ = [
    "calibration_of_summaries",
    "fiducial_maps",
    "figure_of_merit",
    "full_field_metrics",
    "lensing_posterior_metrics",
    "observed",
    "stored_full_field_metrics",
    "turns",
]

_DRAWS = 500  # of the posterior of each map, for calibration
_FIDUCIAL = 64  # maps at the fiducial cosmology
_COMPARED = 3  # of these with power spectra, which take minutes
_PAIRS = ("omega_c", "sigma_8"), ("omega_c", "w_0")  # of which figures of merit are measured


def turns(maps: np.ndarray) -> np.ndarray:
    """The eight flips and quarter turns of square maps (n, n, channels): (8, n, n, channels)."""
    quarter = [np.rot90(maps, k) for k in range(4)]
    return np.stack([*quarter, *(np.flip(v, 0) for v in quarter)])


def figure_of_merit(samples: ArrayLike, columns: Sequence[int]) -> float:
    """1 / sqrt(det covariance) of two columns of samples (n, dim)."""
    return float(np.linalg.det(np.cov(np.asarray(samples, float)[:, columns].T)) ** -0.5)


def observed(survey: LensingSurvey, theta: ArrayLike, seed: int) -> np.ndarray:
    """A map of each of some parameters (m, n), which does not depend on the others: (m, rows, columns, bins)."""
    theta = np.asarray(theta, "float32")
    seeds = [tf.constant([seed, i], tf.int32) for i in range(len(theta))]
    return np.concatenate([survey.sample(row[None], s) for row, s in zip(theta, seeds, strict=True)])


def fiducial_maps(survey: LensingSurvey, n: int, seed: int) -> np.ndarray:
    """n maps at the fiducial cosmology, (n, rows, columns, bins)."""
    return observed(survey, np.tile(survey.fiducial, (n, 1)), seed)


def _s_8(survey, samples):
    """S_8 = sigma_8 sqrt(Omega_m / 0.3) of parameters (..., n)."""
    cosmology = survey.cosmology(samples)
    return (cosmology.sigma_8 * np.sqrt((cosmology.omega_c + cosmology.omega_b) / 0.3)).numpy()


def calibration_of_summaries(
    model: MapPosterior, theta: ArrayLike, summaries: ArrayLike, *, seed: int
) -> tuple[Calibration, np.ndarray]:
    """The `Calibration` of a `MapPosterior` on summaries (m, n) of maps and their parameters (m, dim), and the
    log-densities of these (m,)."""
    samples = model.sample_of_features(_DRAWS, summaries, seed=seed).numpy()
    truth = model.log_prob_of_features(theta, summaries).numpy()
    drawn = np.stack([model.log_prob_of_features(draw, summaries).numpy() for draw in samples])
    return calibration(theta, samples, log_prob=(truth, drawn), seed=seed), truth


def full_field_metrics(model: MapPosterior, maps: np.ndarray, explicit: ArrayLike, *, seed: int) -> list[Metric]:
    """Holds a `MapPosterior` against explicit posteriors of the same maps.

    Args:
        model: the model.
        maps: (m, rows, columns, bins).
        explicit: draws of `inference.full_field.FullField` for each, (m, n, dim).
        seed: int.

    Returns:
        List of `Metric`: C2ST, whose references are that of every second explicit draw against the others, of which
        there are half as many and which chains side by side make a comparison of chains, and that of normal
        distributions with their means and covariances; distances of means in standard deviations and ratios of widths,
        each the mean over maps and parameters and the largest.
    """
    explicit = np.asarray(explicit)
    implicit = np.moveaxis(model.sample(explicit.shape[1], maps, seed=seed).numpy(), 1, 0)
    scores = np.array([c2st(a, b) for a, b in zip(explicit, implicit, strict=True)])
    halves = np.mean([c2st(draws[::2], draws[1::2]) for draws in explicit])
    rng = np.random.default_rng(seed)
    normal = np.mean(
        [c2st(draws, rng.multivariate_normal(draws.mean(0), np.cov(draws.T), len(draws))) for draws in explicit]
    )
    width = explicit.std(1)
    shift = np.abs(implicit.mean(1) - explicit.mean(1)) / width
    ratio = implicit.std(1) / width
    figures = [
        (
            "C2ST against full-field HMC",
            scores.mean(),
            scores.std() / max(1, len(scores) - 1) ** 0.5,
            f"{halves:.3f} between draws of HMC, {normal:.3f} for normal distributions with their moments",
        ),
        ("C2ST against full-field HMC, largest", scores.max(), None, None),
        ("distance of means from those of HMC [sigma]", shift.mean(), None, None),
        ("distance of means from those of HMC, largest [sigma]", shift.max(), None, None),
        ("width over that of HMC", ratio.mean(), None, None),
        ("width over that of HMC, farthest from 1", ratio.flat[np.argmax(np.abs(np.log(ratio)))], None, None),
    ]
    return [
        Metric(
            name=name,
            value=float(value),
            error=None if not error else float(error),
            reference=reference,
            split="simulated maps",
            size=len(maps),
        )
        for name, value, error, reference in figures
    ]


def stored_full_field_metrics(model: MapPosterior, survey: LensingSurvey, path: PathLike, *, seed: int) -> list[Metric]:
    """As `full_field_metrics`, for the maps and draws in a file of export/full_field.py."""
    with np.load(path) as explicit:
        maps = observed(survey, explicit["true"], int(explicit["seed"]))
        return full_field_metrics(model, maps, explicit["theta"], seed=seed)


def lensing_posterior_metrics(
    model: MapPosterior,
    survey: LensingSurvey,
    batches: Iterable[tuple[Any, Any]],
    *,
    split: str,
    seed: int,
    progress: Progress,
    references: Mapping[str, str] | None = None,
) -> list[Metric]:
    """Measures a `MapPosterior` of omega_c, sigma_8 and perhaps other parameters.

    Args:
        model: the model.
        survey: the `LensingSurvey` it is for.
        batches: iterable of (maps, theta), or (statistics of maps, theta), that training never saw.
        split: their name.
        seed: int, of maps at the fiducial cosmology and of draws.
        progress: wraps an iterable in a progress bar.
        references: dict, name of a figure -> what to hold it against.

    Returns:
        List of `Metric`.
    """
    theta, summaries = [], []
    for maps, true in progress(batches):
        theta.append(np.asarray(true))
        summaries.append(model.encode(maps).numpy())
    theta, summaries = np.concatenate(theta), np.concatenate(summaries)
    found, truth = calibration_of_summaries(model, theta, summaries, seed=seed)
    p_values, covered = found.p_values(), found.coverage([0.68, 0.95])

    fiducial = fiducial_maps(survey, _FIDUCIAL, seed)
    turned = [in_batches(model.encode, turns(maps)) for maps in fiducial[:16]]
    posteriors = [model.sample_of_features(4000, s, seed=seed).numpy() for s in turned]
    moved = np.array([np.abs(p.mean(0) - p.mean((0, 1))).max(0) / p.std((0, 1)) for p in posteriors])
    draws = model.sample_of_features(4000, in_batches(model.encode, fiducial), seed=seed).numpy()
    widths = {name: draws[..., i].std(0) for i, name in enumerate(survey.parameters)}
    widths["S_8"] = _s_8(survey, draws).std(0)

    pairs = {
        f"({', '.join(pair)})": [survey.parameters.index(name) for name in pair]
        for pair in _PAIRS
        if set(pair) <= set(survey.parameters)
    }
    power = PowerSpectrum(survey, progress=False)
    classical = [power.sample(4000, maps, seed=seed) for maps in progress(fiducial[:_COMPARED])]
    gains = {
        name: np.array(
            [figure_of_merit(draws[:, i], columns) / figure_of_merit(old, columns) for i, old in enumerate(classical)]
        )
        for name, columns in pairs.items()
    }

    error = truth.std() / np.sqrt(len(truth))
    figures = [("log-density of the true parameters [nats]", truth.mean(), error, len(truth))]
    for name, gain in gains.items():
        figures.append(
            (
                f"figure of merit {name} over that of power spectra",
                gain.mean(),
                gain.std(ddof=1) / np.sqrt(len(gain)),
                len(gain),
            )
        )
    figures += [
        (f"sigma({name}) at the fiducial cosmology", width.mean(), width.std() / np.sqrt(_FIDUCIAL), _FIDUCIAL)
        for name, width in widths.items()
    ]
    figures.append(("largest change of a posterior mean by flips and quarter turns [sigma]", moved.max(), None, 16))
    for i, name in enumerate(survey.parameters):
        figures.append((f"p-value of the ranks of {name}", p_values["ranks"][i], None, len(theta)))
    figures += [
        ("p-value of TARP", p_values["tarp"], None, len(theta)),
        ("p-value of the ranks by density", p_values["density"], None, len(theta)),
    ]
    figures += [
        (
            f"truths within {100 * level:.0f}% regions of highest density [%]",
            100 * share,
            100 * np.sqrt(level * (1 - level) / len(theta)),
            len(theta),
        )
        for level, share in zip((0.68, 0.95), covered["density"], strict=True)
    ]
    references = references or {}
    return [
        Metric(
            name=name,
            value=float(value),
            error=None if error is None else float(error),
            reference=references.get(name),
            split=split,
            size=size,
        )
        for name, value, error, size in figures
    ]
