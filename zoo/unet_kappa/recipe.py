"""`unet_kappa`: posterior mean and scatter of convergence maps, by regression on light-cones as surveys see them."""

import functools

import keras
import numpy as np
import tensorflow as tf

from deepcosmo.metrics import mass_maps
from deepcosmo.models import KappaUNet
from deepcosmo.training import Recipe, Stage, convergence
from deepcosmo.zoo import golden
from tfds_builders.lensing_pairs.survey import SURVEYS

SEED = 2028
SIZE, FRAME = 256, 16
REMY = {  # DeepMass, as trained by Remy et al. 2023 (arXiv:2201.05561), on maps of kappaTNG with the noise of COSMOS
    "RMSE, unet / wiener - 1 [%]": "-3.1 of DeepMass on kappaTNG",
    "Pearson r, unet - wiener": "0.040 of DeepMass on kappaTNG",
}
SEEN_BY = [SURVEYS[name] for name in ("cosmos_hst", "lsst_y10", "cosmos_hst", "hsc")]


def model():
    unet = KappaUNet()
    unet.spectrum.set(*convergence.lightcone_spectrum())
    return unet


@functools.cache
def power():
    """Prior of the Wiener filter that the network starts from."""
    return model().spectrum.power((SIZE, SIZE)).numpy().T


def observe(batch, seed):
    return convergence.observing(batch, seed, size=SIZE, frame=FRAME, power=power(), surveys=SEEN_BY)


def data(split):
    power()  # before any graph is traced
    maps = convergence.lightcones(split)
    if split == "train":
        return maps

    def observed_once(i, batch):
        return observe(batch, tf.stack([SEED, tf.cast(i, tf.int32)]))

    return maps.batch(8, drop_remainder=True).enumerate().map(observed_once).unbatch()


def adam(total_steps):
    rate = keras.optimizers.schedules.CosineDecay(0.0, total_steps, warmup_target=2e-3, warmup_steps=200)
    return keras.optimizers.Adam(rate, clipnorm=10.0)


OBSERVED = Stage(
    name="observed",
    data=data,
    augment=observe,
    optimizer=adam,
    epochs=14,
    batch_size=8,
    steps_per_epoch=250,
    ema=0.995,
    shuffle=256,
)


def evaluate(unet, progress):
    """Errors on whole fields beside those of other methods, and calibration of the scatter."""
    by, prior = mass_maps.estimator, unet.spectrum.get()
    methods = {
        "kaiser_squires": by("kaiser_squires"),
        "wiener": by("wiener", prior=prior, num_samples=0),
        "sparse": by("sparse", prior=prior),
        "unet": by("unet", model=unet),
    }
    pairs, split = mass_maps.cosmos_windows(360)
    return mass_maps.mass_map_metrics(pairs, methods, network="unet", split=split, progress=progress, references=REMY)


def golden_arrays(unet):
    y, x = np.mgrid[-32:32, -32:32]
    wiener = 0.05 * np.exp(-0.5 * (x**2 + 2 * y**2) / 6**2) - 0.01 * np.cos(x / 9)
    precision = np.where(x**2 + (y - 20) ** 2 < 60, 0.0, 48.0 + 10 * np.sin(y / 5))
    maps = {"wiener": wiener, "information": 50 * wiener * np.sin(x * y), "precision": precision}
    example = {name: v[None].astype("float32") for name, v in maps.items()}
    return golden.record(unet, {"posterior": example, "serving_default": example})


RECIPE = Recipe(
    name="unet_kappa",
    version=1,
    task="mass mapping",
    summary="U-Net for weak-lensing mass maps: mean and scatter of the convergence, from the Wiener-filtered map.",
    dataset="kappa_maps/lightcone:1.0.0",
    model=model,
    stages=(OBSERVED,),
    evaluate=evaluate,
    golden=golden_arrays,
    seed=SEED,
    limits="Pixels of 0.293 arcmin (5 degrees / 1024), within 3%. Trained on dark-matter light-cones in flat LambdaCDM "
    "universes of 0.2 < Omega_m < 0.4 and 0.65 < S_8 < 0.95 with one source distribution of mean redshift 1.5, "
    "without baryons, as COSMOS (HST), LSST Y10 and HSC would see them at half to twice their depth; noise below "
    "0.065 per pixel and shear component, averaged over 16 x 16 pixels, is refused. Other source redshifts change"
    " the amplitude and shape of the convergence. The scatter is that of each pixel alone and taken as Gaussian: "
    "for anything but single pixels take samples of `posterior`. The mean of a map is not measured by shear. How "
    "much better than the Wiener filter the network is depends on how far from Gaussian the sky is: on two "
    "convergence maps by others, RAMSES and Columbia, by 5.6% and 7.4% in RMSE and 0.065 and 0.045 in r with "
    "noise of 0.145 per pixel.",
    licence="MIT",
    citation="Jeffrey et al. 2020 (arXiv:1908.00543) for DeepMass, Jeffrey & Wandelt 2020 (arXiv:2011.05991) for "
    "moment networks.",
)
