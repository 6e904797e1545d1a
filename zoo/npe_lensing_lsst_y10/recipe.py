"""`npe_lensing_lsst_y10`: posterior of cosmological parameters given the tomographic convergence maps of LSST Y10.

A mixture density network sees statistics of maps; its mean is an estimate, from which `NewtonPilot` takes a step along
the score of the likelihood with the field integrated out; flows see where that ends, and the score there. Of the
universes that they train on, some are drawn from the prior and others near the fiducial cosmology, where posteriors are
narrow; weights make the prior of all of them. The posterior is the mean of four flows, since each also learns something
of the noise of these universes.
"""

import functools
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

import tfds_builders  # noqa: F401  (registers the data sets)
from deepcosmo.metrics.lensing_posterior import lensing_posterior_metrics, stored_full_field_metrics
from deepcosmo.models import (
    FieldStatistics,
    GaussianScores,
    LognormalScores,
    MapCompressor,
    MapPosterior,
    NewtonPilot,
    OneStepCompressor,
)
from deepcosmo.models.maps import golden
from deepcosmo.physics.lensing_survey import lsst_y10
from deepcosmo.training import Recipe, Stage, fit_part
from tfds_builders.lensing_sbi.reading import measured, one_noise, statistics

SEED = 2031
SURVEY = lsst_y10()
STATISTICS, PRIOR, NEAR = "lsst_y10_statistics", "lsst_y10", "lsst_y10_near"
HALF_NEAR = 24_000  # maps of NEAR that flows train on, with all 20,000 of PRIOR
ALL = 44_000  # to shuffle and to adapt
KEPT = Path("runs") / "npe_lensing_lsst_y10_measured"  # estimates and scores of maps
BOUNDS = {"omega_c": (0.0, np.inf), "w_0": (-2.0, -0.3)}
EXPLICIT = Path(__file__).with_name("full_field.npz")  # of export/full_field.py
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


PIVOTS = [  # omega_c, sigma_8, w_0, n_s: over the prior, more of them where posteriors are narrow
    (0.2664, 0.831, -1.0, 0.9645),
    (0.2664, 0.831, -0.5, 0.9645),
    (0.2664, 0.831, -1.6, 0.9645),
    (0.2664, 0.831, -1.0, 0.88),
    (0.2664, 0.831, -1.0, 1.05),
    (0.1, 0.9, -1.0, 0.9645),
    (0.13, 0.75, -1.0, 0.9645),
    (0.13, 1.0, -1.0, 0.9645),
    (0.2, 0.8, -1.0, 0.9645),
    (0.2, 1.0, -0.6, 0.9645),
    (0.25, 0.65, -1.0, 0.9645),
    (0.25, 1.05, -1.0, 0.9645),
    (0.3, 0.75, -0.6, 0.9645),
    (0.3, 0.95, -1.4, 0.9645),
    (0.35, 0.85, -1.0, 0.9645),
    (0.4, 0.7, -1.4, 0.9645),
    (0.45, 0.7, -1.0, 0.9645),
    (0.45, 1.0, -1.0, 0.9645),
    (0.55, 0.9, -1.0, 0.9645),
    (0.65, 0.8, -1.0, 0.9645),
]


of_statistics = functools.partial(statistics, STATISTICS)


def posterior(compressor, density, options, members=1):
    bounds = [BOUNDS.get(name, (-np.inf, np.inf)) for name in SURVEY.parameters]
    return MapPosterior(
        compressor=compressor,
        parameters=SURVEY.parameters,
        bounds=bounds,
        density=density,
        options=options,
        members=members,
    )


def adam(weight_decay):
    def optimizer(steps):
        rate = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=3e-3, warmup_steps=steps // 40)
        return keras.optimizers.AdamW(rate, weight_decay=weight_decay, clipnorm=5.0)

    return optimizer


@functools.cache
def first_pilot():
    """A mixture of normal distributions given statistics of maps, trained.

    On universes that flows do not train on: there, a pilot that had seen them would be better than elsewhere.
    """
    keras.utils.set_random_seed(SEED)
    pivots = np.tile(SURVEY.fiducial, (len(PIVOTS), 1))
    pivots[:, [SURVEY.parameters.index(name) for name in ("omega_c", "sigma_8", "w_0", "n_s")]] = PIVOTS
    compressor = MapCompressor(
        statistics=FieldStatistics.of(SURVEY), scores=GaussianScores.of(SURVEY, pivots), outputs=16, hidden=(512, 256)
    )
    new = posterior(compressor, "mdn", {"components": 4, "full_covariance": True, "hidden": (128, 128)})
    found, theta = next(of_statistics("train").batch(ALL).as_numpy_iterator())
    new.adapt(found[:, 0], theta)
    stage = Stage(
        name="statistics",
        data=of_statistics,
        augment=one_noise,
        optimizer=adam(0.1),
        epochs=40,
        batch_size=256,
        ema=0.995,
        shuffle=ALL,
        jit_compile=True,
    )
    return fit_part(new, stage, seed=[SEED, 1])


def one_step(pilot, **options):
    return OneStepCompressor(pilot=pilot, scores=LognormalScores(survey=SURVEY), **options)


def seen_by(pilot, config, split, name):
    """Estimates of a pilot and the scores there of a split of the maps, with their parameters."""
    maps = tfds.load(f"lensing_sbi/{config}", split=split)
    return measured(maps, one_step(pilot), keep=KEPT / f"{name}.npz", description=f"measuring {name}")


