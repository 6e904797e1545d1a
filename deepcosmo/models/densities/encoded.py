"""Densities of vectors given data of any kind: an encoder makes features of these, and a density depends on them."""

from collections.abc import Sequence

from deepcosmo._quantities import refuse_masked
from deepcosmo._types import Seed, Tensor, TensorLike
from deepcosmo.models.base import ProbabilisticModel

__all__ = ["EncodedDensity"]


class EncodedDensity(ProbabilisticModel):
    """p(y | x), by features of x: who asks several times of the same x encodes it once.

    A subclass defines `encode`, `log_prob_of_features` and `sample_of_features`. The model's output are the features.
    One whose x may have more axes than one for the batch defines `_features`, too.
    """

    def encode(self, x: TensorLike) -> Tensor:
        """Features (batch, n) of x (batch, ...)."""
        raise NotImplementedError

    def log_prob_of_features(self, y: TensorLike, features: Tensor) -> Tensor:
        """As `log_prob`, for features (batch, n) of x."""
        raise NotImplementedError

    def sample_of_features(self, n: int | Sequence[int], features: Tensor, *, seed: Seed) -> Tensor:
        """As `sample`, for features (batch, n) of x."""
        raise NotImplementedError

    def _features(self, x):
        """Features of x as `log_prob` and `sample` take it."""
        return self.encode(x)

    def call(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def log_prob(self, y: TensorLike, x: TensorLike) -> Tensor:
        """ln p(y | x) in nats (batch,), for y (batch, dim) and x (batch, ...).

        A `PreparedDensity` takes any number of axes in place of that of the batch.
        """
        refuse_masked(y, "y")
        return self.log_prob_of_features(y, self._features(x))

    def sample(self, n: int | Sequence[int], x: TensorLike, *, seed: Seed) -> Tensor:
        """Draws (n, batch, dim) for x (batch, ...); `seed` is an int or int32[2]."""
        return self.sample_of_features(n, self._features(x), seed=seed)
