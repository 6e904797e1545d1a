"""Several estimators as one: what one network has missed, others have seen."""

import numpy as np
import tensorflow as tf

from deepcosmo._seeds import stateless_seed
from deepcosmo.inference.sbi.estimators import NPE
from deepcosmo.inference.sbi.mcmc import Sampler
from deepcosmo.inference.sbi.posterior import Posterior, SampledPosterior
from deepcosmo.models.densities.committee import log_mean

__all__ = ["Ensemble"]


class Ensemble:
    """The mean of the densities of estimators of one kind (Lakshminarayanan et al. 2017, arXiv:1612.01474).

        posterior = Ensemble([NPE(prior) for _ in range(5)]).fit(theta, x).posterior(x_observed)

    Args:
        members: estimators of one class with one prior, trained or not. Of NPE the mean is that of the posteriors, else
            of the likelihoods or ratios.
    """

    def __init__(self, members):
        self.members, self._sampler = list(members), None
        if not self.members:
            raise ValueError("an ensemble needs at least one member")
        if len({type(member) for member in self.members}) > 1 or len({id(m.prior) for m in self.members}) > 1:
            raise ValueError("members of an ensemble must be of one class and have the same prior")

    def fit(self, theta, x, *, seed=0, **settings):
        """Trains all members, each with a seed of its own: its weights and its choice of validation data."""
        seeds = np.random.SeedSequence(seed).generate_state(len(self.members)) >> 1
        for member, own in zip(self.members, seeds, strict=True):
            member.fit(theta, x, seed=int(own), **settings)
        self._sampler = None  # of the networks before
        return self

    def save(self, path):
        """Writes the trained members to one file, for `sbi.load(path, prior)`."""
        from deepcosmo.inference.sbi import saving

        saving.save(self, path)

    def posterior(self, x):
        """The posterior given the observation x."""
        if isinstance(self.members[0], NPE):
            return MixedPosterior([member.posterior(x) for member in self.members])
        return SampledPosterior(self._chains(), [member._data(member._observed(x)) for member in self.members])

    def sample(self, n, x, *, seed):
        """Draws of the posteriors of many data at once: (n, m, dim) for x (m, ...), as calibration wants them."""
        if not isinstance(self.members[0], NPE):
            data = [member._data(member._several(x)) for member in self.members]
            return self._chains().sample_many(n, data, seed=seed)
        seeds = tf.random.split(stateless_seed(seed), len(self.members) + 1)
        chosen = tf.random.stateless_uniform([n], seeds[0], maxval=len(self.members), dtype=tf.int32).numpy()
        draws = np.empty((n, len(x), self.members[0].dim), "float32")
        for k, member in enumerate(self.members):
            draws[chosen == k] = member.sample(int(np.sum(chosen == k)), x, seed=seeds[k + 1])
        return draws

    def _chains(self):
        """The sampler of the mean of the likelihoods, compiled once for all observations."""
        if self._sampler is None:
            networks = [member.network for member in self.members]
            first = self.members[0]

            def log_likelihood(theta, data):
                pairs = zip(networks, data, strict=True)
                return log_mean([first._log_likelihood(network, theta, own) for network, own in pairs])

            self._sampler = Sampler(first.prior, first.bijector, log_likelihood)
        return self._sampler


class MixedPosterior(Posterior):
    """Mean of the densities of normalised posteriors."""

    def __init__(self, parts):
        super().__init__(parts[0].prior, parts[0].bijector)
        self.parts = parts

    def sample(self, n, *, seed):
        seeds = tf.random.split(stateless_seed(seed), len(self.parts) + 1)
        chosen = tf.random.stateless_uniform([n], seeds[0], maxval=len(self.parts), dtype=tf.int32).numpy()
        draws = np.empty((n, self.dim), "float32")
        for k, part in enumerate(self.parts):
            draws[chosen == k] = part.sample(int(np.sum(chosen == k)), seed=seeds[k + 1])
        return draws

    def _log_prob(self, z):
        return log_mean([part._log_prob(z) for part in self.parts])
