"""Ratio estimation: a network that tells which parameters made the data."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from deepcosmo._types import Tensor
from deepcosmo.models.base import ProbabilisticModel
from deepcosmo.models.densities.prepared import PreparedDensity
from deepcosmo.nn.resnet import MLP
from deepcosmo.nn.transforms.linear_fit import LinearFit

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["RatioEstimator"]


@keras.saving.register_keras_serializable(package="deepcosmo")
class RatioEstimator(ProbabilisticModel):
    """ln p(x | y) / p(x) of parameters y and data x, by contrastive ratio estimation.

    NRE-C (Miller, Weniger & Forré 2022, arXiv:2210.06170): for each x a classifier chooses among `contrasts` + 1
    hypotheses: each of the parameters of this many simulations made x, or none of them did. Unlike that of choosing
    among parameters alone, the ratio is normalised for every x. `fit(x, targets)` after `adapt(x, targets)`, with
    targets a dict of "theta", parameters y (batch, dim).

    Where the simulator knows how likely other parameters were to have made x and its latent variables z, targets may
    have k of them, "others" (batch, k, dim), draws of the same distribution, and "log_joint" (batch, k), ln p(x, z |
    other) - ln p(x, z | own). Then these are the hypotheses, and not the parameters that did make x but the probability
    of each to have made x and z is what the classifier learns, as in ALICE (Stoye, Brehmer, Louppe, Pavez & Cranmer
    2018, arXiv:1808.00973): the same on average, with less noise.

    Args:
        dim: length of y.
        x_shape, compressor, gaps: as of `PreparedDensity`.
        contrasts: parameters to choose from, where targets have no others.
        hidden: widths of the hidden layers, which are residual.
    """

    def __init__(
        self,
        *,
        dim: int,
        x_shape: Sequence[int],
        compressor: keras.Model | None = None,
        gaps: bool = False,
        contrasts: int = 8,
        hidden: Sequence[int] = (128, 128, 128),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if contrasts < 2:
            raise ValueError(f"contrasts must be at least 2; got {contrasts}")
        self.dim, self.contrasts, self.hidden = dim, contrasts, tuple(hidden)
        # what prepares x, with the smallest of densities, which is not used
        self.prepared = PreparedDensity(
            dim=dim,
            x_shape=x_shape,
            compressor=compressor,
            gaps=gaps,
            density="mdn",
            options={"components": 1, "hidden": (1,), "residual": False},
        )
        self.prepared.density.trainable = False
        self.scale_y = LinearFit(dim=dim, features=0, name="scale_y")
        self.scale_y.build()
        features = self.prepared.density.context_dim
        self.network = MLP(inputs=features + 2 * dim, outputs=1, hidden=hidden, residual=True, output_scale=0.1)
        self.network.build()
        self.built = True

    @property
    def supports_xla(self) -> bool:
        """Whether XLA is known to make the training faster."""
        return self.prepared.supports_xla

    def adapt(self, x: np.ndarray, y: dict[str, np.ndarray]) -> None:
        """Measures scales and a linear regression on arrays (n, *x_shape) and targets."""
        theta = y["theta"]
        self.prepared.adapt(x, theta)
        self.scale_y.adapt(theta, np.zeros((len(theta), 0)))

    def encode(self, x: Tensor) -> Tensor:
        """Features (batch, n) of x (batch, *x_shape)."""
        return self.prepared.encode(x)

    def call(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def own_compressor(self) -> keras.Model | None:
        """The compressor that is trained along."""
        return self.prepared.compressor

    def log_ratio_of_features(self, y: Tensor, features: Tensor) -> Tensor:
        """ln p(x | y) / p(x) (batch,), for y (batch, dim) and features (batch, n) of x."""
        scaled = self.scale_y(y, features[:, :0])[0]
        # and y as it is left by the regression on x: near x's own parameters it is small
        left = ops.arcsinh(self.prepared.left(y, features)[0])
        return self.network(ops.concatenate([features, scaled, left], -1))[:, 0]

    def loss_per_example(self, x: Tensor, y: dict[str, Tensor], y_pred: Any) -> Tensor:
        theta, others = y["theta"], []
        if "others" in y:
            others = [y["others"][:, k] for k in range(y["others"].shape[1])]
        count = len(others) + 1 if others else self.contrasts
        # others of the batch are draws of the same distribution: theta[i - k]
        rolled = [self.log_ratio_of_features(ops.roll(theta, k, axis=0), y_pred) for k in range(1, count + 1)]
        own = chosen = self.log_ratio_of_features(theta, y_pred)
        alternatives = [self.log_ratio_of_features(other, y_pred) for other in others] or rolled[:-1]
        hypotheses = ops.stack([own, *alternatives])
        if others:
            log_joint = y["log_joint"]
            made_it = ops.softmax(ops.concatenate([ops.zeros_like(log_joint[:, :1]), log_joint], -1))
            chosen = ops.einsum("kn,nk->n", hypotheses, made_it)
        log_count = float(np.log(count))
        joint = ops.logaddexp(log_count, ops.logsumexp(hypotheses, axis=0))
        apart = ops.logaddexp(log_count, ops.logsumexp(ops.stack(rolled), axis=0))
        return 0.5 * (joint - chosen) + 0.5 * (apart - log_count)

    def get_config(self) -> dict[str, Any]:
        inner = self.prepared.get_config()
        return {
            **super().get_config(),
            "dim": self.dim,
            "x_shape": inner["x_shape"],
            "compressor": inner["compressor"],
            "gaps": inner["gaps"],
            "contrasts": self.contrasts,
            "hidden": self.hidden,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Self":
        return cls(**{**config, "compressor": keras.saving.deserialize_keras_object(config["compressor"])})
