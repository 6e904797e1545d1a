"""Newton's step from an estimate along a score, and how far from its end the truth is."""

import itertools
from typing import Any

import keras
import numpy as np
from keras import ops

from deepcosmo._types import Tensor
from deepcosmo.models._precision import SinglePrecision
from deepcosmo.nn.transforms.power import Power, tempered

__all__ = ["NewtonStep", "NoStep", "from_noise", "to_noise"]

_ROUNDS = 3  # regressions of means and of variances in turn
_PENALTY = 30.0  # of coefficients of the logarithms of variances, in examples


@keras.saving.register_keras_serializable(package="deepcosmo")
class NewtonStep(SinglePrecision, keras.layers.Layer):
    """The normal distribution nearest to that of y, given an estimate e of it, a score s there and other numbers o.

    Newton's step from an estimate is linear in the score. What the score is to be multiplied with, and how far it is
    from zero on average where it is an approximation, differ from place to place; so do widths and correlations. Here
    they are polynomials of the estimate:

        y_j = e_j + b_j(e) + sum_k a_jk(e) s_k + sum_k c_jk(e) o_k + sum_{k < j} l_jk(e) r_k + exp(d_j(e) / 2) r_j

    with noise r, which `to_noise` finds, b and d of degree 3, a and l of degree 2, c of degree 1, and e, s and o on the
    right after power transformations of their columns. `adapt` fits them column after column, by regressions of y and
    of the squares of what these leave, in turn. Of two parameters it learns from 5,000 examples as much as a network
    from 20,000; where examples are sparse, as in the corners of a prior of six, polynomials go astray.

    Features (batch, 2 dim + others) are e, s and o side by side.

    Args:
        dim: length of y, of its estimate and of the score.
        others: how many other numbers there are.
    """

    def __init__(self, *, dim: int, others: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dim, self.others = dim, others
        self.estimate, self.rest = Power(dim=dim, name="estimate"), Power(dim=dim + others, name="rest")
        # products of 1 and the columns of the estimate, n at a time: all of degree n or less, 1 itself the first
        chosen = (itertools.combinations_with_replacement(range(dim + 1), n) for n in (1, 2, 3))
        self._products = [np.array(list(columns)) for columns in chosen]

    def build(self, input_shape: Any = None) -> None:
        def add(name, *shape):
            return self.add_weight(name=name, shape=shape, initializer="zeros", trainable=False)

        linear, square, cubic = map(len, self._products)
        for layer in (self.estimate, self.rest):
            layer.build()
        self.step = add("step", cubic + square * self.dim + linear * self.others, self.dim)
        self.correlation = add("correlation", square, self.dim, self.dim)
        self.log_variance = add("log_variance", cubic, self.dim)
        self.bounds = add("bounds", 2, self.dim)  # between which logarithms of variances were

    def adapt(self, y: np.ndarray, features: np.ndarray) -> None:
        """Fits to y (n, dim) and features (n, 2 dim + others)."""
        terms = self.step.shape[0]
        if len(y) <= terms:
            raise ValueError(f"{terms} coefficients of each mean cannot be fitted to {len(y)} examples")
        features = np.asarray(features, "float32")
        self.estimate.adapt(features[:, : self.dim])
        self.rest.adapt(features[:, self.dim :])
        polynomials, terms = self._terms(ops.convert_to_tensor(features))
        _, square, cubic = (ops.convert_to_numpy(v).astype("float64") for v in polynomials)
        terms, left = ops.convert_to_numpy(terms).astype("float64"), np.asarray(y, "float64") - features[:, : self.dim]
        fitted = self.step, self.correlation, self.log_variance, self.bounds
        step, correlation, log_variance, bounds = values = [np.zeros(weight.shape) for weight in fitted]
        noise = np.zeros_like(left)
        for j in range(self.dim):
            rows = np.concatenate([terms, *(square * noise[:, k, None] for k in range(j))], 1)
            variance = np.full(len(rows), left[:, j].var())
            for _ in range(_ROUNDS):
                coefficients = _regression(rows, left[:, j], 1 / variance)
                error = left[:, j] - rows @ coefficients
                log_variance[:, j] = _log_variance(cubic, error)
                variance = np.exp(cubic @ log_variance[:, j])
            step[:, j] = coefficients[: terms.shape[1]]
            correlation[:, j, :j] = coefficients[terms.shape[1] :].reshape(j, square.shape[1]).T
            bounds[:, j] = np.log(variance.min()), np.log(variance.max())
            noise[:, j] = error / np.sqrt(variance)
        for weight, value in zip(fitted, values, strict=True):
            weight.assign(value)

    def _terms(self, features):
        """Products of estimates (batch, n) of degree 1, 2 and 3, and what means are linear in (batch, m)."""
        e = tempered(self.estimate(features[:, : self.dim])[0])
        rest = ops.split(tempered(self.rest(features[:, self.dim :])[0]), self.dim + self.others, -1)
        columns = ops.concatenate([ops.ones_like(e[:, :1]), e], -1)
        products = [ops.prod(ops.take(columns, index, -1), -1) for index in self._products]
        linear, square, cubic = products
        scores, others = rest[: self.dim], rest[self.dim :]
        terms = ops.concatenate([cubic, *(square * s for s in scores), *(linear * o for o in others)], -1)
        return products, terms

    def call(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The normal distribution of y, and what its noise may still depend on.

        Returns:
            Means (batch, dim); roots of the covariance (batch, dim, dim), lower triangular; and the context (batch,
            2 dim + others): the estimate, the step in standard deviations, and others, all scaled.
        """
        (_, square, cubic), terms = self._terms(features)
        step = ops.matmul(terms, self.step)
        width = ops.exp(0.5 * ops.clip(ops.matmul(cubic, self.log_variance), self.bounds[0], self.bounds[1]))
        factor = ops.tensordot(square, self.correlation, 1) + width[:, :, None] * ops.eye(self.dim)
        e, others = self.estimate(features[:, : self.dim])[0], self.rest(features[:, self.dim :])[0][:, self.dim :]
        context = tempered(ops.concatenate([e, step / width, others], -1))
        return features[:, : self.dim] + step, factor, context

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dim": self.dim, "others": self.others}


class NoStep:
    """In place of `NewtonStep`, what leaves y as it is."""

    def __init__(self, *, dim: int) -> None:
        self.dim = dim

    def adapt(self, y: np.ndarray, features: np.ndarray) -> None:
        pass

    def __call__(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean = ops.zeros((*ops.shape(features)[:1], self.dim))
        return mean, ops.broadcast_to(ops.eye(self.dim), (*ops.shape(mean), self.dim)), features


def to_noise(y: Tensor, mean: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """y (..., batch, dim) -> noise (..., batch, dim), and log|det| of the map (batch,)."""
    noise = []
    for j in range(y.shape[-1]):
        left = y[..., j] - mean[:, j] - sum(factor[:, j, k] * r for k, r in enumerate(noise))
        noise.append(left / factor[:, j, j])
    return ops.stack(noise, -1), -ops.sum(ops.log(ops.diagonal(factor, axis1=-2, axis2=-1)), -1)


def from_noise(noise: Tensor, mean: Tensor, factor: Tensor) -> Tensor:
    """The inverse of `to_noise`."""
    return mean + ops.sum(factor * noise[..., None, :], -1)


def _regression(rows, y, weight):
    """Coefficients of a ridge regression on rows (n, m) whose first column is 1, with the penalty of generalised
    cross-validation (Golub, Heath & Wahba 1979, Technometrics 21, 215), from products of the columns alone."""
    weight = weight / weight.mean()
    mean, scale = np.average(rows, 0, weight), np.maximum(rows.std(0), 1e-9)
    mean[0], scale[0] = 0.0, 1.0
    middle = np.average(y, weights=weight)
    scaled, centred = (rows[:, 1:] - mean[1:]) / scale[1:], y - middle
    eigenvalues, vectors = np.linalg.eigh(scaled.T @ (weight[:, None] * scaled))
    along = vectors.T @ (scaled.T @ (weight * centred))

    def score(penalty):
        kept = along / (eigenvalues + penalty)
        left = weight @ centred**2 - 2 * kept @ along + eigenvalues @ kept**2
        return left / (len(y) - 1 - np.sum(eigenvalues / (eigenvalues + penalty))) ** 2

    penalty = min(np.logspace(-1, 4, 11), key=score)
    coefficients = np.concatenate([[0.0], vectors @ (along / (eigenvalues + penalty))]) / scale
    coefficients[0] = middle - mean[1:] @ coefficients[1:]
    return coefficients


def _log_variance(rows, error):
    """Coefficients of the logarithm of the variance of errors (n,) on rows (n, m) whose first column is 1: those of the
    largest posterior density, by Fisher's scoring."""
    mean, scale = rows.mean(0), np.maximum(rows.std(0), 1e-9)
    mean[0], scale[0] = 0.0, 1.0
    scaled, square = (rows - mean) / scale, np.square(error)
    penalty = np.full(rows.shape[1], _PENALTY)
    penalty[0] = 0.0
    found = np.zeros(rows.shape[1])
    found[0] = np.log(square.mean())
    information = 0.5 * scaled.T @ scaled + np.diag(penalty)
    for _ in range(50):
        # an outlier counts as what is 30 times the variance
        slope = 0.5 * scaled.T @ (np.minimum(square / np.exp(scaled @ found), 30.0) - 1.0) - penalty * found
        change = np.linalg.solve(information, slope)
        found += change
        if np.abs(change).max() < 1e-4:
            break
    found /= scale
    found[0] -= mean[1:] @ found[1:]
    return found
