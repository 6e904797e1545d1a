"""Inference in two steps: a compressor is trained first, then an estimator on its summaries.

compress = train_compressor(network, theta, x, prior)
estimator = NLE(prior, compressor=compress).fit(theta, x)
"""

from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from deepcosmo._types import Prior
from deepcosmo.inference.sbi import simulations
from deepcosmo.inference.sbi.support import Support
from deepcosmo.inference.sbi.training import Training, copied, trained
from deepcosmo.models.densities.compressor import Compressor, PointEstimate
from deepcosmo.models.densities.prepared import PreparedDensity

if TYPE_CHECKING:
    import keras

__all__ = ["train_compressor"]

_NORMAL = {"density": "mdn", "options": {"components": 1}}
LOSSES = {
    "vmim": (PreparedDensity, {}),
    "mse": (PointEstimate, {"power": 2, **_NORMAL}),
    "mae": (PointEstimate, {"power": 1, **_NORMAL}),
    "gaussian": (PreparedDensity, _NORMAL),
}


def train_compressor(
    network: "keras.Model",
    theta: ArrayLike,
    x: ArrayLike,
    prior: Prior,
    *,
    loss: str = "vmim",
    seed: int = 0,
    invalid: str = "raise",
    **settings: Any,
) -> Compressor:
    """A Keras model from data to summaries, trained for one of these losses, which Lanzieri et al. 2024
    (arXiv:2407.10877) compare:

    - "vmim": variational mutual information maximisation (Jeffrey, Alsing & Lanusse 2021, arXiv:2009.08459). Summaries
      are the outputs of `network`, trained along with a flow of the parameters given them: as many as they are, they
      keep all that can be kept on the parameters, and are sufficient if they are enough. `compressor=` of NPE does the
      same in one step.
    - "mse", "mae": squared and absolute errors. Summaries are the mean, or the median, of each parameter's posterior.
      Different posteriors may have the same, so they are sufficient in special cases only, such as linear models.
    - "gaussian": negative log-likelihood of a normal distribution of mean and full covariance, the summaries being its
      mean: that of the posterior, as for "mse", from errors that count in units of their own covariance.

    Args:
        network: Keras model from data (batch, ...) to features (batch, n); for all but "vmim" a small network makes the
            estimates of them. It stays as it is: a copy is trained.
        theta, x, prior, invalid: as of `Estimator.fit`. With gaps, `network` must take twice the channels, or columns:
            the second half tells where something was measured.
        loss: "vmim", "mse", "mae" or "gaussian".
        seed: int; same seed, same compressor.
        settings: fields of `Training`.

    Returns:
        A model from x, as it is, to summaries: n of them, or one for each parameter, in its units. It is no longer
        trainable, and estimators take it as `compressor`.

    Raises:
        ValueError: as `Estimator.fit`, or an unknown loss.
    """
    if loss not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}; got {loss!r}")
    settings = Training(**settings)
    support = Support(prior)
    given = simulations.checked(theta, x, support, invalid)
    simulations.warn_if_not_of(support.prior, given["theta"])
    cls, arguments = LOSSES[loss]
    form = simulations.Form.of(given["x"]).without_offset()
    x = form.centred(given["x"])
    y = support.unconstrained(given["theta"]) if loss == "vmim" else given["theta"].astype("float32")

    def make():
        return cls(dim=support.dim, x_shape=form.shape, compressor=copied(network), gaps=form.gaps, **arguments)

    density, _ = trained(make, x, y, settings=settings, seed=seed)
    return Compressor(density=density, means=loss != "vmim")
