"""Posterior of a Gaussian convergence field given its noisy shear: exact mean and samples, by conjugate gradients.

    y = A kappa + n,    kappa ~ N(0, S),    n ~ N(0, N)

A is `lensing.kappa_to_shear`, S is diagonal in Fourier space and N in pixel space. Everything is the solution of

    (S^-1 + A^T N^-1 A) kappa = b.

With the diagonal D = (1 + S diag(A^T N^-1 A))^-1 in Fourier space and kappa = (S D)^1/2 x this becomes

    (D + (S D)^1/2 A^T N^-1 A (S D)^1/2) x = (S D)^1/2 b,

which is well conditioned and has no inverse of S: modes without power, such as the mean, are 0.

Convention, of every function here: maps are (..., rows, columns), periodic; shear is (..., rows, columns, 2). `power`
is the prior variance of the modes of `tf.signal.rfft2d`, (..., rows, columns // 2 + 1), such that white noise of
variance v per pixel has power v. `precision` is 1 / noise variance, 0 where there are no
data: (..., rows, columns, 1) of both shear components or (..., rows, columns, 2). Leading axes broadcast. Results have
the type of the shear or right-hand side, float32 or float64. Everything may run inside `tf.function`.

To observe kappa itself as well, with white noise of variance v: power / (1 + power / v) takes the place of the power,
and the observation / v joins the right-hand side.
"""

from typing import Any

import tensorflow as tf

from deepcosmo._types import TensorLike
from deepcosmo.physics.fields import multiplicity
from deepcosmo.physics.shear_modes import ShearOfModes, as_complex, components_first, response

__all__ = ["information", "posterior_mean", "posterior_sample", "prior_sample", "solve"]

TOLERANCE = 1e-4
ITERATIONS = 200


def information(shear: tf.Tensor, precision: TensorLike) -> tf.Tensor:
    """A^T N^-1 y, what data add to the right-hand side: (..., rows, columns)."""
    shape = shear.shape[-3:-1]
    weighted = components_first(tf.cast(precision, shear.dtype) * shear)
    return tf.signal.irfft2d(ShearOfModes(shape, shear.dtype).transpose(weighted), shape)


def solve(
    rhs: tf.Tensor,
    power: TensorLike,
    precision: TensorLike,
    *,
    tolerance: float = TOLERANCE,
    iterations: int = ITERATIONS,
) -> tf.Tensor:
    """The kappa of (S^-1 + A^T N^-1 A) kappa = rhs.

    Args:
        rhs: (..., rows, columns), float32 or float64.
        power, precision: see the module.
        tolerance: norm of the residual of x, relative to that of its right-hand side, at which to stop; 0 for a fixed
            number of iterations. The default leaves errors of at most some 1e-3 of the result's scatter.
        iterations: at most.

    Returns:
        (..., rows, columns)
    """
    shape = rhs.shape[-2:]
    power, weight = tf.cast(power, rhs.dtype), components_first(tf.cast(precision, rhs.dtype))
    squares = response(*shape, rhs.dtype) ** 2
    diagonal = tf.reduce_sum(squares * tf.reduce_mean(weight, [-2, -1], keepdims=True), -3)
    damping = 1 / (1 + power * diagonal)
    root = tf.sqrt(power * damping)
    shear = ShearOfModes(shape, rhs.dtype, root)
    root, damping = as_complex(root), as_complex(damping)
    right = root * tf.signal.rfft2d(rhs)

    def system(x):
        return damping * x + shear.transpose(weight * shear(x))

    x = _conjugate_gradients(system, right, shape[1], tolerance, iterations)
    return tf.signal.irfft2d(root * x, shape)


def _conjugate_gradients(system, right, columns, tolerance, iterations):
    """Solves system(x) = right, from x = 0, for half the modes of real maps, (..., rows, columns // 2 + 1)."""

    def dot(a, b):
        products = tf.math.real(tf.math.conj(a) * b)
        return tf.reduce_sum(tf.cast(multiplicity(columns), products.dtype) * products, [-2, -1], keepdims=True)

    limit = tolerance**2 * dot(right, right)

    def unfinished(x, residual, direction, square):
        return tf.reduce_any(square > limit)

    def step(x, residual, direction, square):
        image = system(direction)
        length = as_complex(tf.math.divide_no_nan(square, dot(direction, image)))
        x, residual = x + length * direction, residual - length * image
        new = dot(residual, residual)
        return x, residual, residual + as_complex(tf.math.divide_no_nan(new, square)) * direction, new

    state = (tf.zeros_like(right), right, right, dot(right, right))
    return tf.while_loop(unfinished, step, state, maximum_iterations=iterations)[0]


@tf.function(autograph=False)
def posterior_mean(shear: tf.Tensor, power: TensorLike, precision: TensorLike, **solver: Any) -> tf.Tensor:
    """The Wiener-filtered map (..., rows, columns); `solver` as of `solve`."""
    return solve(information(shear, precision), power, precision, **solver)


def prior_sample(power: tf.Tensor, shape: TensorLike, seed: TensorLike) -> tf.Tensor:
    """Maps of the prior, `shape` = (..., rows, columns); `seed` int32[2]."""
    white = tf.random.stateless_normal(shape, seed, dtype=power.dtype)
    return tf.signal.irfft2d(as_complex(tf.sqrt(power)) * tf.signal.rfft2d(white), white.shape[-2:])


@tf.function(autograph=False)
def posterior_sample(
    shear: tf.Tensor,
    power: TensorLike,
    precision: TensorLike,
    *,
    seed: TensorLike,
    rhs: TensorLike = 0.0,
    **solver: Any,
) -> tf.Tensor:
    """One sample of the posterior for each shear map of a batch, (..., rows, columns): a constrained realisation.

    kappa' + W (y - A kappa' - n') with kappa' and n' drawn from prior and noise, W the Wiener filter (Hoffman & Ribak
    1991). `seed` is int32[2], `rhs` (..., rows, columns) is added to the right-hand side, `solver` is as of `solve`.
    """
    power = tf.cast(power, shear.dtype)
    shear, weight = components_first(shear), components_first(tf.cast(precision, shear.dtype))
    shear_of = ShearOfModes(shear.shape[-2:], shear.dtype)
    of_prior, of_noise = tf.unstack(tf.random.split(seed, 2))
    kappa = prior_sample(power, tf.concat([tf.shape(shear)[:-3], shear.shape[-2:]], 0), of_prior)
    noise = tf.random.stateless_normal(tf.shape(shear), of_noise, dtype=shear.dtype)
    weighted = weight * (shear - shear_of(tf.signal.rfft2d(kappa))) - tf.sqrt(weight) * noise
    rhs += tf.signal.irfft2d(shear_of.transpose(weighted), shear_of.shape)
    return kappa + solve(rhs, power, precision, **solver)
