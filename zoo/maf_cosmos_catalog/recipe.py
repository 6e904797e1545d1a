"""`maf_cosmos_catalog`: autoregressive flows on the columns of the COSMOS catalogue."""

import functools

import keras
import numpy as np
import tensorflow as tf

from deepcosmo.metrics import Metric, two_sample
from deepcosmo.models import CatalogFlow
from deepcosmo.training import Recipe, Stage
from deepcosmo.zoo import golden
from tfds_builders.cosmos_stamps.catalog import read_catalog, split_of

SEED = 2025


@functools.cache
def columns(split):
    """The catalogue's columns of a split, in single precision."""
    galaxies, _ = read_catalog()
    galaxies = galaxies[split_of(galaxies["ident"]) == split]
    return {
        name: galaxies[name] if name == "use_bulge" else galaxies[name].astype("float32")
        for name in CatalogFlow.columns
    }


def model():
    flow = CatalogFlow()
    flow.adapt(columns("train"))
    return flow


def data(split):
    catalogue = columns(split)
    if split == "validation":  # spread over the steps of n once, the same for every epoch
        catalogue = CatalogFlow.dequantise(catalogue, seed=SEED)
    return tf.data.Dataset.from_tensor_slices(dict(catalogue))


def adam(total_steps):
    rate = keras.optimizers.schedules.CosineDecay(0.0, total_steps, warmup_target=1e-3, warmup_steps=500)
    return keras.optimizers.AdamW(rate, weight_decay=1e-4, clipnorm=5.0)


def compared(catalogue):
    """The columns that tests compare: angles relative to the disc, NaN where there is no bulge."""
    catalogue = {name: np.asarray(value, float) for name, value in catalogue.items()}
    use = catalogue["use_bulge"] > 0.5
    out = {name: value for name, value in catalogue.items() if not name.endswith("phi")}
    for name in ("bulge_phi", "phi"):
        angle = (catalogue[name] - catalogue["disk_phi"] + np.pi / 2) % np.pi - np.pi / 2
        out[f"{name} - disk_phi"] = angle
    with_bulge = [name for name in out if name.startswith(("bulge_", "disk_")) or "-" in name]
    return out | {name: np.where(use, out[name], np.nan) for name in with_bulge}


def evaluate(model, progress):
    """Density of the test galaxies, and tests of draws against them."""
    test, size = columns("test"), len(columns("test")["n"])
    draws = [model.draw(size, seed=SEED + i) for i in progress(range(8))]
    samples = compared({name: np.concatenate([d[name] for d in draws]) for name in CatalogFlow.columns})
    truth = compared(test)
    log_prob = model.log_prob(CatalogFlow.dequantise(test, seed=SEED)).numpy()
    of_columns = two_sample.column_tests(truth, samples)
    of_pairs = two_sample.pair_tests(truth, samples)
    worst = max(of_columns, key=lambda name: of_columns[name].statistic)
    accuracy, error = two_sample.classifier_accuracy(truth, compared(draws[0]))
    pairs = list(of_pairs.values())
    metric = functools.partial(Metric, split="test", size=size)
    equal = "both samples from one distribution"
    return [
        metric(
            name="log-density [nats per galaxy]",
            value=float(log_prob.mean()),
            error=float(log_prob.std() / np.sqrt(size)),
        ),
        metric(name=f"largest Kolmogorov-Smirnov distance of a column ({worst})", value=of_columns[worst].statistic),
        metric(
            name=f"smallest Kolmogorov-Smirnov p-value x number of columns ({len(of_columns)})",
            value=min(1.0, len(of_columns) * min(t.p_value for t in of_columns.values())),
            reference=f"1 to 0.05: {equal}",
        ),
        metric(
            name="mean chi^2 per degree of freedom of pairs of columns",
            value=float(np.mean([t.statistic for t in pairs])),
            reference=f"1: {equal}",
        ),
        metric(
            name=f"smallest chi^2 p-value x number of pairs ({len(pairs)})",
            value=min(1.0, len(pairs) * min(t.p_value for t in pairs)),
            reference=f"1 to 0.05: {equal}",
        ),
        metric(name="accuracy of a classifier, all columns", value=accuracy, error=error, reference=f"0.5: {equal}"),
    ]


def golden_arrays(model):
    drawn = model.draw(6, seed=5)
    matrix = np.column_stack([drawn[name] for name in CatalogFlow.columns]).astype("float32")
    seed = np.array([1, 2], "int32")
    return golden.record(model, {"sample": {"n": np.int32(32), "seed": seed}, "log_prob": {"catalogue": matrix}})


def spread(batch, seed):
    return CatalogFlow.dequantise(batch, seed=seed)


RECIPE = Recipe(
    name="maf_cosmos_catalog",
    version=1,
    task="catalogue generation",
    summary="Joint density of magnitude, size, redshift and shape of galaxies in COSMOS to F814W = 25.2.",
    dataset="COSMOS parametric fits (GalSim 25.2 training sample), split as cosmos_stamps:1.0.0",
    model=model,
    stages=(
        Stage(
            name="catalogue",
            data=data,
            augment=spread,
            optimizer=adam,
            epochs=80,
            batch_size=512,
            ema=0.999,
            shuffle=60_000,
        ),
    ),
    evaluate=evaluate,
    golden=golden_arrays,
    seed=SEED,
    limits=(
        "Describes HST/ACS F814W detections of the COSMOS field brighter than 25.2 mag, with its field's cosmic "
        "variance: at redshifts of COSMOS's known structures the density is that of one field. Galaxies are "
        "single Sersic fits (n in 0.3 to 6, in steps of 0.05, with piles at both limits, q >= 0.05) or bulge and "
        "disc; half-light radii from 0.01 to 10 arcsec. Few galaxies are brighter than 18 mag. Position angles "
        "are uniform: there is no shear and no alignment between galaxies."
    ),
    licence="MIT",
    citation=(
        "Mandelbaum et al. 2014 (GREAT3; COSMOS galaxy sample, arXiv:1308.4982); Leauthaud et al. 2007 "
        "(ACS catalogue, arXiv:astro-ph/0702359); Ilbert et al. 2009 (photometric redshifts, arXiv:0809.2101)"
    ),
)
