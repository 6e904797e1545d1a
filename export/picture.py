"""Draws the picture on a card: real COSMOS galaxies, and samples at their conditions, PSFs and noise.

python export/picture.py flow_vae_cosmos
"""

import sys

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

import tfds_builders  # noqa: F401  (registers cosmos_stamps)
from deepcosmo import plots, zoo
from deepcosmo.metrics.galaxies import as_arrays
from deepcosmo.physics.galaxies import sample_noise
from deepcosmo.zoo import publishing


def main(name, columns=10, seed=1):
    model = zoo.load(name)
    real = as_arrays(tfds.load("cosmos_stamps/real", split="train+validation+test"))
    conditions = {key: real["attrs"][key] for key in model.conditions}
    low, high = model.condition_range.numpy()
    inside = np.all(
        [(conditions[k] >= a) & (conditions[k] <= b) for k, a, b in zip(conditions, low, high, strict=True)], axis=0
    )
    chosen = np.random.default_rng(seed).permutation(np.flatnonzero(inside))[: 2 * columns]
    conditions = {key: value[chosen] for key, value in conditions.items()}
    psf, noise_std = real["psf"][chosen], real["noise_std"][chosen]
    galaxies = model.sample(conditions, psf=psf, seed=seed)[..., 0]
    drawn = (galaxies + sample_noise(tf.constant([seed, 0]), noise_std)).numpy()
    images, rows = real["image"][chosen], {}
    for i in range(0, len(chosen), columns):
        rows[f"HST{i // columns * ' '}"] = images[i : i + columns]
        rows[f"deepcosmo{i // columns * ' '}"] = drawn[i : i + columns]
    rows = {label: row[:, 24:104, 24:104] for label, row in rows.items()}
    entry = zoo.info(name)
    plots.comparison(rows, entry.directory / "samples.png", noise_std=float(np.median(noise_std)))
    publishing.write(entry)


if __name__ == "__main__":
    main(*sys.argv[1:])
