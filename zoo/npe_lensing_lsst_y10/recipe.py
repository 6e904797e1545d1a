"""`npe_lensing_lsst_y10`: posterior of cosmological parameters given the tomographic convergence maps of LSST Y10."""

import keras
import numpy as np
import tensorflow_datasets as tfds

import tfds_builders  # noqa: F401  (registers the data sets)
from deepcosmo.metrics.lensing_posterior import lensing_posterior_metrics
from deepcosmo.models import MapCompressor, MapPosterior
from deepcosmo.physics.lensing_survey import lsst_y10
from deepcosmo.training import Recipe, Stage, augment
from deepcosmo.zoo import golden

SEED = 2031
SURVEY = lsst_y10()
MEASURED_ON = 2048  # maps, for scales and the regression that the summaries start from
HMC = "of a full-field sampler, with other shift parameters (arXiv:2409.17975)"
REFERENCES = {
    "sigma(omega_c) at the fiducial cosmology": f"0.025 {HMC}",
    "sigma(sigma_8) at the fiducial cosmology": f"0.031 {HMC}",
    "sigma(w_0) at the fiducial cosmology": f"0.20 {HMC}",
    "sigma(S_8) at the fiducial cosmology": f"0.016 {HMC}",
    "p-value of TARP": "0.05 to 1: calibrated",
    "truths within 68% regions of highest density [%]": "68",
    "truths within 95% regions of highest density [%]": "95",
}


def pairs(split):
    """(map, theta) of a split, in the order on disk."""
    dataset = tfds.load("lensing_sbi/lsst_y10", split=split)
    return dataset.map(lambda example: (example["map"], example["theta"]))


def model():
    compressor = MapCompressor(size=SURVEY.pixels, channels=SURVEY.bins, noise_std=SURVEY.noise_std, outputs=8)
    bounds = {"omega_c": (0.0, np.inf), "w_0": (-2.0, -0.3)}
    bounds = [bounds.get(name, (-np.inf, np.inf)) for name in SURVEY.parameters]
    posterior = MapPosterior(compressor=compressor, parameters=SURVEY.parameters, bounds=bounds)
    measured = list(pairs(f"train[:{MEASURED_ON}]").as_numpy_iterator())
    posterior.adapt(*(np.stack(v) for v in zip(*measured, strict=True)))
    return posterior


def moved(batch, seed):
    maps, theta = batch
    return augment.torus_symmetries(maps, seed), theta


def adam(steps, rate, warmup):
    rate = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=rate, warmup_steps=warmup)
    return keras.optimizers.AdamW(rate, weight_decay=1e-3, clipnorm=10.0)


def stage(name, epochs, optimizer):
    return Stage(name=name, data=pairs, augment=moved, optimizer=optimizer, epochs=epochs, batch_size=32, ema=0.995,
                 shuffle=512, steps_per_epoch=250)  # fmt: skip


def evaluate(posterior, progress):
    return lensing_posterior_metrics(posterior, SURVEY, pairs("test").batch(32), split="test", seed=SEED,
                                     progress=progress, references=REFERENCES)  # fmt: skip


def golden_arrays(posterior):
    y, x = np.mgrid[: SURVEY.pixels, : SURVEY.pixels] * 2 * np.pi / SURVEY.pixels
    maps = sum(np.cos(k * x + k**2) * np.sin(2 * k * y) / k for k in (1, 2, 5, 11, 29, 63))
    maps = 0.05 * (maps[..., None] * np.linspace(0.3, 1.0, SURVEY.bins) + 0.3 * np.cos(90 * x * y)[..., None])
    maps, theta = maps[None].astype("float32"), SURVEY.fiducial[None]
    seed = np.array([1, 2], "int32")
    return golden.record(posterior, {"compress": {"maps": maps}, "log_prob": {"theta": theta, "maps": maps},
                                     "sample": {"maps": maps, "seed": seed}})  # fmt: skip


RECIPE = Recipe(
    name="npe_lensing_lsst_y10",
    version=1,
    task="cosmological inference",
    summary="Posterior of six cosmological parameters given tomographic convergence maps of LSST Y10.",
    dataset="lensing_sbi/lsst_y10:1.0.0",
    model=model,
    stages=(
        stage("maps", 13, lambda steps: adam(6000, 2e-3, 200)),
        stage("cooling", 5, lambda steps: adam(steps, 1e-3, 25)),
    ),
    evaluate=evaluate,
    golden=golden_arrays,
    seed=SEED,
    limits="Convergence maps of 10 x 10 degrees in 256 x 256 pixels and five bins of source redshift, with Gaussian "
    "noise of 0.0477 in each pixel, periodic, without masks: maps as the simulator of lensing_sbi makes them. They "
    "are log-normal fields with the power spectra of halofit, without baryons and intrinsic alignments, and redshift "
    "distributions and shear calibration are known perfectly. A posterior of real data from it would be wrong. The "
    "prior is part of the answer: omega_c N(0.2664, 0.2) > 0, omega_b N(0.0492, 0.006), sigma_8 N(0.831, 0.14), h_0 "
    "N(0.6727, 0.063), n_s N(0.9645, 0.08), w_0 N(-1, 0.9) in [-2, -0.3]; omega_b and h_0 are hardly measured beyond "
    "it. This version is a beginning. Its figures of merit are those of power spectra, no better: the network was "
    "still learning when its 18 epochs of 8,000 maps were over. For one map at the fiducial cosmology FullField, "
    "which samples the field as well, found scatters of 0.033 (omega_c), 0.030 (sigma_8), 0.19 (w_0), 0.046 (n_s) "
    "and 0.018 (S_8), each known to about 15% from chains of 30 effective draws: for w_0 this model's is 1.6 times "
    "that. Nor is it calibrated to the last percent: ranks of n_s and w_0 are not uniform (p below 0.01), regions of "
    "highest density are 1 to 2% too large.",
    licence="MIT",
    citation="Jeffrey, Alsing & Lanusse 2021 (arXiv:2009.08459) for the loss, Lanzieri et al. 2024 (arXiv:2407.10877) "
    "and Zeghal et al. 2024 (arXiv:2409.17975) for the problem, which is that of their package sbi_lens (MIT).",
)
