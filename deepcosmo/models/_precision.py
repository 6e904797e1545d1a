"""Float32, whatever precision Keras is set to."""

import contextlib
import inspect

import keras

__all__ = ["SinglePrecision", "single_precision"]


@contextlib.contextmanager
def single_precision():
    """Where Keras makes layers, weights and tensors of float32; also a decorator, `@single_precision()`."""
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    if floatx == policy.name == "float32":
        yield
        return
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)


class SinglePrecision:
    """A class whose methods run in `single_precision`.

    Layers that are made without a `dtype`, and tensors of zeros, take the precision that Keras is set to just then. A
    program may set it for its own models; published numbers and likelihoods need float32. The networks of `nn`, where
    they are used alone, do as Keras is told.
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        for name, value in list(vars(cls).items()):
            if inspect.isfunction(value) and (name == "__init__" or not name.startswith("__")):
                method = single_precision()(value)
                method.__signature__ = inspect.signature(value)  # Keras reads it without looking behind wrappers
                setattr(cls, name, method)
