"""What the galaxy models of the zoo are measured by: samples against renderings, reconstructions against fits."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from deepcosmo._types import Columns, Progress
from deepcosmo.metrics import comparison, morphology, residuals, sersic_fit
from deepcosmo.metrics.metric import Metric

if TYPE_CHECKING:
    import tensorflow as tf

    from deepcosmo.models import GalaxyVAE

__all__ = [
    "COMPARED",
    "as_arrays",
    "generator_metrics",
    "magnitude_metric",
    "memorisation_metrics",
    "reconstruction_metrics",
]

COMPARED = ("g", "size", "half_light_radius", "magnitude", "rho4", "gini", "m20", "concentration", "asymmetry")

_LANUSSE = {
    "g": ["flow-VAE of arXiv:2008.03833, trained on real galaxies: 3.9% high, 4.9 sigma"],
    "size": ["the same flow-VAE: 0.7% high"],
}
_HOLZSCHUH = "5.98e-2 in arXiv:2203.11956, of other statistics and for real COSMOS galaxies"


def generator_metrics(
    truth: np.ndarray, samples: np.ndarray, conditions: Columns, *, split: str, noise_std: ArrayLike, workers: int = 1
) -> tuple[list[Metric], list[dict[str, np.ndarray]]]:
    """Samples against GalSim renderings at the same conditions, PSFs and noise.

    Args:
        truth, samples: stamps (n, h, w), counts/s per pixel; row i of both has the same conditions, PSF and noise.
        conditions: dict of (n,) arrays: mag_auto, flux_radius, zphot.
        split: the split that `truth` is.
        noise_std: standard deviation of the pixel noise.
        workers: processes that measure.

    Returns:
        `(metrics, statistics)`: a list of `Metric`, and the measured statistics of truth and samples.
    """
    measured = [morphology.measure(images, noise_std=noise_std, workers=workers) for images in (truth, samples)]
    size = len(truth)

    def metric(name, value, error=None, reference=None):
        return Metric(
            name=name,
            value=float(value),
            error=None if error is None else float(error),
            reference=reference,
            split=split,
            size=size,
        )

    distance = comparison.wasserstein(*measured, names=COMPARED)
    floor = comparison.wasserstein_floor(measured[0], names=COMPARED)
    metrics = [
        metric(
            "mean Wasserstein distance of z-scored statistics",
            distance.mean,
            distance.error,
            f"{_HOLZSCHUH}; two halves of the truth: {floor.mean:.3f}",
        )
    ]
    for name, mean in comparison.mean_differences(*measured, names=COMPARED, paired=True).items():
        reference = "; ".join([f"{mean.sigma:+.1f} sigma", *_LANUSSE.get(name, ())])
        if name in ("magnitude", "m20", "asymmetry"):
            metrics.append(metric(f"mean {name}, samples - truth", mean.difference, mean.error, reference))
        else:
            metrics.append(metric(f"mean {name}, samples / truth - 1 [%]", mean.percent, mean.percent_error, reference))
    metrics += [metric(f"Wasserstein distance, {name}", value) for name, value in distance.each.items()]
    names = [name for name in COMPARED if name not in ("m20", "asymmetry")]  # these two have no scale of their own
    biases = comparison.conditional_bias(measured[0], measured[1], conditions, names=names)
    worst = max(biases, key=lambda b: min(abs(b.mean.sigma) / 3, abs(_percent(b)) / 2))
    metrics.append(
        metric(
            f"bins of a condition off by > 3 sigma and > 2%, of {len(biases)}",
            sum(abs(b.mean.sigma) > 3 and abs(_percent(b)) > 2 for b in biases),
            None,
            f"worst: {worst.statistic}, {worst.condition} in {worst.low:.3g} to {worst.high:.3g}: "
            f"{_percent(worst):+.1f}%, {worst.mean.sigma:+.1f} sigma",
        )
    )
    return metrics, measured


def _percent(bias):
    """Relative size of a bias, in per cent; that of a magnitude is its flux's."""
    if bias.statistic == "magnitude":
        return 100 * (10 ** (-0.4 * bias.mean.difference) - 1)
    return bias.mean.percent


