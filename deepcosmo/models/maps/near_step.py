"""Newton's step for universes like ours."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from deepcosmo._graphs import apart
from deepcosmo._types import Tensor
from deepcosmo.models._precision import SinglePrecision
from deepcosmo.models.maps.newton_step import NewtonStep

if TYPE_CHECKING:
    from deepcosmo.physics.lensing_survey import LensingSurvey

__all__ = ["NearStep"]

_LONGEST = 2.0  # in scatters of the parameters there


class NearStep(SinglePrecision, keras.layers.Layer):
    """The step of a `NewtonStep`, fitted where `LensingSurvey.near` has more universes than the prior.

    There, polynomials learn from fewer maps than networks. Steps are bounded, since polynomials have no bounds.

    Features (batch, 2 dim + others) are an estimate of the unconstrained parameters, the score there and other numbers.

    Args:
        survey: `LensingSurvey`.
        bijector: a function that gives the bijector from unconstrained parameters onto parameters.
        others: how many other numbers there are.
    """

    def __init__(self, *, survey: "LensingSurvey", bijector: Callable[[], Any], others: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.survey, self.bijector, self.dim = survey, bijector, len(survey.parameters)
        self.newton = NewtonStep(dim=self.dim, others=others, name="newton")

    def build(self, input_shape: Any = None) -> None:
        self.newton.build()
        self.longest = self.add_weight(name="longest", shape=(self.dim,), initializer="ones", trainable=False)

    def share(self, features: Tensor) -> Tensor:
        """Of those from `near` among universes at the estimates (batch, 1), where half of all are."""
        theta = self.bijector().forward(features[:, : self.dim])  # TFP is imported when it is needed
        return 1.0 - 0.5 * ops.exp(_log_weight(self.survey)(theta))[:, None]

    def adapt(self, y: np.ndarray, features: np.ndarray) -> None:
        """Fits to unconstrained parameters y (n, dim) and features (n, 2 dim + others)."""
        chosen = ops.convert_to_numpy(self.share(features))[:, 0] > 0.5
        self.newton.adapt(y[chosen], features[chosen])
        self.longest.assign(_LONGEST * y[chosen].std(0))

    def call(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Steps (batch, dim) from the estimates, wherever these are, and the share (batch, 1) of universes there."""
        step = self.newton(features)[0] - features[:, : self.dim]
        return self.longest * ops.tanh(step / self.longest), self.share(features)


@functools.lru_cache(maxsize=1)
def _log_weight(survey):
    """That of the survey, in graphs as one function."""
    return apart(survey.log_weight)
