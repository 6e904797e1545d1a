"""`flow_vae_cosmos`: a conditional flow on the latent vectors that `vae_cosmos` infers from deep observations."""

import functools

import keras
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

import tfds_builders  # noqa: F401  (registers cosmos_stamps)
from deepcosmo import zoo
from deepcosmo.metrics import galaxies
from deepcosmo.models import FlowVAE
from deepcosmo.physics.galaxies import acs_noise_power, sample_noise
from deepcosmo.training import Recipe, Stage, augment
from deepcosmo.zoo import golden

SEED = 2027
COPIES = {"train": 2, "validation": 1}  # observations of each galaxy, each turned or flipped its own way


def stamps(split, image):
    wanted = {image: True, "psf": True, "noise_std": True, "attrs": dict.fromkeys(FlowVAE.conditions, True)}
    return tfds.load("cosmos_stamps/parametric", split=split, decoders=tfds.decode.PartialDecoding(wanted),
                     read_config=tfds.ReadConfig(try_autocache=False))


@functools.lru_cache
def latents(split):
    """Latent vectors of all galaxies of a split, drawn from their posteriors, and their conditions."""
    vae = zoo.load("vae_cosmos")

    @tf.function
    def infer(step, batch):
        seeds = tf.unstack(tf.random.split(tf.stack([SEED, step]), 3))
        turned = augment.symmetries(batch, seeds[0])
        # at S/N 100 the posterior is narrow: z is the galaxy's, not the prior's
        x = augment.observe(turned, seeds[1], faintest=100.0, brightest=150.0, as_observed=0.0)
        mean, scale_tril = vae(x)
        return mean + tf.linalg.matvec(scale_tril, tf.random.stateless_normal(tf.shape(mean), seeds[2]))

    z, conditions = [], []
    batches = stamps(split, "clean").batch(64).repeat(COPIES[split]).prefetch(4)
    for step, batch in enumerate(batches):
        attrs = batch.pop("attrs")
        z.append(infer(tf.constant(step), batch).numpy())
        conditions.append({name: attrs[name].numpy() for name in FlowVAE.conditions})
    return np.concatenate(z), {name: np.concatenate([c[name] for c in conditions]) for name in FlowVAE.conditions}


def model():
    vae = zoo.load("vae_cosmos")
    config = {k: v for k, v in vae.get_config().items() if k in ("latent", "size", "psf_size", "decoder_units",
                                                                "encoder_units")}
    flow_vae = FlowVAE(**config)
    flow_vae.encoder.set_weights(vae.encoder.get_weights())
    flow_vae.decoder.set_weights(vae.decoder.get_weights())
    flow_vae.noise_power.assign(vae.noise_power)
    flow_vae.adapt(*latents("train"))
    flow_vae.encoder.trainable = flow_vae.decoder.trainable = False
    return flow_vae


def data(split):
    z, conditions = latents(split)
    return tf.data.Dataset.from_tensor_slices({"latent": z, "attrs": conditions})


def adam(total_steps):
    rate = keras.optimizers.schedules.CosineDecay(0.0, total_steps, warmup_target=1e-3, warmup_steps=500)
    return keras.optimizers.Adam(rate, clipnorm=5.0)


def evaluate(model, progress):
    """Samples at the conditions of all test galaxies, seen with their PSFs and noise, against their renderings."""
    power = acs_noise_power()
    truth, samples, conditions = [], [], []
    for step, batch in enumerate(progress(list(stamps("test", "image").batch(64)))):
        attrs = {name: batch["attrs"][name] for name in FlowVAE.conditions}
        z = model.sample_latent(attrs, seed=SEED + step)
        noise = sample_noise(tf.constant([SEED, step]), batch["noise_std"], power)
        truth.append(batch["image"].numpy())
        samples.append((model.render(z, batch["psf"]) + noise).numpy())
        conditions.append({name: value.numpy() for name, value in attrs.items()})
        noise_std = float(batch["noise_std"][0])
    truth, samples = np.concatenate(truth), np.concatenate(samples)
    conditions = {name: np.concatenate([c[name] for c in conditions]) for name in FlowVAE.conditions}
    metrics, _ = galaxies.generator_metrics(truth, samples, conditions, split="test", noise_std=noise_std)
    return metrics


def golden_arrays(model):
    seed = np.array([3, 4], "int32")
    z = np.random.default_rng(2).normal(size=(2, model.latent)).astype("float32")
    at = {"mag_auto": [22.0, 24.0], "flux_radius": [15.0, 8.0], "zphot": [0.4, 0.9]}
    at = {name: np.array(value, "float32") for name, value in at.items()}
    return golden.record(model, {"sample": {"n": np.int32(2), "seed": seed}, "sample_at": {**at, "seed": seed},
                                 "decode": {"z": z}})


RECIPE = Recipe(
    name="flow_vae_cosmos",
    version=1,
    task="galaxy generation",
    summary="Galaxies as HST sees them, of any magnitude, size and redshift of COSMOS, free of PSF and noise.",
    dataset="cosmos_stamps/parametric:1.0.0",
    model=model,
    stages=(Stage(name="flow", data=data, optimizer=adam, epochs=10, batch_size=256, ema=0.999, shuffle=200_000,
                  jit_compile=True),),
    evaluate=evaluate,
    golden=golden_arrays,
    seed=SEED,
    limits="Galaxies brighter than F814W = 25.2 whose profiles are those of the COSMOS parametric fits: smooth, "
    "without spiral arms, bars or neighbours. Conditions outside the trained range are warned of, not refused.",
    licence="MIT",
    citation="Lanusse et al. 2021 (arXiv:2008.03833) for the method; Mandelbaum et al. 2012 (arXiv:1107.4629) and "
    "Leauthaud et al. 2007 (arXiv:astro-ph/0702359) for the COSMOS sample.",
)
