"""Values that lie far out of the bulk of their columns, as those of a simulation that ran away."""

import warnings

import numpy as np

__all__ = ["extreme", "far_out", "moved_in"]

_TAILS = 0.05  # share of a column beyond its bulk, on each side
_FAR = 20.0  # widths of the bulk beyond it
_FAR_IN_LOGARITHM = 3.0  # the same of logarithms, where the bulk is of one sign
_ROWS = 20_000  # are enough to know the bulk


def far_out(data: np.ndarray) -> np.ndarray:
    """Which values of `data` (n, dim) lie far out of the bulk of their columns; NaN and infinite ones do not.

    The bulk are the central 90%. Far is beyond it by 20 times its width, and, of columns of one sign, by 3 times its
    width in their logarithm, too. No draw of a normal, a log-normal or an exponential distribution lies there.
    """
    data = np.asarray(data, "float64")
    found = _beyond(data, _FAR)
    low, high = _bulk(data)
    sign = np.where(low > 0, 1.0, np.where(high < 0, -1.0, 0.0))
    if found.any() and sign.any():
        with np.errstate(divide="ignore", invalid="ignore"):
            found &= (sign == 0) | (data * sign <= 0) | _beyond(np.log(data * sign), _FAR_IN_LOGARITHM)
    return found


def extreme(data: np.ndarray) -> np.ndarray:
    """Which of `data` (n, ...) lie far out (n,): by a column of vectors, or by the mean size of an array's channel."""
    data = np.asarray(data)
    if data.ndim > 2:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of channels that are all NaN
            data = np.nanmean(np.abs(data), tuple(range(1, data.ndim - 1)), dtype="float64")
    return far_out(data).any(1)  # type: ignore[return-value]


def moved_in(data: np.ndarray, out: np.ndarray) -> np.ndarray:
    """`data` (n, dim), of which the values `out` (n, dim) count as the outermost of the others in their columns."""
    inner = np.where(out, np.nan, data)
    return np.clip(data, np.nanmin(inner, 0), np.nanmax(inner, 0))


def _bulk(data):
    rows = data[:: -(-len(data) // _ROWS)]
    rows = np.where(np.isfinite(rows), rows, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of columns that are all NaN
        # no value between two, as one of the two may be far out
        return [
            np.nanquantile(rows, q, axis=0, method=method) for q, method in ((_TAILS, "higher"), (1 - _TAILS, "lower"))
        ]


def _beyond(data, widths):
    low, high = _bulk(data)
    distance = np.maximum(low - data, data - high)
    return np.isfinite(data) & (high > low) & (distance > widths * (high - low))