def training(pilot, step):
    """What a pilot sees of all maps for training."""
    near = seen_by(pilot, NEAR, f"train[:{HALF_NEAR}]", f"near_{step}")
    return seen_by(pilot, PRIOR, "train", f"prior_{step}").concatenate(near)


@functools.cache
def second_pilot():
    """A step from the first, fitted."""
    new = NewtonPilot(compressor=one_step(first_pilot()))
    new.adapt(*next(training(first_pilot(), "first").batch(ALL).as_numpy_iterator()))
    return new


@functools.cache
def weighted(split):
    """What is seen of maps, their parameters, and weights.

    Factors that depend on maps alone change no posterior. So weights at the estimates are divided out, and maps like
    ours count as often as they were simulated.
    """
    pilot = second_pilot()
    pairs = training(pilot, "second") if split == "train" else seen_by(pilot, NEAR, split, f"{split}_second")
    share = 0.5 * (HALF_NEAR / len(pairs) if split == "train" else 1.0)
    found, theta = next(pairs.batch(ALL).as_numpy_iterator())
    estimate = pilot.bijector().forward(found[:, : len(SURVEY.parameters)])
    weight = tf.exp(SURVEY.log_weight(theta, share) - SURVEY.log_weight(estimate, share))
    return tf.data.Dataset.from_tensor_slices((found, theta, weight))


def model():
    new = posterior(one_step(second_pilot(), near=True), "maf_mog", {"hidden": (32, 32)}, members=4)
    found, theta, _ = next(weighted("train").batch(ALL).as_numpy_iterator())
    new.adapt(found, theta)
    return new


STAGE = Stage(
    name="scores",
    data=weighted,
    optimizer=adam(0.1),
    epochs=40,
    batch_size=128,
    ema=0.995,
    shuffle=ALL,
    jit_compile=True,
)


def evaluate(posterior, progress):
    test = seen_by(posterior.compressor.pilot, PRIOR, "test", "test_second").batch(256)
    found = lensing_posterior_metrics(
        posterior, SURVEY, test, split="test", seed=SEED, progress=progress, references=REFERENCES
    )
    return found + stored_full_field_metrics(posterior, SURVEY, EXPLICIT, seed=SEED)


def golden_arrays(posterior):
    return golden.record_maps(posterior, SURVEY, 0.05)


RECIPE = Recipe(
    name="npe_lensing_lsst_y10",
    version=4,
    task="cosmological inference",
    summary="Posterior of six cosmological parameters given tomographic convergence maps of LSST Y10.",
    dataset=f"lensing_sbi/{PRIOR}:1.0.0, {NEAR}:1.0.0 and {STATISTICS}:1.1.0",
    model=model,
    stages=(STAGE,),
    evaluate=evaluate,
    golden=golden_arrays,
    seed=SEED,
    limits="Convergence maps of 10 x 10 degrees in 256 x 256 pixels and five bins of source redshift, with Gaussian "
    "noise of 0.0477 in each pixel, periodic, without masks: maps as the simulator of lensing_sbi makes them. They "
    "are log-normal fields with the power spectra of halofit, without baryons and intrinsic alignments, and redshift "
    "distributions and shear calibration are known perfectly. A posterior of real data from it would be wrong. The "
    "prior is part of the answer: omega_c N(0.2664, 0.2) > 0, omega_b N(0.0492, 0.006), sigma_8 N(0.831, 0.14), h_0 "
    "N(0.6727, 0.063), n_s N(0.9645, 0.08), w_0 N(-1, 0.9) in [-2, -0.3]; omega_b and h_0 are hardly measured beyond "
    "it. The flows are likelihood-free, what they see is not: the scores are those of an approximation to the "
    "likelihood of this very simulator, and another one would need its own. It is near, but not at, what the maps "
    "tell: on four maps at the fiducial cosmology that FullField has sampled, a classifier that sees 1,500 draws of "
    "either tells the two apart with an accuracy of 0.56 on average and 0.59 at most, more draws might raise it; it "
    "does with 0.58 for normal distributions with the sampler's own means and covariances, and 0.54 between draws of "
    "the sampler. Means are 0.17 standard deviations from those of the sampler on average and 0.49 at most, along the "
    "degeneracy of omega_c, sigma_8 and w_0; of w_0 on one of the maps, the sampler has 376 effective draws. The "
    "ranks of w_0 are the least uniform over the prior (p = 0.04; on 2,048 other universes p is 0.13, and the "
    "log-density 13.40 +- 0.05). One of these, with omega_c 0.93 and sigma_8 1.03, is so far from what trained that "
    "its posterior is wrong altogether. The statistics that its estimates come from are filtered for the fiducial "
    "cosmology, and lose something far from it. It fits the universes that it trained on 0.2 nats better than others, "
    "so more simulations would improve it. It took 65,024: 20,000 for the pilot, each with two realisations of the "
    "noise, 20,000 from the prior and 24,000 of which half are like ours for the flows, and 1,024 that chose the "
    "weights. Estimates and scores of the maps, which are measured before the training, take three hours of one core.",
    licence="MIT",
    citation="Jeffrey, Alsing & Lanusse 2021 (arXiv:2009.08459) for the loss, Komatsu, Spergel & Wandelt 2005 "
    "(astro-ph/0305189) for the idea behind its statistics, Alsing & Wandelt 2018 (arXiv:1712.00012) for the score as "
    "a summary, Lanzieri et al. 2024 (arXiv:2407.10877) and Zeghal et al. 2024 (arXiv:2409.17975) "
    "for the problem, which is that of their package sbi_lens (MIT).",
)
