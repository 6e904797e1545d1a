"""`score_kappa`: the prior of convergence maps, learned from light-cones by denoising them."""

import os
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from deepcosmo import skymaps
from deepcosmo.inference.mass_mapping import field
from deepcosmo.metrics import Metric, mass_maps
from deepcosmo.models import KappaScore
from deepcosmo.training import Recipe, Stage, convergence
from deepcosmo.zoo import golden

SEED = 2027
SIZE = 192
SAMPLES = 12  # of each posterior
HOLE = 6.0  # arcmin, the radius of one that is cut into each map that is tested
REMY = {  # Remy et al. 2023 (arXiv:2201.05561), on maps of kappaTNG with the noise of COSMOS
    "RMSE, posterior / wiener - 1 [%]": "+0.4 of Remy et al. 2023 on kappaTNG, -3.1 of DeepMass there",
    "Pearson r, posterior - wiener": "0.004 of Remy et al. 2023 on kappaTNG, 0.040 of DeepMass there",
}


def model():
    score = KappaScore()
    score.spectrum.set(*convergence.lightcone_spectrum())
    return score


def add_noise(batch, seed):
    return convergence.denoising(batch, seed, size=SIZE)


def data(split):
    maps = convergence.lightcones(split)
    if split == "train":
        return maps

    def noisy_once(i, batch):
        return add_noise(batch, tf.stack([SEED, tf.cast(i, tf.int32)]))

    return maps.batch(8, drop_remainder=True).enumerate().map(noisy_once).unbatch()


def adam(total_steps):
    rate = keras.optimizers.schedules.CosineDecay(0.0, total_steps, warmup_target=2e-3, warmup_steps=200)
    return keras.optimizers.Adam(rate, clipnorm=10.0)


DENOISED = Stage(
    name="denoised",
    data=data,
    augment=add_noise,
    optimizer=adam,
    epochs=20,
    batch_size=8,
    steps_per_epoch=400,
    ema=0.998,
    shuffle=256,
)


def evaluate(score, progress):
    """Posteriors of windows of 56' beside other methods, their calibration, and maps of the prior alone."""
    by, prior = mass_maps.estimator, score.spectrum.get()
    methods = {
        "kaiser_squires": by("kaiser_squires"),
        "wiener": by("wiener", prior=prior, num_samples=0),
        "sparse": by("sparse", prior=prior),
        "unet": by("unet"),
        "posterior": by("posterior", model=score, num_samples=SAMPLES),
    }
    pairs, split = mass_maps.cosmos_windows(SIZE, HOLE)
    metrics = mass_maps.mass_map_metrics(
        pairs,
        methods,
        network="posterior",
        progress=progress,
        references=REMY,
        split=f"{split}; middle {SIZE} x {SIZE} pixels with a hole of {2 * HOLE:.0f} arcmin",
    )
    stored = tfds.as_numpy(tfds.load("kappa_maps/lightcone", split="test"))
    truth, simulations = zip(*((x["kappa"][:SIZE, :SIZE], x["simulation"]) for x in stored), strict=True)
    drawn = np.concatenate([score.sample((SIZE, SIZE), [9, i], count=4) for i in progress(range(64))])
    drawn -= drawn.mean((1, 2), keepdims=True)
    metrics += mass_maps.sample_metrics(
        drawn,
        np.stack(truth),
        np.array(simulations),
        split=f"kappa_maps/lightcone, test, corners of {SIZE} x {SIZE} pixels",
    )
    return metrics + cosmos_metrics(score)


def cosmos_metrics(score):
    """Convergence of the real COSMOS field at its X-ray clusters, where the catalogue is on this machine."""
    if not (folder := os.environ.get("DEEPCOSMO_COSMOS_SHEAR")):
        return []
    catalog = skymaps.read_catalog(folder, columns={"weight": "nhweight_int"})
    clusters = skymaps.read_positions(Path(folder, "xray.txt"))
    mapped = field.map_field(catalog, method="posterior", model=score, num_samples=SAMPLES, signs=(1, -1))
    found = field.coincidence(mapped.result.mean, mapped, *clusters.T)
    reference = f"1000 sets of random positions: {found.random_mean:.4f} +- {found.random_std:.4f}"
    return [
        Metric(
            name="mean convergence of COSMOS at X-ray clusters",
            value=found.mean,
            error=found.random_std,
            reference=reference,
            split="COSMOS (HST), all of it",
            size=found.size,
        )
    ]


def golden_arrays(score):
    y, x = np.mgrid[-192:192, -192:192]
    noisy = 0.05 * np.exp(-0.5 * (x**2 + 2 * y**2) / 6**2) - 0.01 * np.cos(x / 9) * np.sin(y / 4)
    example = {"noisy": noisy[None].astype("float32"), "sigma": np.array([0.05], "float32")}
    return golden.record(score, {name: example for name in ("denoise", "score", "serving_default")})


RECIPE = Recipe(
    name="score_kappa",
    version=1,
    task="mass mapping",
    summary="Score network of convergence maps: a prior that gives samples of the dark matter behind any shear map.",
    dataset="kappa_maps/lightcone:1.0.0",
    model=model,
    stages=(DENOISED,),
    evaluate=evaluate,
    golden=golden_arrays,
    seed=SEED,
    limits="Pixels of 0.293 arcmin (5 degrees / 1024), within 3%. Trained on dark-matter light-cones in flat LambdaCDM "
    "universes of 0.2 < Omega_m < 0.4 and 0.65 < S_8 < 0.95 with one source distribution of mean redshift 1.5, "
    "without baryons: samples know of no other universes, and other source redshifts change the amplitude and "
    "shape of the convergence. Rare clusters are as rare as simulated boxes of 150 Mpc make them. Noise is "
    "Gaussian with a known standard deviation in each pixel and shear is weak: no reduced shear, no intrinsic "
    "alignments. The noise of a shear component, 1 / sqrt(mean precision), must be at least 0.004 per pixel; less"
    " is refused. Tests go down to 0.0056, on kappaTNG, also with up to 30 times as much noise in other pixels: "
    "the error of the mean is 1 to 8% below that of the Wiener filter. The sampler is exact for a Gaussian prior "
    "and an approximation for the learned one; how well it is calibrated is measured above. Maps without data "
    "want many steps: with 24 instead of 64, two thirds of the pixels above 0.06, smoothed by 2 arcmin, are "
    "missing. The mean of a map is not measured by shear. Two networks trained apart, this one and unet_kappa, "
    "are equally accurate: more is hardly to be had from such data, and how much better than the Wiener filter "
    "they are depends on how far from Gaussian the sky is.",
    licence="MIT",
    citation="Remy et al. 2023 (arXiv:2201.05561) for the method.",
)
