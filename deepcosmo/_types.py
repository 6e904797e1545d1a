"""Kinds of arguments that many public functions take; type checkers read them, nothing is imported for them."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf
    from astropy.units import Quantity
    from numpy.typing import ArrayLike

__all__ = ["Columns", "Number", "PathLike", "Progress", "Seed", "TensorLike"]

PathLike: TypeAlias = str | os.PathLike[str]

Progress: TypeAlias = Callable[..., Iterable[Any]]
"""Wraps an iterable in a progress bar, as `tqdm.tqdm` does."""

Number: TypeAlias = "float | Quantity"
"""A number in the unit that a function states, or a quantity, which is converted."""

TensorLike: TypeAlias = "tf.Tensor | ArrayLike"
"""What `tf.convert_to_tensor` takes."""

Seed: TypeAlias = "int | TensorLike"
"""What `_seeds.stateless_seed` takes: an integer, or int32[2]."""

Columns: TypeAlias = "Mapping[str, np.ndarray]"
"""Statistics or conditions by name, arrays (n,)."""
