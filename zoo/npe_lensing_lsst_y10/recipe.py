"""`npe_lensing_lsst_y10`: posterior of cosmological parameters given the tomographic convergence maps of LSST Y10.

A mixture density network sees statistics of maps; a flow sees the mean of that, and by `OneStepCompressor` the score of
the likelihood there, with the field integrated out.
"""

import functools
from pathlib import Path

import keras
import numpy as np
import tensorflow_datasets as tfds

import tfds_builders  # noqa: F401  (registers the data sets)
from deepcosmo.metrics.lensing_posterior import lensing_posterior_metrics, stored_full_field_metrics
from deepcosmo.models import MapCompressor, MapPosterior, OneStepCompressor
from deepcosmo.nn.field_statistics import FieldStatistics
from deepcosmo.nn.gaussian_scores import GaussianScores
from deepcosmo.nn.lognormal_scores import LognormalScores
from deepcosmo.physics.lensing_survey import lsst_y10
from deepcosmo.training import Recipe, Stage, fit_part
from deepcosmo.zoo import golden
from tfds_builders.lensing_sbi.reading import measured, one_noise, statistics

SEED = 2031
SURVEY = lsst_y10()
MAPS, STATISTICS = "lsst_y10", "lsst_y10_statistics"
HEAD = 20_000  # maps that the head trains on
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
    (0.2664, 0.831, -1.0, 0.9645), (0.2664, 0.831, -0.5, 0.9645), (0.2664, 0.831, -1.6, 0.9645),
    (0.2664, 0.831, -1.0, 0.88), (0.2664, 0.831, -1.0, 1.05), (0.1, 0.9, -1.0, 0.9645), (0.13, 0.75, -1.0, 0.9645),
    (0.13, 1.0, -1.0, 0.9645), (0.2, 0.8, -1.0, 0.9645), (0.2, 1.0, -0.6, 0.9645), (0.25, 0.65, -1.0, 0.9645),
    (0.25, 1.05, -1.0, 0.9645), (0.3, 0.75, -0.6, 0.9645), (0.3, 0.95, -1.4, 0.9645), (0.35, 0.85, -1.0, 0.9645),
    (0.4, 0.7, -1.4, 0.9645), (0.45, 0.7, -1.0, 0.9645), (0.45, 1.0, -1.0, 0.9645), (0.55, 0.9, -1.0, 0.9645),
    (0.65, 0.8, -1.0, 0.9645),
]  # fmt: skip


def statistics_of_others(split):
    """Statistics of universes whose maps the head does not train on: where it does, a pilot that had seen them would be
    better than it is elsewhere."""
    return statistics(STATISTICS, split)


def posterior(compressor, density, options=None):
    bounds = [BOUNDS.get(name, (-np.inf, np.inf)) for name in SURVEY.parameters]
    return MapPosterior(compressor=compressor, parameters=SURVEY.parameters, bounds=bounds, density=density,
                        options=options)  # fmt: skip


@functools.cache
def pilot():
    """A mixture of normal distributions given statistics of maps, trained."""
    keras.utils.set_random_seed(SEED)
    pivots = np.tile(SURVEY.fiducial, (len(PIVOTS), 1))
    pivots[:, [SURVEY.parameters.index(name) for name in ("omega_c", "sigma_8", "w_0", "n_s")]] = PIVOTS
    compressor = MapCompressor(statistics=FieldStatistics.of(SURVEY), scores=GaussianScores.of(SURVEY, pivots),
                               outputs=16, hidden=(512, 256))  # fmt: skip
    new = posterior(compressor, "mdn", {"components": 4, "full_covariance": True, "hidden": (128, 128)})
    found, theta = next(statistics_of_others("train").batch(HEAD).as_numpy_iterator())
    new.adapt(found[:, 0], theta)
    stage = Stage(name="statistics", data=statistics_of_others, augment=one_noise, optimizer=adam, epochs=40,
                  batch_size=256, ema=0.995, shuffle=HEAD, jit_compile=True)  # fmt: skip
    return fit_part(new, stage, seed=[SEED, 1])


