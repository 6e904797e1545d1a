"""Trained estimators as files."""

import json
import tempfile
import zipfile
from pathlib import Path

import keras
import numpy as np

from deepcosmo._files import write_atomically
from deepcosmo.inference.sbi.ensemble import Ensemble
from deepcosmo.inference.sbi.estimators import METHODS
from deepcosmo.inference.sbi.training import copied
from deepcosmo.models.base import freeze
from deepcosmo.nn.transforms.linear_fit import LinearFit

__all__ = ["load", "save"]

WEIGHTS = "matrix", "bias", "factor", "inverse"  # of `LinearFit`
DRAWS = 100  # of the prior, where another one would show


def save(estimator, path):
    """Writes a trained estimator or ensemble to a file, a zip archive of Keras models, JSON and arrays."""
    with tempfile.TemporaryDirectory() as folder:
        _write(estimator, Path(folder))
        files = sorted(p for p in Path(folder).rglob("*") if p.is_file())

        def pack(file):
            with zipfile.ZipFile(file, "w") as archive:
                for p in files:
                    archive.write(p, p.relative_to(folder))

        write_atomically(path, pack)


def load(path, prior):
    """The estimator or ensemble that `save` wrote, which gives the same posteriors.

    Args:
        path: of the file.
        prior: the `tfd.Distribution` that it was trained with, as distributions are not written to files.

    Raises:
        ValueError: the prior has other densities, or another bijector onto its support.
    """
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
        return _read(Path(folder), prior)


def _write(estimator, folder):
    if isinstance(estimator, Ensemble):
        facts = {"kind": "Ensemble", "members": len(estimator.members)}
        for i, member in enumerate(estimator.members):
            (folder / str(i)).mkdir()
            _write(member, folder / str(i))
    else:
        if estimator.network is None:
            raise RuntimeError(f"this {type(estimator).__name__} has no network to save: call fit(theta, x) first")
        copied(estimator.network).save(folder / "network.keras")  # without the optimizer
        if estimator.compressor is not None and not estimator._along:
            copied(estimator.compressor).save(folder / "compressor.keras")
        facts = {"kind": type(estimator).__name__, "density": estimator.density, "options": estimator.options,
                 "history": estimator.history, "x_shape": estimator._x_shape, "gaps": estimator._gaps,
                 "along": estimator._along, "largest": estimator._typical["largest"]}  # fmt: skip
        points = estimator.prior.sample(DRAWS, seed=[0, 0]).numpy()
        typical = dict(zip(WEIGHTS, estimator._typical["fit"].get_weights(), strict=True))
        np.savez(folder / "arrays.npz", points=points, log_prior=estimator.prior.log_prob(points),
                 unconstrained=estimator.bijector.inverse(points), **typical)  # fmt: skip
    (folder / "estimator.json").write_text(json.dumps(facts))


def _read(folder, prior):
    facts = json.loads((folder / "estimator.json").read_text())
    if facts["kind"] == "Ensemble":
        return Ensemble([_read(folder / str(i), prior) for i in range(facts["members"])])
    arrays = np.load(folder / "arrays.npz")
    network = keras.saving.load_model(folder / "network.keras", compile=False)
    compressor = None
    if facts["along"]:
        compressor = getattr(network, "prepared", network).compressor
    elif (folder / "compressor.keras").exists():
        compressor = keras.saving.load_model(folder / "compressor.keras", compile=False)
        freeze(compressor)
    density = {} if facts["kind"] == "NRE" else {"density": facts["density"]}
    estimator = METHODS[facts["kind"]](prior, compressor=compressor, options=facts["options"], **density)
    _check_prior(estimator, arrays)
    fit = LinearFit(dim=len(arrays["bias"]), features=0)
    fit.build()
    fit.set_weights([arrays[name] for name in WEIGHTS])
    estimator.network, estimator.history = network, facts["history"]
    estimator._x_shape, estimator._gaps, estimator._along = tuple(facts["x_shape"]), facts["gaps"], facts["along"]
    estimator._typical = {"fit": fit, "largest": facts["largest"]}
    return estimator


def _check_prior(estimator, arrays):
    points = arrays["points"]
    if points.shape[1] != estimator.dim:
        raise ValueError(f"the estimator is of {points.shape[1]} parameters, and the prior of {estimator.dim}")
    log_prior = estimator.prior.log_prob(points).numpy()
    differs = ~np.isclose(log_prior, arrays["log_prior"], 1e-3, 1e-3)
    if differs.any():
        i = differs.argmax()
        raise ValueError(f"this is not the prior that the estimator was trained with: ln p({points[i]}) is "
                         f"{log_prior[i]:.4g}, and was {arrays['log_prior'][i]:.4g}")
    if not np.allclose(estimator.bijector.inverse(points), arrays["unconstrained"], 1e-3, 1e-3):
        raise ValueError("the prior has the density of the one that the estimator was trained with, but another "
                         "bijector onto its support")