def memorisation_metrics(samples: ArrayLike, test: ArrayLike, train: ArrayLike, *, split: str) -> list[Metric]:
    """Nearest-neighbour test on features (n, d), see `comparison.memorisation`."""
    result = comparison.memorisation(samples, test, train)
    return [
        Metric(
            name="memorisation: P(sample nearer to training set than unseen galaxy)",
            value=result.auc,
            error=result.auc_error,
            reference="0.5: none; less: samples scatter more than galaxies",
            split=split,
            size=result.size,
        ),
        Metric(
            name="memorisation: fraction of samples nearer than 1% of unseen galaxies",
            value=result.copies,
            reference="0.01: none",
            split=split,
            size=result.size,
        ),
    ]


def magnitude_metric(samples: ArrayLike, mag_auto: ArrayLike, *, zero_point: float, split: str) -> Metric:
    """Median distance of the magnitudes of noise-free samples (n, h, w), all light of the stamp, from `mag_auto`."""
    error = np.abs(zero_point - 2.5 * np.log10(np.sum(samples, (1, 2))) - mag_auto)
    return Metric(
        name="median |dmag| of noise-free samples [mag]", value=float(np.median(error)), split=split, size=len(error)
    )


def reconstruction_metrics(
    vae: GalaxyVAE,
    stamps: Mapping[str, np.ndarray],
    *,
    split: str,
    noise_power: ArrayLike,
    iterations: Sequence[int] = (0,),
    sersic: bool = False,
    progress: Progress = iter,
) -> list[Metric]:
    """Posterior-mean reconstructions of stamps: chi² per pixel and calibration of the residuals.

    Args:
        vae: a `GalaxyVAE`.
        stamps: dict of arrays `image`, `psf`, `noise_std`.
        split: the split that they are.
        noise_power: (h, w), of mean 1.
        iterations: each as of `GalaxyVAE.posterior`.
        sersic: compare with the best single-Sérsic fit of each stamp (about a second each).
        progress: wraps an iterable in a progress bar.
    """
    size, batch = len(stamps["image"]), 32
    reference, fits = [None, None], None
    if sersic:
        fits = [
            sersic_fit.fit(image, psf, std, noise_power=noise_power).chi2
            for image, psf, std in progress(list(zip(stamps["image"], stamps["psf"], stamps["noise_std"], strict=True)))
        ]
        reference = [f"best single-Sérsic fit: {statistic(fits):.4f}" for statistic in (np.mean, np.median)]
    metrics = []
    for steps in iterations:
        model = np.concatenate(
            [
                vae.reconstruct(*(stamps[k][i : i + batch] for k in ("image", "psf", "noise_std")), iterations=steps)
                for i in progress(range(0, size, batch))
            ]
        )[..., 0]
        found = residuals.calibration(stamps["image"], model, stamps["noise_std"])
        chi2 = residuals.chi2_per_pixel(stamps["image"], model, stamps["noise_std"], noise_power=noise_power)
        kind = f"{steps} Levenberg-Marquardt steps" if steps else "encoder alone"

        def metric(name, value, error=None, reference=None, kind=kind):
            return Metric(
                name=f"{name} ({kind})",
                value=float(value),
                error=None if error is None else float(error),
                reference=reference,
                split=split,
                size=size,
            )

        metrics += [
            metric(
                "mean chi2 per pixel of the posterior mean", np.mean(chi2), np.std(chi2) / np.sqrt(size), reference[0]
            ),
            metric("median chi2 per pixel of the posterior mean", np.median(chi2), None, reference[1]),
            metric("residual pixels within 1 sigma", found.within1, found.within1_error, "0.683 for pure noise"),
            metric("residual pixels within 2 sigma", found.within2, found.within2_error, "0.954 for pure noise"),
        ]
        if sersic:
            metrics.append(
                metric("stamps with lower chi2 than their Sérsic fit", np.sum(chi2 < fits), None, f"of {size}")
            )
    return metrics


def as_arrays(dataset: tf.data.Dataset, number: int | None = None) -> dict[str, Any]:
    """A finite TFDS dataset of feature dicts as one dict of arrays; `attrs` stays a dict."""
    import tensorflow as tf

    examples = list(itertools.islice(dataset.as_numpy_iterator(), number))
    return tf.nest.map_structure(lambda *values: np.stack(values), *examples)
