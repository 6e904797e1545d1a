"""Trained estimators out of files."""

from typing import Any

from deepcosmo._types import PathLike, Prior
from deepcosmo.inference.sbi.ensemble import Ensemble
from deepcosmo.inference.sbi.estimators import METHODS
from deepcosmo.inference.sbi.saving import read
from deepcosmo.models.densities.compressor import Compressor  # noqa: F401 that files may hold

__all__ = ["load"]


def load(path: PathLike, prior: Prior) -> Any:
    """The estimator or ensemble that `sbi.save` wrote, which gives the same posteriors.

    Args:
        path: of the file.
        prior: the prior that it was trained with, as distributions are not written to files.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no such file, or damaged; or the prior has other densities, or another bijector onto its
            support.
    """
    saved = read(path)
    kinds = {**METHODS, "Ensemble": Ensemble}
    if saved.kind not in kinds:
        raise ValueError(f"{path} holds {saved.kind!r}, and this version knows {', '.join(kinds)}")
    return kinds[saved.kind].of_state(saved, prior)
