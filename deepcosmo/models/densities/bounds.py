"""Bijectors from real vectors onto intervals, half lines and lines."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import tensorflow_probability as tfp

__all__ = ["onto_bounds"]


def onto_bounds(bounds: Sequence[Sequence[float]]) -> "tfp.bijectors.Bijector":
    """The TFP bijector from real vectors onto vectors whose columns lie within bounds.

    Args:
        bounds: (low, high) of each column; infinite where there is no bound. Their NumPy dtype, if they have one, is
            that of the bijector.
    """
    from tensorflow_probability import bijectors as tfb  # takes as long to import as weights to load

    def of(low, high):
        if np.isinf(low) and np.isinf(high):
            return tfb.Identity()
        if np.isinf(high):
            return tfb.Chain([tfb.Shift(low), tfb.Softplus()])
        if np.isinf(low):
            return tfb.Chain([tfb.Shift(high), tfb.Scale(type(high)(-1)), tfb.Softplus()])
        return tfb.Sigmoid(low, high)

    return tfb.Blockwise([of(*pair) for pair in bounds])
