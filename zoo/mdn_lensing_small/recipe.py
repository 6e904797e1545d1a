"""`mdn_lensing_small`: the simplest recipe from end to end, a mixture density network for two cosmological parameters.

Statistics of maps go in, omega_c and sigma_8 come out, three times on the same data:

- `Regression` by least squares learns the posterior's mean, and one number for its width: where the posterior is narrow in
  one universe and wide in another, skewed, or its parameters correlate, it does not say so.
- `MDN`, a mixture of normal distributions whose parameters the network predicts, learns the whole density.
- `MAFMoG`, a normalising flow, learns it without choosing the shape beforehand.

All three minimise -ln p(theta | data), so that their losses can be compared; what a richer density gains over least squares
is what the posterior has besides a mean. The mixture is published; `deepcosmo evaluate mdn_lensing_small` trains the other
two beside it.
"""

from pathlib import Path

import keras
import numpy as np

import tfds_builders  # noqa: F401  (registers the data sets)
from deepcosmo.metrics.lensing_posterior import full_field_metrics, lensing_posterior_metrics, observed
from deepcosmo.models import MapCompressor, MapPosterior
from deepcosmo.nn.field_statistics import FieldStatistics
from deepcosmo.physics.lensing_survey import lsst_y10_small
from deepcosmo.training import Metric, Recipe, Stage
from deepcosmo.zoo import golden
from tfds_builders.lensing_sbi.reading import one_noise, statistics

SEED = 2032
SURVEY = lsst_y10_small()
CONFIG = "lsst_y10_small_statistics"
BOUNDS = [(0.0, np.inf), (-np.inf, np.inf)]  # omega_c, sigma_8
EXPLICIT = Path(__file__).with_name("full_field.npz")  # of export/full_field.py


def model(density="mdn"):
    compressor = MapCompressor(statistics=FieldStatistics.of(SURVEY), outputs=4, hidden=(128, 128))
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
