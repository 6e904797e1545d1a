"""Invertible functions of one variable, whose parameters a network predicts.

Each is a pair of functions `(x, params)`: forward and inverse, both returning the value and the logarithm of
its derivative. `x` has any shape and `params` one more axis, the first: the parameters.
"""

import numpy as np
from keras import ops

from deepcosmo._types import Tensor

__all__ = ["affine", "affine_inverse", "mixture", "mixture_inverse", "mixture_log_prob", "spline", "spline_inverse"]

# Scales stay within a factor of 1000: enough for any data, and finite wherever a network strays.
_LOG_SCALE = 6.9
# The smallest bin (of a total of 1) and slope of a spline.
_SMALLEST = 1e-3
# Normal scores of a mixture lie within this: its tails beyond have a probability of 6e-7.
_REACH = 5.0


def _shift_and_log_scale(params):
    shift, s = params[0], params[1]
    return shift, s / (1.0 + ops.abs(s) / _LOG_SCALE)


def affine(x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
    """`x * exp(log_scale) + shift`; two parameters."""
    shift, log_scale = _shift_and_log_scale(params)
    return x * ops.exp(log_scale) + shift, log_scale


def affine_inverse(x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse of `affine`."""
    shift, log_scale = _shift_and_log_scale(params)
    return (x - shift) * ops.exp(-log_scale), -log_scale


def _bin(x, params, bound, by_height):
    """The bin of `x` among the widths (or heights): left, width, bottom, height, slopes at both ends."""
    bins = (params.shape[0] + 1) // 3
    sizes, lefts = [], []
    for raw in (params[:bins], params[bins : 2 * bins]):
        size = 2 * bound * (_SMALLEST + (1 - bins * _SMALLEST) * ops.softmax(raw, axis=0))
        sizes.append(size)
        lefts.append(ops.cumsum(size, axis=0) - size - bound)
    # The constant makes raw slopes of zero slopes of one, those of the tails.
    slopes = _SMALLEST + ops.softplus(params[2 * bins :] + 0.5407)
    one = ops.ones_like(slopes[:1])
    above = ops.cast(x >= lefts[by_height], x.dtype)
    chosen = above - ops.concatenate([above[1:], 0 * one], axis=0)
    candidates = lefts[0], sizes[0], lefts[1], sizes[1]
    candidates += ops.concatenate([one, slopes], axis=0), ops.concatenate([slopes, one], axis=0)
    return [ops.sum(chosen * candidate, axis=0) for candidate in candidates]


def _log_slope(t, slope, low, high):
    """Logarithm of the spline's derivative at the fraction `t` of a bin of mean slope `slope`."""
    u = t * (1 - t)
    numerator = high * t * t + 2 * slope * u + low * (1 - t) * (1 - t)
    return 2 * ops.log(slope) + ops.log(numerator) - 2 * ops.log(slope + (low + high - 2 * slope) * u)


def spline(x: Tensor, params: Tensor, bound: float = 5.0) -> tuple[Tensor, Tensor]:
    """Monotonic rational-quadratic spline on [-bound, bound], the identity outside.

    Durkan et al. 2019, arXiv:1906.04032. The parameters are, for K bins, K unnormalised logarithms of widths,
    K of heights and K - 1 of slopes at the inner knots (softplus).
    """
    clipped = ops.clip(x, -bound, bound)
    left, width, bottom, height, low, high = _bin(clipped, params, bound, by_height=False)
    t, slope = (clipped - left) / width, height / width
    u = t * (1 - t)
    y = bottom + height * (slope * t * t + low * u) / (slope + (low + high - 2 * slope) * u)
    inside = ops.abs(x) < bound
    return ops.where(inside, y, x), ops.where(inside, _log_slope(t, slope, low, high), 0.0)


def spline_inverse(y: Tensor, params: Tensor, bound: float = 5.0) -> tuple[Tensor, Tensor]:
    """Inverse of `spline`."""
    clipped = ops.clip(y, -bound, bound)
    left, width, bottom, height, low, high = _bin(clipped, params, bound, by_height=True)
    slope, v = height / width, (clipped - bottom) / height
    curvature = v * (low + high - 2 * slope)
    # Root of a t^2 + b t + c, in the form that does not cancel.
    a, b, c = slope - low + curvature, low - curvature, -slope * v
    root = ops.sqrt(ops.maximum(b * b - 4 * a * c, 1e-12))
    t = ops.clip(-2 * c / (b + root), 0.0, 1.0)
    inside = ops.abs(y) < bound
    return ops.where(inside, left + t * width, y), ops.where(inside, -_log_slope(t, slope, low, high), 0.0)


def _components(params):
    """Logarithms of the weights, means and logarithms of the widths of a mixture; at first nearly a standard normal."""
    count = params.shape[0] // 3
    shape = (count, *[1] * (len(params.shape) - 1))
    spread = np.linspace(-0.9, 0.9, count).reshape(shape).astype("float32") if count > 1 else 0.0
    logits, means, s = params[:count], params[count : 2 * count] + spread, params[2 * count :]
    return logits - ops.logsumexp(logits, axis=0, keepdims=True), means, s / (1.0 + ops.abs(s) / _LOG_SCALE) - 0.18


def _score(x, log_weights, means, log_widths):
    """The normal score of x: what has as much of a standard normal distribution below as x has of the mixture."""
    t = (x - means) * ops.exp(-log_widths)
    # 2 P(below) - 1, which is accurate on both sides
    balance = ops.sum(ops.exp(log_weights) * ops.erf(t / 2**0.5), axis=0)
    largest = 1.0 - 6e-7
    return ops.clip(2**0.5 * ops.erfinv(ops.clip(balance, -largest, largest)), -_REACH, _REACH)


def mixture(x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
    """Normal score of x in a mixture of K normal distributions: 3 K parameters (logits, means, log-widths).

    A normal distribution of the result is the mixture (Ho et al. 2019, arXiv:1902.00275, with logistic ones). The
    logarithm of the slope, added to the logarithm of the normal density of the result, is exact in the tails too.
    """
    log_weights, means, log_widths = _components(params)
    z = _score(x, log_weights, means, log_widths)
    return z, mixture_log_prob(x, params) + 0.5 * (ops.square(z) + np.log(2 * np.pi))


def mixture_log_prob(x: Tensor, params: Tensor) -> Tensor:
    """Logarithm of the density of the mixture at x; parameters as of `mixture`."""
    log_weights, means, log_widths = _components(params)
    exponent = log_weights - log_widths - 0.5 * ops.square((x - means) * ops.exp(-log_widths))
    return ops.logsumexp(exponent, axis=0) - 0.5 * np.log(2 * np.pi)


def mixture_inverse(z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse of `mixture`, by bisection."""
    log_weights, means, log_widths = _components(params)
    z = ops.clip(z, -_REACH, _REACH)
    reach = (_REACH + 1.0) * ops.exp(log_widths)
    low, high = ops.min(means - reach, axis=0), ops.max(means + reach, axis=0)

    def halve(_, ends):
        low, high = ends
        middle = 0.5 * (low + high)
        above = _score(middle, log_weights, means, log_widths) > z
        return ops.where(above, low, middle), ops.where(above, middle, high)

    low, high = ops.fori_loop(0, 32, halve, (low, high))
    x = 0.5 * (low + high)
    return x, -mixture(x, params)[1]
