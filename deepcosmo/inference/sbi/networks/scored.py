"""Training on scores: what a differentiable simulator knows of its likelihood."""

import numpy as np
import tensorflow as tf

from deepcosmo.models.base import ProbabilisticModel

__all__ = ["Scored"]


class Scored(ProbabilisticModel):
    """Trains a density or a ratio on its logarithm's gradient in the parameters, too.

    The loss is that of `network` plus `weight` times the squared difference between this gradient and the score, the
    gradient of ln p(x, latent variables | parameters), summed over the columns in units of each one's standard
    deviation. Its minimum is the gradient of ln p(x | parameters), which is the mean of the scores given x (Brehmer,
    Louppe, Pavez & Cranmer 2018, arXiv:1805.12244). `fit(x, y)` after `adapt(x, y)`, with the columns of the targets
    and those of the scores side by side in y.

    Args:
        network: `PreparedDensity` or `RatioEstimator`.
        log_density: function of it, targets and features: what has the gradient.
        parameters: which of them are the parameters, "x" or "y".
        dim: number of parameters.
        weight: of the squared difference.
    """

    def __init__(self, network, log_density, *, parameters, dim, weight=1.0, **kwargs):
        super().__init__(**kwargs)
        self.network, self.log_density, self.parameters, self.dim = network, log_density, parameters, dim
        self.weight = weight
        self.scale = self.add_weight(name="scale", shape=(dim,), initializer="ones", trainable=False)
        self.built = True

    @property
    def supports_xla(self):
        return self.network.supports_xla

    def adapt(self, x, y):
        self.network.adapt(x, y[:, : -self.dim])
        spread = np.std(y[:, -self.dim :], 0)
        self.scale.assign(np.where(spread > 0, spread, 1.0))

    def call(self, x):
        return self.network(x)

    def loss_per_example(self, x, y, y_pred):
        y, scores = y[:, : -self.dim], y[:, -self.dim :]
        of_x = self.parameters == "x"
        parameters = x if of_x else y[:, : self.dim]  # y of a `RatioEstimator` may go on
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            given = (y, self.network(parameters)) if of_x else (parameters, y_pred)
            value = self.log_density(self.network, *given)
        difference = (tape.gradient(value, parameters) - scores) / self.scale
        return self.network.loss_per_example(x, y, y_pred) + self.weight * tf.reduce_sum(difference**2, -1)
