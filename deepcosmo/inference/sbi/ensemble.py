"""Several estimators as one: what one network has missed, others have seen."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from deepcosmo._types import PathLike, Prior, Seed
from deepcosmo.inference.sbi.estimators import METHODS, NPE
from deepcosmo.inference.sbi.mcmc import Sampler
from deepcosmo.inference.sbi.posterior import Posterior, SampledPosterior
from deepcosmo.inference.sbi.saving import Saved, save
from deepcosmo.models._precision import SinglePrecision
from deepcosmo.models.densities.committee import log_mean, mixed

if TYPE_CHECKING:
    from typing_extensions import Self

    from deepcosmo.inference.sbi.base import Estimator

__all__ = ["Ensemble"]


class Ensemble(SinglePrecision):
    """The mean of the densities of estimators of one kind (Lakshminarayanan et al. 2017, arXiv:1612.01474).

        posterior = Ensemble([NPE(prior) for _ in range(5)]).fit(theta, x).posterior(x_observed)

    Args:
        members: estimators of one class with one prior, trained or not. Of NPE the mean is that of the posteriors, else
            of the likelihoods or ratios.
    """

    members: list[Any]

    def __init__(self, members: "Iterable[Estimator]") -> None:
        self.members, self._sampler = list(members), None
        if not self.members:
            raise ValueError("an ensemble needs at least one member")
        if len({type(member) for member in self.members}) > 1 or len({id(m.prior) for m in self.members}) > 1:
            raise ValueError("members of an ensemble must be of one class and have the same prior")

    def fit(self, theta: ArrayLike, x: ArrayLike, *, seed: int = 0, **settings: Any) -> "Self":
        """Trains all members, each with a seed of its own: its weights and its choice of validation data."""
        seeds = np.random.SeedSequence(seed).generate_state(len(self.members)) >> 1
        for member, own in zip(self.members, seeds, strict=True):
            member.fit(theta, x, seed=int(own), **settings)
        self._sampler = None  # of the networks before
        return self

    def save(self, path: PathLike) -> None:
        """Writes the trained members to one file, for `sbi.load(path, prior)`."""
        save(self, path)

    def state(self) -> Saved:
        """All that `sbi.save` writes."""
        return Saved(kind="Ensemble", members=[member.state() for member in self.members])

    @classmethod
    def of_state(cls, saved: Saved, prior: Prior) -> "Self":
        """The ensemble that `state` was taken of."""
        return cls([METHODS[member.kind].of_state(member, prior) for member in saved.members])

    def posterior(self, x: ArrayLike) -> Posterior:
        """The posterior given the observation x."""
        if isinstance(self.members[0], NPE):
            return MixedPosterior([member.posterior(x) for member in self.members])
        return SampledPosterior(self._chains(), [member.observed(x) for member in self.members])

    def sample(self, n: int, x: ArrayLike, *, seed: Seed) -> np.ndarray:
        """Draws of the posteriors of many data at once: (n, m, dim) for x (m, ...), as calibration wants them."""
        if isinstance(self.members[0], NPE):
            return _mixed(self.members, n, x, seed=seed)
        return self._chains().sample_many(n, [member.several(x) for member in self.members], seed=seed)

    def _chains(self):
        """The sampler of the mean of the likelihoods, compiled once for all observations."""
        if self._sampler is None:
            functions = [member.log_likelihood() for member in self.members]

            def log_likelihood(theta, data):
                return log_mean([function(theta, own) for function, own in zip(functions, data, strict=True)])

            self._sampler = Sampler(self.members[0].support, log_likelihood)
        return self._sampler


class MixedPosterior(Posterior):
    """Mean of the densities of normalised posteriors."""

    def __init__(self, parts: Sequence[Posterior]) -> None:
        super().__init__(parts[0].support)
        self.parts = parts

    def sample(self, n: int, *, seed: Seed) -> np.ndarray:
        return _mixed(self.parts, n, seed=seed)

    def _log_prob(self, z):
        return log_mean([part._log_prob(z) for part in self.parts])


def _mixed(members, *arguments, seed):
    """Draws of the mean of the densities of what has a method `sample`."""
    return mixed([lambda own, member=member: member.sample(*arguments, seed=own) for member in members], seed).numpy()
