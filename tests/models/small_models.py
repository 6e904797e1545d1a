"""A small model of every class that `deepcosmo.models` exports, with data to fit and arguments of its endpoints."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

from deepcosmo import models

N = 8  # examples
STAMP, PSF, PIXEL = 32, 24, 0.3
CONDITIONS = ("mag_auto", "flux_radius", "zphot")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One model.

    Attributes:
        make: () -> the model, untrained.
        adapt: arguments of `adapt`, or None.
        fit: arguments of `fit`.
        arguments: name -> array, of all endpoints.
        untrained: beginnings of the paths of weights that `fit` on these data does not reach.
    """

    make: Callable
    adapt: tuple | None = None
    fit: tuple
    arguments: dict
    untrained: tuple = ()

    def build(self):
        """The model, adapted, with weights that are nowhere zero."""
        keras.utils.set_random_seed(0)
        model = self.make()
        if self.adapt is not None:
            model.adapt(*self.adapt)
        rng = np.random.default_rng(1)
        for weight in model.trainable_weights:
            weight.assign_add(0.02 * rng.normal(size=weight.shape))
        return model


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def _density(cls, **options):
    context, y = normal(N, 3), normal(N, 2, seed=1)
    return Case(
        make=lambda: cls(dim=2, context_dim=3, hidden=(8, 8), **options),
        adapt=(context, y),
        fit=(context, y),
        arguments={"context": context, "y": y},
    )


def _committee():
    member = models.MAF(dim=2, context_dim=3, hidden=(8, 8), transforms=1)
    return models.Committee(members=[member, models.MDN(dim=2, context_dim=3, hidden=(8,), components=2)])


def _prepared():
    x, y = normal(N, 4), normal(N, 2, seed=1)
    options = {"hidden": (8, 8), "transforms": 2}
    return Case(
        make=lambda: models.PreparedDensity(dim=2, x_shape=(4,), options=options),
        adapt=(x, y),
        fit=(x, y),
        arguments={"x": x, "y": y},
    )


def _stamps():
    axis = np.arange(PSF) - PSF // 2
    psf = np.exp(-0.5 * (axis[:, None] ** 2 + axis**2) / 1.6**2)
    psf = np.tile((psf / psf.sum()).astype("float32"), (N, 1, 1))
    return {"image": 0.01 * normal(N, STAMP, STAMP), "psf": psf, "noise_std": np.full(N, 0.01, "float32")}


def _galaxies(cls, **options):
    latent, stamps = 3, _stamps()
    rng = np.random.default_rng(2)
    attrs = dict(zip(CONDITIONS, rng.uniform([20, 3, 0.1], [25, 20, 2], (N, 3)).astype("float32").T, strict=True))
    sizes = {"latent": latent, "size": STAMP, "psf_size": PSF, "decoder_units": (8,), "encoder_units": 16}
    arguments = {**stamps, **attrs, "z": normal(N, latent), "n": np.int32(3)}
    return Case(
        make=lambda: cls(**sizes, **options),
        fit=(stamps | {"attrs": attrs},),
        arguments=arguments,
        adapt=(normal(N, latent), attrs, np.ones(N)) if "flow" in options else None,
        untrained=("population",),
    )


def _catalogue():
    rng = np.random.default_rng(3)
    columns = {
        "mag_auto": (20, 25),
        "flux_radius": (3, 20),
        "zphot": (0.1, 2),
        "use_bulge": (0, 2),
        "flux": (1, 9),
        "n": (0.5, 4),
        "hlr": (0.1, 1),
        "q": (0.2, 0.9),
        "phi": (-1, 1),
        "bulge_fraction": (0.2, 0.8),
        "bulge_hlr": (0.1, 1),
        "bulge_q": (0.2, 0.9),
        "bulge_phi": (-1, 1),
        "disk_hlr": (0.1, 1),
        "disk_q": (0.2, 0.9),
        "disk_phi": (-1, 1),
    }
    catalogue = {name: rng.uniform(*limits, 64).astype("float32") for name, limits in columns.items()}
    catalogue["use_bulge"] = np.floor(catalogue["use_bulge"])
    catalogue["flux"] = 10 ** (-0.4 * (catalogue["mag_auto"] - 25.94))  # near the magnitude, as of real galaxies
    matrix = np.stack(list(catalogue.values()), -1)[:N]
    return Case(
        make=lambda: models.CatalogFlow(transforms=1, hidden=(8,)),
        adapt=(catalogue,),
        fit=(catalogue,),
        arguments={"catalogue": matrix, "n": np.int32(3)},
    )


def _kappa(cls, x, arguments=None):
    def make():
        model = cls(pixel_scale=PIXEL, widths=(4, 8), margin=4)
        ell = np.geomspace(50, 5e4, 30)
        model.spectrum.set(ell, 3e-9 * (ell / 300) ** -1.2)
        return model

    return Case(make=make, fit=(x, 0.02 * normal(N, 16, 16, seed=4)), arguments=arguments or x)


def _map_posterior():
    def make():
        statistics = models.FieldStatistics(
            size=16, channels=2, noise_std=0.1, bands=4, signal=100 * np.tile(np.eye(2), (8, 1, 1))
        )
        compressor = models.MapCompressor(statistics=statistics, outputs=3, hidden=(8,))
        return models.MapPosterior(
            compressor=compressor,
            parameters=("a", "b"),
            bounds=[(0, 1), (-np.inf, np.inf)],
            density="maf",
            options={"hidden": (8, 8), "transforms": 2},
        )

    maps = normal(32, 16, 16, 2)
    theta = np.random.default_rng(5).uniform(0.1, 0.9, (32, 2)).astype("float32")
    return Case(make=make, adapt=(maps, theta), fit=(maps, theta), arguments={"maps": maps[:N], "theta": theta[:N]})


CASES = {
    "MAF": _density(models.MAF, transforms=2),
    "MAFMoG": _density(models.MAFMoG),
    "NSF": _density(models.NSF, transforms=2),
    "RealNVP": _density(models.RealNVP, transforms=2),
    "MDN": _density(models.MDN, components=2),
    "Regression": _density(models.Regression),
    "Committee": dataclasses.replace(_density(models.MAF), make=_committee),
    "PreparedDensity": _prepared(),
    "GalaxyVAE": _galaxies(models.GalaxyVAE),
    "FlowVAE": _galaxies(
        models.FlowVAE, flow={"transforms": 2, "hidden": (8,)}, catalogue={"transforms": 1, "hidden": (8,)}
    ),
    "CatalogFlow": _catalogue(),
    "KappaScore": _kappa(
        models.KappaScore,
        {"noisy": 0.05 * normal(N, 16, 16), "sigma": np.full(N, 0.05, "f4")},
        {"noisy": 0.05 * normal(1, 384, 384), "sigma": np.full(1, 0.05, "f4")},
    ),
    "KappaUNet": _kappa(
        models.KappaUNet,
        {
            "wiener": 0.02 * normal(N, 16, 16),
            "information": normal(N, 16, 16),
            "precision": np.full((N, 16, 16), 48.0, "f4"),
        },
    ),
    "MapPosterior": _map_posterior(),
}
