"""Draws the pictures on the card of a posterior of maps: one beside those of a full-field sampler and of power spectra,
and how well all are calibrated.

    python export/lensing_picture.py npe_lensing_lsst_y10
    python export/lensing_picture.py mdn_lensing_small

The sampler's draws are those of full_field.py; calibration measures the test maps of `lensing_sbi`, as the recipe does.
"""

import argparse
import sys

import numpy as np

from deepcosmo import plots, zoo
from deepcosmo.inference.explicit.power_spectrum import PowerSpectrum
from deepcosmo.metrics.lensing_posterior import calibration_of_summaries, observed
from deepcosmo.models.maps.compressors import in_batches
from deepcosmo.training.recipe import load_recipe
from deepcosmo.zoo import publishing

TESTED = {  # what the compressor sees of the test maps, by a recipe's own function
    "npe_lensing_lsst_y10": lambda recipe, pilot: recipe.seen_by(pilot, recipe.PRIOR, "test", "test_second"),
    "mdn_lensing_small": lambda recipe, pilot: recipe.seen_by(pilot, "test"),
}
SYMBOLS = {
    "omega_c": r"$\Omega_c$",
    "omega_b": r"$\Omega_b$",
    "sigma_8": r"$\sigma_8$",
    "h_0": "$h$",
    "n_s": "$n_s$",
    "w_0": "$w_0$",
}
SEED = 1


def one_map(path, model, survey, stored, labels):
    with np.load(stored) as explicit:
        truth, draws = explicit["true"][0], explicit["theta"][0]
        maps = observed(survey, truth[None], int(explicit["seed"]))
    named = {
        "power spectra": PowerSpectrum(survey, progress=True).sample(10_000, maps[0], seed=SEED),
        "full field, HMC": draws,
        "model": model.sample(10_000, maps, seed=SEED).numpy()[:, 0],
    }
    plots.corner(named, path, truth=truth, labels=labels)


def calibrated(path, model, batches, labels):
    found, theta = (np.concatenate(v) for v in zip(*batches.batch(256).as_numpy_iterator(), strict=True))
    calibration_of_summaries(model, theta, in_batches(model.encode, found), seed=SEED)[0].plot(path, labels=labels)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=list(TESTED))
    name = parser.parse_args().name
    model, entry = zoo.load(name), zoo.info(name)
    recipe = sys.modules[load_recipe(name).evaluate.__module__]
    labels = [SYMBOLS[parameter] for parameter in recipe.SURVEY.parameters]
    batches = TESTED[name](recipe, model.compressor.pilot)
    calibrated(entry.directory / "calibration.png", model, batches, labels)
    one_map(entry.directory / "posterior.png", model, recipe.SURVEY, recipe.EXPLICIT, labels)
    publishing.write(entry)


if __name__ == "__main__":
    main()
