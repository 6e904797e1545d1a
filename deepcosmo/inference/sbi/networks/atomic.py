"""Training of a posterior density on parameters that are not drawn from the prior."""

from keras import ops

from deepcosmo.models.base import ProbabilisticModel

__all__ = ["Atomic"]


class Atomic(ProbabilisticModel):
    """Trains p(y | x) with the atomic loss (APT, or SNPE-C: Greenberg, Nonnenmacher & Macke 2019, arXiv:1905.07488).

    For each x it is the cross-entropy of choosing, among the parameters of `atoms` simulations, those that made x, by
    weights that are posterior over prior density. Whichever distribution the parameters of all simulations have, the
    minimum is the posterior. `fit(x, y)` after `adapt(x, y)`, with y a dict: "targets", those of `network` (batch,
    dim), and "log_prior", the logarithm of their prior density (batch,).

    Args:
        network: `PreparedDensity`.
        atoms: number of parameters to choose from.
    """

    def __init__(self, network, *, atoms=10, **kwargs):
        super().__init__(**kwargs)
        self.network, self.atoms = network, atoms
        self.built = True

    @property
    def supports_xla(self):
        return self.network.supports_xla

    def adapt(self, x, y):
        self.network.adapt(x, y["targets"])

    def call(self, x):
        return self.network(x)

    def loss_per_example(self, x, y, y_pred):
        # others of the batch are draws of the same distribution: y[i - k]
        atoms, log_prior = (ops.concatenate([ops.roll(y[name], k, axis=0) for k in range(self.atoms)], axis=0)
                            for name in ("targets", "log_prior"))  # fmt: skip
        features = ops.tile(y_pred, (self.atoms, 1))
        log_weight = self.network.log_prob_of_features(atoms, features) - log_prior
        log_weight = ops.reshape(log_weight, (self.atoms, -1))
        return ops.logsumexp(log_weight, axis=0) - log_weight[0]
