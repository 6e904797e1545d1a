"""Laplace approximation of a posterior with Gaussian likelihood and unit Gaussian prior."""

from collections.abc import Callable

import tensorflow as tf

__all__ = ["laplace"]


def _jacobian(residual, z, step=5e-3):
    """Residuals (batch, m) and their central-difference Jacobian (batch, dim, m); all points in one batch."""
    dim = z.shape[-1]
    shifts = step * tf.concat([tf.eye(dim), -tf.eye(dim)], axis=0)
    points = tf.reshape(z[:, None, :] + shifts[None], (-1, dim))
    values = tf.reshape(residual(points), (tf.shape(z)[0], 2, dim, -1))
    return (values[:, 0] - values[:, 1]) / (2 * step)


def laplace(residual: Callable[[tf.Tensor], tf.Tensor], z: tf.Tensor, iterations: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Most probable z and Gaussian approximation there, by Levenberg-Marquardt.

    Minimises |residual(z)|² / 2 + |z|² / 2 for every example at once. Steps that fail to lower it are undone and
    damped more; the covariance is the inverse of J J^T + 1.

    Args:
        residual: function (k * batch, dim) -> (k * batch, m), whitened residuals; consecutive groups of k points belong
            to the same example.
        z: starting points (batch, dim).
        iterations: number of steps tried.

    Returns:
        Mean (batch, dim) and scale_tril (batch, dim, dim).
    """
    dim = z.shape[-1]

    def objective(z, r):
        return 0.5 * tf.reduce_sum(r**2, -1) + 0.5 * tf.reduce_sum(z**2, -1)

    r = residual(z)
    best = objective(z, r)
    damping = tf.fill(tf.shape(best), 1e-2)
    for _ in range(iterations):
        jacobian = _jacobian(residual, z)
        hessian = tf.matmul(jacobian, jacobian, transpose_b=True) + tf.eye(dim)
        gradient = tf.linalg.matvec(jacobian, r) + z
        damped = hessian + tf.linalg.diag(damping[:, None] * tf.linalg.diag_part(hessian))
        trial = z - tf.linalg.cholesky_solve(tf.linalg.cholesky(damped), gradient[..., None])[..., 0]
        trial_r = residual(trial)
        value = objective(trial, trial_r)
        better = value < best
        z, r = tf.where(better[:, None], trial, z), tf.where(better[:, None], trial_r, r)
        best = tf.where(better, value, best)
        damping = tf.where(better, 0.2 * damping, tf.minimum(10 * damping, 1e6))
    jacobian = _jacobian(residual, z)
    precision = tf.matmul(jacobian, jacobian, transpose_b=True) + tf.eye(dim)
    # precision = L L^T, so covariance = L^-T L^-1: its lower Cholesky factor comes from the inverse itself
    covariance = tf.linalg.cholesky_solve(tf.linalg.cholesky(precision), tf.eye(dim, batch_shape=tf.shape(z)[:1]))
    return z, tf.linalg.cholesky(covariance)
