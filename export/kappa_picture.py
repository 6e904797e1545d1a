"""Draws the pictures on the cards of the networks for mass mapping: a simulated field, and what methods make of its
shear; and the real field of COSMOS, where DEEPCOSMO_COSMOS_SHEAR names its catalogue.

python export/kappa_picture.py
"""

import os
import shutil
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

import tfds_builders  # noqa: F401  (registers lensing_pairs)
from deepcosmo import plots, skymaps, zoo
from deepcosmo.inference.mass_mapping import field
from deepcosmo.metrics import mass_maps
from deepcosmo.zoo import publishing


def simulated(path, number=3, size=256):
    observed = tfds.load("lensing_pairs/cosmos_hst", split="test").skip(number).take(1)
    (pair,) = mass_maps.windows(tfds.as_numpy(observed), size)

    def by(method, **options):
        return mass_maps.estimator(method, **options)(pair, seed=0)

    posterior = by("posterior", num_samples=16)
    maps = {
        "truth": pair["kappa"],
        "Kaiser-Squires, 1'": by("kaiser_squires").mean,
        "Wiener": by("wiener", num_samples=0).mean,
        "unet": by("unet").mean,
        "posterior: sample 1": posterior.samples[0],
        "posterior: sample 2": posterior.samples[1],
        "posterior: mean": posterior.mean,
        "posterior: standard deviation": posterior.std,
    }
    top = float(np.quantile(maps["truth"], 0.995))
    limits = {title: (-top, top) for title in maps if "deviation" not in title}
    plots.sky_maps(maps, path, limits=limits)


def cosmos(path, folder):
    catalog = skymaps.read_catalog(folder, columns={"weight": "nhweight_int"})
    mapped = field.map_field(catalog, signs=(1, -1), num_samples=16)
    maps = dict(list(mapped.pictured().items())[:8])
    plots.sky_maps(maps, path, wcs=mapped.grid.wcs, points=skymaps.read_positions(Path(folder, "xray.txt")))


def main():
    first, second = (zoo.info(name) for name in ("score_kappa", "unet_kappa"))
    simulated(first.directory / "maps.png")
    shutil.copy(first.directory / "maps.png", second.directory)
    if folder := os.environ.get("DEEPCOSMO_COSMOS_SHEAR"):
        cosmos(first.directory / "cosmos.png", folder)
    for entry in (first, second):
        publishing.write(entry)


if __name__ == "__main__":
    main()
