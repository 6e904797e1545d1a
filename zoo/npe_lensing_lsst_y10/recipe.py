"""`npe_lensing_lsst_y10`: posterior of cosmological parameters given the tomographic convergence maps of LSST Y10."""

import keras
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

import tfds_builders  # noqa: F401  (registers the data sets)
from deepcosmo.models import MapCompressor, MapPosterior
from deepcosmo.physics.lensing_survey import lsst_y10
from deepcosmo.training import Recipe, Stage, augment
from deepcosmo.zoo import golden

SEED = 2031
SURVEY = lsst_y10()
MEASURED_ON = 2048  # maps, for scales and the regression that the summaries start from


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


def adam(total_steps):
    rate = keras.optimizers.schedules.CosineDecay(0.0, total_steps, warmup_target=2e-3, warmup_steps=200)
    return keras.optimizers.AdamW(rate, weight_decay=1e-3, clipnorm=10.0)


RECIPE = Recipe(
    name="npe_lensing_lsst_y10",
    version=1,
    task="cosmological inference",
    summary="Posterior of six cosmological parameters given tomographic convergence maps of LSST Y10.",
    dataset="lensing_sbi/lsst_y10:1.0.0",
    model=model,
    stages=(Stage(name="maps", data=pairs, augment=moved, optimizer=adam, epochs=24, batch_size=32, ema=0.995,
                  shuffle=512, steps_per_epoch=250),),
    evaluate=lambda model, progress: [],
    golden=lambda model: {},
    seed=SEED,
    limits="",
    licence="MIT",
    citation="",
)
