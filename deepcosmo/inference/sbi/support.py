"""The support of a prior as the image of all real vectors, so that no density leaks out of it."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

__all__ = ["interior", "unconstrained", "unconstraining"]

DRAWS = 256  # of the prior, on which its bijector must prove itself


def unconstraining(prior):
    """The bijector of a prior of vectors (dim,), a `tfd.Distribution`, from real vectors onto its support.

    Raises:
        ValueError: the prior has a batch or another event shape, or no bijector that keeps its own draws and their
            dimension.
    """
    if prior.event_shape.rank != 1 or prior.batch_shape.rank != 0:
        shapes = f"event shape {prior.event_shape} and batch shape {prior.batch_shape}"
        raise ValueError(f"prior must be a distribution of vectors, event shape (dim,), without batch; got {shapes}")
    try:
        bijector = _of_parts(prior)
        proven = bijector is not None and _maps(bijector, prior.sample(DRAWS, seed=[0, 0]))
    except TypeError:  # of TFP's simplex under NumPy 2.4
        proven = False
    if not proven:
        raise ValueError(f"the prior {prior.name} has no bijector from real vectors of its length onto its support: "
                         "choose parameters that each have an interval of their own")
    return bijector


def unconstrained(bijector, theta):
    """Real vectors (n, dim) of parameters (n, dim) by a bijector onto their support.

    Rounding puts some of a hundred thousand draws of a prior onto its very bounds, where they are infinite: those count
    as the outermost of the others.
    """
    z = bijector.inverse(theta).numpy()
    inner = np.where(np.isinf(z), np.nan, z)
    return np.clip(z, np.nanmin(inner, 0), np.nanmax(inner, 0))


def interior(prior, bijector, theta):
    """Which parameters (n, dim) are possible (n,), and real vectors (n, dim) of these; zeros for the others.

    Bounds count as outside: for the bijector they are infinitely far away, and no draw but a rounded one lies there.
    """
    z = bijector.inverse(theta)
    inside = tf.math.is_finite(prior.log_prob(theta)) & tf.reduce_all(tf.math.is_finite(z), -1)
    return inside, tf.where(inside[:, None], z, tf.zeros_like(z))


def _maps(bijector, draws):
    """Whether draws have inverse images of the same shape that lead back to them."""
    z = bijector.inverse(draws)
    return z.shape == draws.shape and np.allclose(bijector.forward(tf.identity(z)), draws, 1e-3, 1e-4)


def _of_parts(prior):
    if isinstance(prior, tfp.distributions.Blockwise):  # its own bijector takes the parts apart
        parts = prior.distributions
        return tfp.bijectors.Blockwise([_of_parts(part) for part in parts],
                                       block_sizes=[int(np.prod(part.event_shape)) for part in parts])
    return prior.experimental_default_event_space_bijector()
