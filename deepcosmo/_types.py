"""Kinds of arguments that many public functions take; type checkers read them, nothing is imported for them."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import tensorflow as tf
    from numpy.typing import ArrayLike

__all__ = ["Columns", "PathLike", "Progress", "Seed", "TensorLike"]

PathLike: TypeAlias = str | os.PathLike[str]

Progress: TypeAlias = Callable[..., Iterable[Any]]
"""Wraps an iterable in a progress bar, as `tqdm.tqdm` does."""

TensorLike: TypeAlias = "tf.Tensor | ArrayLike"
"""What `tf.convert_to_tensor` takes."""

Seed: TypeAlias = "int | TensorLike"
"""What `_seeds.stateless_seed` takes: an integer, or int32[2]."""

Columns: TypeAlias = "Mapping[str, ArrayLike]"
"""Statistics or conditions by name, arrays (n,)."""
