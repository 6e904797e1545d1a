"""The joint density of the columns of a galaxy catalogue."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from numpy.typing import ArrayLike

from deepcosmo._seeds import stateless_seed
from deepcosmo._types import Endpoints, Seed
from deepcosmo.models.base import ProbabilisticModel, draws
from deepcosmo.models.densities.flows import NSF
from deepcosmo.nn.resnet import MLP
from deepcosmo.nn.transforms.gaussianise import Gaussianise

__all__ = ["CatalogFlow"]

_RIGHT_ANGLE = np.pi / 2
# name -> (whether the logarithm is modelled, lower limit, upper limit). Limits are those of the catalogue:
# selection at F814W = 25.2, fits with n in [0.3, 6] in steps of 0.05, q >= 0.05, half-light radii of
# 0.01 to 10 arcsec.
_GALAXY = {
    "mag_auto": (False, 12.0, 25.201),
    "flux_radius": (True, 1.5, 200.0),
    "zphot": (True, 3e-3, 10.0),
    "excess": (False, -1.5, 1.5),
    "n": (False, 0.2749, 6.0251),  # half a step beyond either end
    "hlr": (True, 0.01, 10.0),
    "q": (False, 0.0499, 1.0),
}
_BULGE = {
    "bulge_fraction": (False, 0.1, 0.91),
    "bulge_hlr": (True, 0.01, 10.0),
    "bulge_q": (False, 0.05, 1.0),
    "disk_hlr": (True, 0.01, 10.0),
    "disk_q": (False, 0.05, 1.0),
    "bulge_angle": (False, -_RIGHT_ANGLE, _RIGHT_ANGLE),
    "sersic_angle": (False, -_RIGHT_ANGLE, _RIGHT_ANGLE),
}
_STEPS = 20  # of the Sérsic index in an interval of 1


@keras.saving.register_keras_serializable(package="deepcosmo")
class CatalogFlow(ProbabilisticModel):
    """Joint density of magnitude, size, redshift and shape of galaxies: all that it takes to draw them.

    With g = (mag_auto, flux_radius, zphot, flux, n, hlr, q) and b the parameters of bulge and disc,

        p = p(g) P(use_bulge | g) p(b | g)^use_bulge / pi,

    the last factor for the orientation, which is uniform. p(g) and p(b | g) are autoregressive neural spline
    flows on columns whose limits a logit has removed and whose own distributions are normal scores; the rest is
    a small classifier. Position angles enter relative to the disc's. `n` comes in steps of 0.05 with piles at
    both limits: it is modelled as continuous, each value spread evenly over its step.

    Catalogues are dicts of (n,) arrays with the names of `columns` (units: `units`); after `adapt(catalogue)`, `fit`
    trains on batches of `dequantise(catalogue, seed=...)`, with another seed for each batch.

    Args:
      transforms: Number of transformations of each flow.
      hidden: Widths of the hidden layers of all networks.
      zero_point: AB magnitude of a flux of 1.
    """

    columns = (
        *("mag_auto", "flux_radius", "zphot", "use_bulge", "flux", "n", "hlr", "q", "phi", "bulge_fraction"),
        *("bulge_hlr", "bulge_q", "bulge_phi", "disk_hlr", "disk_q", "disk_phi"),
    )
    pictured = ("mag_auto", "flux_radius", "zphot", "n", "hlr", "q")  # what every galaxy has
    units = {
        **{"mag_auto": "mag", "flux_radius": "pix", "flux": "ct/s"},
        **{name: "arcsec" for name in ("hlr", "bulge_hlr", "disk_hlr")},
        **{name: "rad" for name in ("phi", "bulge_phi", "disk_phi")},
    }

    def __init__(
        self, *, transforms: int = 3, hidden: Sequence[int] = (128, 128), zero_point: float = 25.94, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.hidden, self.transforms, self.zero_point = tuple(hidden), transforms, zero_point
        flow: dict[str, Any] = {"kind": "autoregressive", "transforms": transforms, "hidden": self.hidden}
        self.galaxy = NSF(dim=len(_GALAXY), name="galaxy", **flow)
        self.bulge = NSF(dim=len(_BULGE), context_dim=len(_GALAXY), name="bulge", **flow)
        self.classifier = MLP(inputs=len(_GALAXY), outputs=1, hidden=self.hidden, name="classifier")
        self.galaxy_scores = Gaussianise(dim=len(_GALAXY), name="galaxy_scores")
        self.bulge_scores = Gaussianise(dim=len(_BULGE), name="bulge_scores")
        for layer in (self.classifier, self.galaxy_scores, self.bulge_scores):
            layer.build()
        self.built = True

    def adapt(self, catalogue: Mapping[str, ArrayLike]) -> None:
        """Measures the distribution of each column."""
        catalogue = self.dequantise(catalogue, seed=0)
        free, _ = _unlimited(_galaxy_columns(catalogue, self.zero_point), _GALAXY)
        self.galaxy_scores.adapt(free)
        free, _ = _unlimited(_bulge_columns(catalogue), _BULGE)
        self.bulge_scores.adapt(np.asarray(free)[np.asarray(catalogue["use_bulge"], bool)])

    @staticmethod
    def dequantise(catalogue: Mapping[str, ArrayLike], *, seed: Seed) -> dict[str, Any]:
        """The catalogue with each Sérsic index spread over its step of 0.05."""
        n = tf.cast(catalogue["n"], tf.float32)
        shift = tf.random.stateless_uniform(tf.shape(n), stateless_seed(seed)) - 0.5
        return {**catalogue, "n": n + shift / _STEPS}

    def call(self, x: dict[str, tf.Tensor]) -> tuple[tf.Tensor, ...]:
        """Normal scores of galaxy and bulge, whether there is one, and the log-derivatives of the scores."""
        free, change = _unlimited(_galaxy_columns(x, self.zero_point), _GALAXY)
        galaxy, slope = self.galaxy_scores(free)
        # Derivative of the magnitude of the flux, and the density of the orientation.
        flux = tf.math.log(tf.cast(x["flux"], tf.float32) * np.log(10) / 2.5)
        change = change + ops.sum(slope, -1) - flux - np.log(np.pi)
        free, bulge_change = _unlimited(_bulge_columns(x), _BULGE)
        bulge, slope = self.bulge_scores(free)
        return galaxy, change, bulge, bulge_change + ops.sum(slope, -1), tf.cast(x["use_bulge"], tf.float32)

    def loss_per_example(self, x: Any, y: Any, y_pred: Any) -> tf.Tensor:
        return -self._log_prob(*y_pred)

    def log_prob(self, catalogue: Mapping[str, ArrayLike]) -> tf.Tensor:
        """log-density of each galaxy, (n,), in nats per unit of every column (`n` taken as continuous)."""
        return self._log_prob(*self(self._checked(catalogue)))

    def _log_prob(self, galaxy, change, bulge, bulge_change, use_bulge):
        logit = self.classifier(galaxy)[:, 0]
        log_prob = self.galaxy.log_prob(galaxy) + change
        log_prob = log_prob - ops.where(use_bulge > 0.5, ops.softplus(-logit), ops.softplus(logit))
        with_bulge = self.bulge.log_prob(bulge, galaxy) + bulge_change
        return log_prob + ops.where(use_bulge > 0.5, with_bulge, 0.0)

    def sample(self, n: int | Sequence[int] = (), *, seed: Seed) -> dict[str, tf.Tensor]:
        """Draws `n` galaxies; see `ProbabilisticModel.sample`.

        Args:
          n: Number of galaxies; () for one, whose columns are numbers.
          seed: int or int32[2]. Same seed, same galaxies.

        Returns:
          Dict of (n,) arrays: `use_bulge` is bool, everything else float32. Bulge and disc are 0 without one.
        """
        shape = draws(n)
        columns = self._sample(tf.reduce_prod(shape), seed)
        return {name: tf.reshape(value, shape) for name, value in columns.items()}

    def _sample(self, n, seed):
        seeds = tf.unstack(tf.random.split(stateless_seed(seed), 4))
        scores = self.galaxy.sample(n, seed=seeds[0])
        out = _limited(self.galaxy_scores.invert(scores), _GALAXY)
        out["flux"] = 10.0 ** (0.4 * (self.zero_point - out["mag_auto"] + out.pop("excess")))
        # Divided, not multiplied by 0.05: so the values are the catalogue's to the last bit.
        out["n"] = tf.clip_by_value(tf.round(out["n"] * _STEPS), 0.3 * _STEPS, 6 * _STEPS) / _STEPS
        chance = tf.random.stateless_uniform((n,), seeds[1])
        out["use_bulge"] = use = chance < tf.sigmoid(self.classifier(scores)[:, 0])
        bulge = _limited(self.bulge_scores.invert(self.bulge.sample((), scores, seed=seeds[2])), _BULGE)
        phi = np.pi * (tf.random.stateless_uniform((n,), seeds[3]) - 0.5)
        bulge["disk_phi"], bulge["bulge_phi"] = phi, _wrap(phi + bulge.pop("bulge_angle"))
        out["phi"] = tf.where(use, _wrap(phi + bulge.pop("sersic_angle")), phi)
        out |= {name: tf.where(use, value, 0.0) for name, value in bulge.items()}
        return {name: out[name] for name in self.columns}

    def draw(self, number: int, *, seed: Seed) -> dict[str, np.ndarray]:
        """As `sample`, NumPy arrays."""
        return {name: value.numpy() for name, value in self.sample(number, seed=seed).items()}

    def endpoints(self) -> Endpoints:
        def log_prob(catalogue):
            columns = dict(zip(self.columns, tf.unstack(catalogue, axis=-1), strict=True))
            return {"log_prob": self.log_prob(columns)}

        # One matrix, its columns in the order of `columns`.
        of_matrix = log_prob, [tf.TensorSpec((None, len(self.columns)), tf.float32, name="catalogue")]
        n, seed = tf.TensorSpec((), tf.int32, name="n"), tf.TensorSpec((2,), tf.int32, name="seed")
        sample = lambda n, seed: self.sample(n, seed=seed), [n, seed]  # noqa: E731
        return {"log_prob": of_matrix, "sample": sample, "serving_default": sample}

    def _checked(self, catalogue):
        missing = [name for name in self.columns if name not in catalogue]
        if missing:
            raise ValueError(f"the catalogue lacks the columns {', '.join(missing)}")
        shapes = {tuple(catalogue[name].shape) for name in self.columns}
        if len(shapes) > 1 or len(shapes.pop()) != 1:
            raise ValueError("the columns of a catalogue must be arrays (n,) of the same length")
        return catalogue

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "transforms": self.transforms,
            "hidden": self.hidden,
            "zero_point": self.zero_point,
        }


def _galaxy_columns(catalogue, zero_point):
    """The modelled columns of all galaxies; `excess`: `mag_auto` less the magnitude of the flux."""
    columns = {name: tf.cast(catalogue[name], tf.float32) for name in _GALAXY if name != "excess"}
    flux = tf.cast(catalogue["flux"], tf.float32)
    excess = columns["mag_auto"] - zero_point + 2.5 / np.log(10) * tf.math.log(flux)
    return {name: columns.get(name, excess) for name in _GALAXY}


def _bulge_columns(catalogue):
    """The modelled columns of galaxies with a bulge; of others, arbitrary numbers within the limits."""
    use = tf.cast(catalogue["use_bulge"], tf.bool)
    columns = {name: tf.cast(catalogue[name], tf.float32) for name in _BULGE if not name.endswith("_angle")}
    disk = tf.cast(catalogue["disk_phi"], tf.float32)
    columns["bulge_angle"] = _wrap(tf.cast(catalogue["bulge_phi"], tf.float32) - disk)
    columns["sersic_angle"] = _wrap(tf.cast(catalogue["phi"], tf.float32) - disk)
    return {name: tf.where(use, columns[name], 0.5) for name in _BULGE}


def _wrap(angle):
    """Position angles in [-pi/2, pi/2)."""
    return tf.math.floormod(angle + _RIGHT_ANGLE, np.pi) - _RIGHT_ANGLE


def _unlimited(columns, limits):
    """Logits of the columns between their limits, (n, columns), and the log-determinant, -inf outside."""
    logits, change = [], 0.0
    for name, (logarithmic, low, high) in limits.items():
        x = columns[name]
        inside = (x >= low) & (x <= high)
        if logarithmic:
            x, low, high = tf.math.log(tf.maximum(x, 1e-30)), np.log(low), np.log(high)
            change = change - x
        fraction = tf.clip_by_value((x - low) / (high - low), 1e-6, 1 - 1e-6)
        log, log1m = tf.math.log(fraction), tf.math.log1p(-fraction)
        logits.append(log - log1m)
        change = tf.where(inside, change - log - log1m - np.log(high - low), -np.inf)
    return tf.stack(logits, -1), change


def _limited(logits, limits):
    """Inverse of `_unlimited`: a dict of columns."""
    columns = {}
    for (name, (logarithmic, low, high)), x in zip(limits.items(), tf.unstack(logits, axis=-1), strict=True):
        if logarithmic:
            columns[name] = tf.exp(np.log(low) + np.log(high / low) * tf.sigmoid(x))
        else:
            columns[name] = low + (high - low) * tf.sigmoid(x)
    return columns
