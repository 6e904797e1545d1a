"""Invertible functions of one variable, whose parameters a network predicts.

Each is a pair of functions `(x, params)`: forward and inverse, both returning the value and the logarithm of
its derivative. `x` has any shape and `params` one more axis, the first: the parameters.
"""

from keras import ops

__all__ = ["affine", "affine_inverse", "spline", "spline_inverse"]

# Scales stay within a factor of 1000: enough for any data, and finite wherever a network strays.
_LOG_SCALE = 6.9
# The smallest bin (of a total of 1) and slope of a spline.
_SMALLEST = 1e-3


def _shift_and_log_scale(params):
    shift, s = params[0], params[1]
    return shift, s / (1.0 + ops.abs(s) / _LOG_SCALE)


def affine(x, params):
    """`x * exp(log_scale) + shift`; two parameters."""
    shift, log_scale = _shift_and_log_scale(params)
    return x * ops.exp(log_scale) + shift, log_scale


def affine_inverse(x, params):
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


def spline(x, params, bound=5.0):
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


def spline_inverse(y, params, bound=5.0):
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
