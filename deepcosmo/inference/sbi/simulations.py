"""Simulations and observations as they are given: checked before they train, or are shown to, anything."""

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

from deepcosmo._quantities import masked
from deepcosmo._warnings import warn
from deepcosmo.inference.sbi.support import offsets
from deepcosmo.nn.transforms.outliers import extreme, far_out, moved_in

if TYPE_CHECKING:
    import tensorflow_probability as tfp

    from deepcosmo.inference.sbi.support import Support

__all__ = ["Form", "checked", "floats", "warn_if_not_of"]

INVALID = ("raise", "drop", "gaps")
ROWS = 1000  # are enough to know the offset of arrays


def floats(values: Any) -> np.ndarray:
    """An array of float32 or float64 of anything like an array, NaN where it is masked."""
    mask, values = masked(values), np.ma.asanyarray(getattr(values, "unmasked", values))
    if values.dtype not in (np.float32, np.float64):
        values = values.astype("float64")
    values = values.filled(np.nan)
    return np.where(mask, np.nan, values) if mask.any() else values


@dataclasses.dataclass(frozen=True)
class Form:
    """What data of an estimator look like.

    Attributes:
        shape: of one of them.
        gaps: whether NaN means that nothing was measured.
        origin: what is subtracted of columns or channels (n,), float64, before they become float32.
    """

    shape: tuple
    gaps: bool
    origin: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray) -> "Form":
        """That of checked simulations (n, ...)."""
        rows = x if x.ndim == 2 else x[:: -(-len(x) // ROWS)].reshape(-1, x.shape[-1])
        return cls(shape=x.shape[1:], gaps=bool(np.isnan(x).any()), origin=offsets(rows))

    def without_offset(self) -> "Form":
        """The same for networks that take data as they are; warns if float32 is too coarse for these."""
        if self.origin.any():
            warn(
                "float32, which the compressor takes, is too coarse for x: subtract "
                f"{np.array2string(self.origin, threshold=5)} from its last axis first"
            )
        return dataclasses.replace(self, origin=np.zeros_like(self.origin))

    def several(self, x: ArrayLike) -> np.ndarray:
        """Data (m, ...) as networks see them, float32.

        Raises:
            ValueError: another shape, or NaN or infinite values where simulations had none.
        """
        x = floats(x)
        if x.shape[1:] != self.shape:
            raise ValueError(f"data must have the shape (m, {', '.join(map(str, self.shape))}); got {x.shape}")
        x = self.centred(x)
        bad = self._unlike(x)
        if bad.any():
            raise ValueError(f"{bad.sum()} of {len(x)} data hold NaN or infinite values, and the simulations did not")
        return x

    def one(self, x: ArrayLike) -> np.ndarray:
        """One observation (1, ...), as `several` has them."""
        x = floats(x)
        if x.shape == (1, *self.shape):
            x = x[0]
        if x.shape != self.shape:
            raise ValueError(f"the observation must have the shape {self.shape} of a simulation; got {x.shape}")
        x = self.centred(x[None])
        if self._unlike(x).any():
            raise ValueError("the observation holds NaN or infinite values, and the simulations did not")
        return x

    def centred(self, x: np.ndarray) -> np.ndarray:
        """Data (n, ...) without the offset, float32."""
        return _float32(x - self.origin if self.origin.any() else x)

    def _unlike(self, x):
        """Which data (m, ...) hold values (m,) that no simulation can have held."""
        values = x.reshape(len(x), int(np.prod(self.shape)))
        return np.isinf(values).any(1) | (np.isnan(values).any(1) & (not self.gaps))


def checked(
    theta: ArrayLike,
    x: ArrayLike,
    support: "Support",
    invalid: str,
    scores: ArrayLike | None = None,
    joint_ratios: tuple[ArrayLike, ArrayLike] | None = None,
) -> dict[str, np.ndarray]:
    """Parameters (n, dim), data (n, ...), scores and joint ratios, if given, as arrays that can be trained on.

    Parameters and scores that lie far out count as the outermost of the others, arrays that do so are left out, vectors
    stay, as their features are bounded by logarithms. Warnings count them all.

    Args:
        theta, x, scores: parameters, data and scores (n, dim), in the same order. Masked values count as NaN.
        joint_ratios: other parameters (n, k, dim) and logarithms (n, k).
        support: `Support` of the prior that all parameters must be possible under.
        invalid: what to do with simulations that hold NaN or infinite values: "raise", "drop" (they are counted in a
            warning; posteriors are then those among simulations that succeed) or "gaps" (NaN means: not measured).

    Raises:
        ValueError: shapes that disagree, NaN or infinite values, parameters outside of the prior.
    """
    if invalid not in INVALID:
        raise ValueError(f"invalid must be one of {', '.join(INVALID)}; got {invalid!r}")
    theta, x, dim = floats(theta), floats(x), support.dim
    if theta.ndim != 2 or theta.shape[1] != dim:
        raise ValueError(f"theta must have shape (n, {dim}), as the prior has; got {theta.shape}")
    if x.ndim < 2:
        raise ValueError(f"x must have shape (n, ...), a row or an array for each simulation; got {x.shape}")
    if len(theta) != len(x):
        raise ValueError(f"theta and x must be of one length; got {len(theta)} parameters and {len(x)} data")
    given = {"theta": theta.astype(support.dtype), "x": x}
    if scores is not None:
        given["scores"] = _float32(floats(scores))
        if given["scores"].shape != theta.shape:
            raise ValueError(f"scores must have the shape {theta.shape} of theta; got {given['scores'].shape}")
    if joint_ratios is not None:
        others, logarithms = map(floats, joint_ratios)
        if others.ndim != 3 or others.shape[::2] != theta.shape or logarithms.shape != others.shape[:2]:
            raise ValueError(
                f"joint_ratios must be other parameters ({len(theta)}, k, {dim}) and logarithms "
                f"({len(theta)}, k); got {others.shape} and {logarithms.shape}"
            )
        given |= {"others": others.astype(support.dtype), "log_joint": _float32(logarithms)}
    if len(x) < 20:
        raise ValueError(f"{len(x)} simulations are too few to train on and to validate with; give at least 20")
    bad = _bad(invalid, **given)
    if bad.any():
        message = f"{bad.sum()} of {len(x)} simulations hold NaN or infinite values"
        if invalid == "raise":
            raise ValueError(
                f"{message}, the first is number {bad.argmax()}: mend the simulator, or pass "
                'invalid="drop" to leave them out, or invalid="gaps" if NaN means "not measured"'
            )
        warn(f"{message} and are left out: posteriors are those among simulations that succeed")
        given = {name: value[~bad] for name, value in given.items()}
        if len(given["x"]) < 20:
            raise ValueError(f"only {len(given['x'])} simulations are left")
    _check_possible(support.prior, *(given[name].reshape(-1, dim) for name in ("theta", "others") if name in given))
    far = extreme(given["x"])
    if x.ndim == 2:
        _warn_of_extremes("data", far, "scales are measured without them")
    else:  # which may be anything for a compressor
        _warn_of_extremes("data", far, "they are left out, so that the posterior is that among the others")
        given = {name: value[~far] for name, value in given.items()}
    for name, words in (("theta", "parameters"), ("scores", "scores")):
        if name in given:
            far = far_out(given[name])
            _warn_of_extremes(words, far.any(1), "they count as the outermost of the others")
            given[name] = moved_in(given[name], far)
    return given


def _float32(values):
    with np.errstate(over="ignore"):  # what is too large for it is infinite
        return values.astype("float32", copy=False)


def _bad(invalid, *, x, theta, scores=None, others=None, log_joint=None):
    """Which simulations (n,) cannot be trained on."""
    values = _float32(x.reshape(len(x), -1))
    bad = ~np.isfinite(theta).all(1) | np.isinf(values).any(1)
    bad |= np.isnan(values).all(1) if invalid == "gaps" else np.isnan(values).any(1)
    if scores is not None:
        bad |= ~np.isfinite(scores).all(1)
    if others is not None:  # what other parameters cannot have made has the logarithm -inf
        bad |= ~np.isfinite(others).all((1, 2)) | ~(log_joint < np.inf).all(1)
    return bad


def _check_possible(prior, *parameters):
    used = np.concatenate(parameters)
    outside = ~np.isfinite(prior.log_prob(used).numpy())
    if outside.any():
        first = used[outside.argmax()]
        raise ValueError(
            f"{outside.sum()} of {len(used)} parameters are impossible under the prior, such as {first}: "
            "pass the prior that they were drawn from"
        )


def _warn_of_extremes(what, which, consequence):
    if which.any():
        warn(
            f"{what} of {which.sum()} of {len(which)} simulations are extreme, first those of number "
            f"{which.argmax()}: they lie far from the bulk of all, and {consequence}. Leave them out if they "
            "are mistakes"
        )


def warn_if_not_of(prior: "tfp.distributions.Distribution", theta: np.ndarray) -> None:
    """Warns if parameters (n, dim) are hardly draws of the prior (Kolmogorov-Smirnov test of each column)."""
    drawn = prior.sample(10_000, seed=[0, 0]).numpy()
    p_values = np.array([scipy.stats.ks_2samp(a, b).pvalue for a, b in zip(theta.T, drawn.T, strict=True)])
    if p_values.min() * len(p_values) < 1e-6:
        column, p_value = p_values.argmin(), p_values.min()
        warn(
            f"column {column} of theta is not distributed as the prior is (p = {p_value:.1g}): the posterior "
            "will be that under the distribution which theta comes from"
        )