def one_step():
    return OneStepCompressor(pilot=pilot(), scores=LognormalScores(survey=SURVEY), outputs=12, hidden=(128, 128))


@functools.cache
def pairs(split):
    return measured(tfds.load(f"lensing_sbi/{MAPS}", split=split), one_step().measure, keep=KEPT / f"{split}.npz",
                    description=f"measuring {split}")  # fmt: skip


def model():
    new = posterior(one_step(), "maf_mog")
    new.adapt(*next(pairs("train").batch(HEAD).as_numpy_iterator()))
    return new


def adam(steps):
    rate = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=3e-3, warmup_steps=steps // 40)
    return keras.optimizers.AdamW(rate, weight_decay=0.1, clipnorm=5.0)


STAGE = Stage(name="scores", data=pairs, optimizer=adam, epochs=60, batch_size=128, ema=0.995, shuffle=HEAD,
              jit_compile=True)  # fmt: skip


def evaluate(posterior, progress):
    found = lensing_posterior_metrics(posterior, SURVEY, pairs("test").batch(256), split="test", seed=SEED,
                                      progress=progress, references=REFERENCES)  # fmt: skip
    return found + stored_full_field_metrics(posterior, SURVEY, EXPLICIT, seed=SEED)


def golden_arrays(posterior):
    return golden.record_maps(posterior, SURVEY, 0.05)


RECIPE = Recipe(
    name="npe_lensing_lsst_y10",
    version=3,
    task="cosmological inference",
    summary="Posterior of six cosmological parameters given tomographic convergence maps of LSST Y10.",
    dataset=f"lensing_sbi/{MAPS}:1.0.0 and {STATISTICS}:1.1.0",
    model=model,
    stages=(STAGE,),
    evaluate=evaluate,
    golden=golden_arrays,
    seed=SEED,
    limits="Convergence maps of 10 x 10 degrees in 256 x 256 pixels and five bins of source redshift, with Gaussian "
    "noise of 0.0477 in each pixel, periodic, without masks: maps as the simulator of lensing_sbi makes them. "
    "They are log-normal fields with the power spectra of halofit, without baryons and intrinsic alignments, "
    "and redshift distributions and shear calibration are known perfectly. A posterior of real data from it "
    "would be wrong. The prior is part of the answer: omega_c N(0.2664, 0.2) > 0, omega_b N(0.0492, 0.006), "
    "sigma_8 N(0.831, 0.14), h_0 N(0.6727, 0.063), n_s N(0.9645, 0.08), w_0 N(-1, 0.9) in [-2, -0.3]; omega_b "
    "and h_0 are hardly measured beyond it. It is near, but not at, what the maps tell: for the one map at "
    "the fiducial cosmology that FullField has sampled, its scatters are larger by 3% on average and 9% at "
    "most, and its means are 0.64 (omega_c), 0.60 (sigma_8), 0.49 (n_s) and 0.32 (w_0) standard deviations "
    "from those of the sampler, along their degeneracy. A classifier tells the two apart with an accuracy of "
    "0.60; it does with 0.57 for a normal distribution with the sampler's own mean and covariance, and 0.51 "
    "between draws of the sampler. Ranks of the truths are not quite uniform: p "
    "= 0.03 (w_0), 0.04 (n_s) and 0.02 (by density). The statistics that its estimates come from are filtered "
    "for the fiducial cosmology, and lose something far from it. It fits the maps that it trained on 0.2 nats "
    "better than others, so more simulations would improve it. It took 41,024: 20,000 for the pilot, each "
    "with two realisations of the noise, 20,000 for the model itself, and 1,024 that chose the weights.",
    licence="MIT",
    citation="Jeffrey, Alsing & Lanusse 2021 (arXiv:2009.08459) for the loss, Komatsu, Spergel & Wandelt 2005 "
    "(astro-ph/0305189) for the idea behind its statistics, Lanzieri et al. 2024 (arXiv:2407.10877) "
    "and Zeghal et al. 2024 (arXiv:2409.17975) for the problem, which is that of their package sbi_lens (MIT).",
)
