"""`mdn_lensing_small`: the simplest recipe from end to end, a mixture density network for two cosmological parameters.

Statistics of maps go in, omega_c and sigma_8 come out, three times on the same data:

- `Regression` by least squares learns the posterior's mean, and one number for its width: where the posterior is narrow
  in one universe and wide in another, skewed, or its parameters correlate, it does not say so.
- `MDN`, a mixture of normal distributions whose parameters the network predicts, learns the whole density.
- `MAFMoG`, a normalising flow, learns it without choosing the shape beforehand.

All three minimise -ln p(theta | data), so that their losses can be compared; what a richer density gains over least
squares is what the posterior has besides a mean. The mixture is the model; its evaluation trains the other two beside
it.
"""

from pathlib import Path

import keras
import numpy as np

import tfds_builders  # noqa: F401  (registers the data sets)
from deepcosmo.metrics.lensing_posterior import lensing_posterior_metrics, stored_full_field_metrics
from deepcosmo.models import MapCompressor, MapPosterior
from deepcosmo.nn.field_statistics import FieldStatistics
from deepcosmo.nn.gaussian_scores import GaussianScores
from deepcosmo.physics.lensing_survey import lsst_y10_small
from deepcosmo.training import Metric, Recipe, Stage
from deepcosmo.training.data import training_batches
from deepcosmo.zoo import golden
from tfds_builders.lensing_sbi.reading import one_noise, statistics

SEED = 2032
SURVEY = lsst_y10_small()
CONFIG = "lsst_y10_small_statistics"
BOUNDS = [(0.0, np.inf), (-np.inf, np.inf)]  # omega_c, sigma_8
PIVOTS = [(0.27, 0.83), (0.1, 0.95), (0.13, 0.75), (0.2, 0.9), (0.25, 0.65), (0.25, 1.05), (0.4, 0.8), (0.55, 0.7),
          (0.5, 1.0)]  # fmt: skip
EXPLICIT = Path(__file__).with_name("full_field.npz")  # of export/full_field.py


def model(density="mdn"):
    scores = GaussianScores.of(SURVEY, PIVOTS)
    compressor = MapCompressor(statistics=FieldStatistics.of(SURVEY), scores=scores, outputs=4, hidden=(128, 128))
    options = {"components": 4, "full_covariance": True, "hidden": (64, 64)} if density == "mdn" else {}
    posterior = MapPosterior(compressor=compressor, parameters=SURVEY.parameters, bounds=BOUNDS, density=density,
                             options=options)  # fmt: skip
    found, theta = next(pairs("train").batch(20_000).as_numpy_iterator())
    posterior.adapt(found[:, 0], theta)
    return posterior


def pairs(split):
    return statistics(CONFIG, split)


def adam(steps):
    rate = keras.optimizers.schedules.CosineDecay(1e-3, steps)
    return keras.optimizers.AdamW(rate, weight_decay=0.03, clipnorm=5.0)


STAGE = Stage(name="statistics", data=pairs, augment=one_noise, optimizer=adam, epochs=30, batch_size=128, ema=0.995,
              shuffle=20_000, jit_compile=True)  # fmt: skip


def evaluate(posterior, progress):
    found = lensing_posterior_metrics(posterior, SURVEY, pairs("test").batch(256), split="test", seed=SEED,
                                      progress=progress)  # fmt: skip
    for density, name in (("regression", "least squares"), ("maf_mog", "a flow")):
        other = fitted(density)
        truth = np.concatenate([other.log_prob(theta, values) for values, theta in pairs("test").batch(256)])
        found.append(Metric(name=f"log-density of the true parameters by {name} instead [nats]",
                            value=float(truth.mean()), error=float(truth.std() / len(truth) ** 0.5), split="test",
                            size=len(truth)))  # fmt: skip
    return found + stored_full_field_metrics(posterior, SURVEY, EXPLICIT, seed=SEED)


def fitted(density):
    """A model with another density, trained in the same way."""
    keras.utils.set_random_seed(SEED)
    other = model(density)
    steps = 20_000 // STAGE.batch_size
    batches, _ = training_batches(STAGE, seed=[SEED, 1])
    other.compile(adam(steps * STAGE.epochs), jit_compile=True)
    other.fit(batches, epochs=STAGE.epochs, steps_per_epoch=steps, verbose=0)
    return other


def golden_arrays(posterior):
    return golden.record_maps(posterior, SURVEY, 0.02)


RECIPE = Recipe(
    name="mdn_lensing_small",
    version=1,
    task="cosmological inference",
    summary="Posterior of omega_c and sigma_8 given small convergence maps, by a mixture density network.",
    dataset=f"lensing_sbi/{CONFIG}:1.0.0",
    model=model,
    stages=(STAGE,),
    evaluate=evaluate,
    golden=golden_arrays,
    seed=SEED,
    limits="Convergence maps of 10 x 10 degrees in 64 x 64 pixels and five bins of source redshift, as the simulator "
    "of lensing_sbi makes them: log-normal, periodic, without masks, with Gaussian noise. Only omega_c and sigma_8 are "
    "free, so it is for learning and for comparison with explicit samplers, not for data.",
    licence="MIT",
    citation="Bishop 1994, Mixture density networks (Aston University NCRG/94/004), for the model; Zeghal et al. 2024 "
    "(arXiv:2409.17975) for the problem.",
)
