"""Kinds of arguments that many public functions take; type checkers read them, nothing is imported for them."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf
    import tensorflow_probability as tfp
    from astropy.units import Quantity
    from numpy.typing import ArrayLike

__all__ = ["Columns", "Endpoints", "Number", "PathLike", "Prior", "Progress", "Seed", "Tensor", "TensorLike"]

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

Prior: TypeAlias = "tfp.distributions.Distribution | Sequence[tfp.distributions.Distribution]"
"""What `sbi.support.vectors` takes: a distribution of vectors, a joint one, or a list of independent ones."""

Endpoints: TypeAlias = "dict[str, tuple[Callable[..., Any], list[tf.TensorSpec]]]"
"""Exported functions: name -> (function of tensors, their specifications)."""

Tensor: TypeAlias = "tf.Tensor"
"""What functions of `keras.ops` take and give."""
