"""Simulations as they are given: checked before they train anything."""

import warnings

import numpy as np
import scipy.stats

__all__ = ["checked", "warn_if_not_of"]

INVALID = ("raise", "drop", "gaps")


def checked(theta, x, prior, invalid, scores=None, joint_ratios=None):
    """Parameters (n, dim), data (n, ...), scores and joint ratios, if given, as float32 arrays that can be trained on.

    Args:
        theta, x, scores: parameters, data and scores (n, dim), in the same order.
        joint_ratios: other parameters (n, k, dim) and logarithms (n, k); they come back as one array (n, k (dim + 1)).
        prior: distribution that all parameters must be possible under.
        invalid: what to do with simulations that hold NaN or infinite values: "raise", "drop" (they are counted in a
            warning; posteriors are then those among simulations that succeed) or "gaps" (NaN means: not measured).

    Raises:
        ValueError: shapes that disagree, NaN or infinite values, parameters outside of the prior.
    """
    if invalid not in INVALID:
        raise ValueError(f"invalid must be one of {', '.join(INVALID)}; got {invalid!r}")
    theta, x = np.asarray(theta, "float32"), np.asarray(x, "float32")
    dim = int(prior.event_shape[0])
    if theta.ndim != 2 or theta.shape[1] != dim:
        raise ValueError(f"theta must have shape (n, {dim}), as the prior has; got {theta.shape}")
    if len(theta) != len(x):
        raise ValueError(f"theta and x must be of one length; got {len(theta)} parameters and {len(x)} data")
    if scores is not None:
        scores = np.asarray(scores, "float32")
        if scores.shape != theta.shape:
            raise ValueError(f"scores must have the shape {theta.shape} of theta; got {scores.shape}")
    if joint_ratios is not None:
        others, logarithms = (np.asarray(v, "float32") for v in joint_ratios)
        if others.ndim != 3 or others.shape[::2] != theta.shape or logarithms.shape != others.shape[:2]:
            raise ValueError(f"joint_ratios must be other parameters ({len(theta)}, k, {dim}) and logarithms "
                             f"({len(theta)}, k); got {others.shape} and {logarithms.shape}")
        joint_ratios = np.concatenate([others.reshape(len(others), -1), logarithms], -1)
    if x.ndim < 2:
        raise ValueError(f"x must have shape (n, ...), a row or an array for each simulation; got {x.shape}")
    if len(x) < 20:
        raise ValueError(f"{len(x)} simulations are too few to train on and to validate with; give at least 20")
    values = x.reshape(len(x), -1)
    bad = ~np.isfinite(theta).all(1) | np.isinf(values).any(1)
    bad |= False if scores is None else ~np.isfinite(scores).all(1)
    if joint_ratios is not None:  # what other parameters cannot have made has the logarithm -inf
        bad |= ~np.isfinite(others).all((1, 2)) | ~(logarithms < np.inf).all(1)
    bad |= np.isnan(values).all(1) if invalid == "gaps" else np.isnan(values).any(1)
    if bad.any():
        message = f"{bad.sum()} of {len(x)} simulations hold NaN or infinite values"
        if invalid == "raise":
            raise ValueError(f"{message}, the first is number {bad.argmax()}: mend the simulator, or pass "
                             'invalid="drop" to leave them out, or invalid="gaps" if NaN means "not measured"')
        warnings.warn(f"{message} and are left out: posteriors are those among simulations that succeed", stacklevel=4)
        theta, x, scores, joint_ratios = (v if v is None else v[~bad] for v in (theta, x, scores, joint_ratios))
        if len(x) < 20:
            raise ValueError(f"only {len(x)} simulations are left")
    used = theta if joint_ratios is None else np.concatenate([theta, others[~bad].reshape(-1, dim)])
    outside = ~np.isfinite(prior.log_prob(used).numpy())
    if outside.any():
        first = used[outside.argmax()]
        raise ValueError(f"{outside.sum()} of {len(used)} parameters are impossible under the prior, such as {first}: "
                         "pass the prior that they were drawn from")
    return theta, x, scores, joint_ratios


def warn_if_not_of(prior, theta):
    """Warns if parameters (n, dim) are hardly draws of the prior (Kolmogorov-Smirnov test of each column)."""
    drawn = prior.sample(10_000, seed=[0, 0]).numpy()
    p_values = np.array([scipy.stats.ks_2samp(a, b).pvalue for a, b in zip(theta.T, drawn.T, strict=True)])
    if p_values.min() * len(p_values) < 1e-6:
        column, p_value = p_values.argmin(), p_values.min()
        warnings.warn(f"column {column} of theta is not distributed as the prior is (p = {p_value:.1g}): the posterior "
                      "will be that under the distribution which theta comes from", stacklevel=4)
