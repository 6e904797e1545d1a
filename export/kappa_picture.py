"""Draws the picture on the cards of both networks for mass mapping: a field, and what methods make of its shear.

python export/kappa_picture.py
"""

import shutil

import numpy as np
import tensorflow_datasets as tfds

import tfds_builders  # noqa: F401  (registers lensing_pairs)
from deepcosmo import plots, zoo
from deepcosmo.inference import mass_map
from deepcosmo.metrics import mass_maps
from deepcosmo.physics.catalog import PIXEL_SCALE
from deepcosmo.zoo import publishing


def main(number=3, size=256):
    observed = tfds.load("lensing_pairs/cosmos_hst", split="test").skip(number).take(1)
    (pair,) = mass_maps.windows(tfds.as_numpy(observed), size)
    data = [pair[name] for name in ("shear", "noise_std", "mask")]

    def by(method, **options):
        return mass_map(*data, pixel_scale=PIXEL_SCALE, method=method, **options)

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
    first, second = (zoo.info(name) for name in ("score_kappa", "unet_kappa"))
    plots.sky_maps(maps, first.directory / "maps.png", limits=limits)
    shutil.copy(first.directory / "maps.png", second.directory)
    for entry in (first, second):
        publishing.write(entry)


if __name__ == "__main__":
    main()
