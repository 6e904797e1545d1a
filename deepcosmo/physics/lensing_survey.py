"""Tomographic weak lensing of a survey: log-normal convergence maps and their noise, as functions of cosmology.

    survey = lsst_y10()
    theta = survey.prior().sample(16, seed=[0, 1])
    maps = survey.sample(theta, seed=[0, 2])              # (16, 256, 256, 5)

Everything is batched, differentiable in the parameters and in the latent field, and runs inside `tf.function`.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.special
import tensorflow as tf
from numpy.typing import ArrayLike

from deepcosmo._types import TensorLike
from deepcosmo.physics import cosmology, fields
from deepcosmo.physics._arguments import as_numbers
from deepcosmo.physics.universe import Cosmology

if TYPE_CHECKING:
    import tensorflow_probability as tfp

__all__ = ["PARAMETERS", "LensingSurvey", "lsst_y10", "lsst_y10_small", "smail", "tomographic_bins"]

PARAMETERS = ("omega_c", "omega_b", "sigma_8", "h_0", "n_s", "w_0")
FIDUCIAL = {"omega_c": 0.2664, "omega_b": 0.0492, "sigma_8": 0.831, "h_0": 0.6727, "n_s": 0.9645, "w_0": -1.0}
SCATTER = {"omega_c": 0.2, "omega_b": 0.006, "sigma_8": 0.14, "h_0": 0.063, "n_s": 0.08, "w_0": 0.9}
NEAR = SCATTER | {"omega_c": 0.07, "sigma_8": 0.07, "n_s": 0.06, "w_0": 0.4}  # of universes like ours
RANGE = {"omega_c": (0.0, 2.2), "w_0": (-2.0, -0.3)}  # of the truncated priors; 2.2 is 10 sigma, for infinity

_Z = np.linspace(0.0, 6.0, 1201)
_SHIFTS = Path(__file__).parent / "lognormal_shifts_lsst_y10.npz"
_NODES = 8  # of the table of shifts along each axis
_CORNERS = np.array([[0.1, 0.3, -2.0], [0.9, 1.3, -0.3]])  # of the table: Omega_m, sigma_8, w_0
CONVENTIONS = ("table", "sbi_lens")


def smail(z: ArrayLike, *, alpha: float = 2.0, beta: float = 0.68, z_0: float = 0.11) -> np.ndarray:
    """n(z) = z^alpha exp(-(z / z_0)^beta), not normalised (Smail et al. 1994); the defaults are those of LSST Y10
    (LSST DESC 2018, arXiv:1809.01669)."""
    z = as_numbers(z, "", "z")
    return z**alpha * np.exp(-((z / z_0) ** beta))


def tomographic_bins(z: ArrayLike, n_z: ArrayLike, bins: int, scatter: float) -> np.ndarray:
    """Sources in bins of photometric redshift, cut where n(z) has equal numbers.

    Args:
        z, n_z: redshifts (nz,) and the distribution of all sources there.
        bins: how many.
        scatter: standard deviation of photometric redshifts over 1 + z.

    Returns:
        (bins, nz), normalised to the share of all sources.
    """
    z, n_z = as_numbers(z, "", "z"), as_numbers(n_z, None, "n_z")
    if z.ndim != 1 or z.shape != n_z.shape:
        raise ValueError(f"z and n_z must both be (nz,); got {z.shape} and {n_z.shape}")
    cumulative = np.concatenate([[0.0], np.cumsum(0.5 * (n_z[1:] + n_z[:-1]) * np.diff(z))])
    edges = np.interp(np.arange(bins + 1) / bins, cumulative / cumulative[-1], z)
    below = scipy.special.erf((edges[:, None] - z) / (np.sqrt(2.0) * scatter * (1.0 + z)))
    return 0.5 * np.diff(below, axis=0) * n_z / cumulative[-1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LensingSurvey:
    """Log-normal convergence maps of a square, periodic field in bins of source redshift, with Gaussian shape noise.

    The spectra are those of halofit; the shift parameters depend on Omega_m, sigma_8 and w_0. Parameters theta
    (..., n) are those of `parameters`, in this order; others keep their fiducial values.

    Attributes:
        pixels: on a side.
        width: of the field, degrees.
        bins: of source redshift; 5, for which shifts are known.
        density: galaxies per square arcminute, in all bins together.
        sigma_e: standard deviation of each component of the ellipticity.
        parameters: which of `PARAMETERS` are free.
        shifts: "table", or "sbi_lens" for those of the published benchmark; see `shift`.
    """

    pixels: int = 256
    width: float = 10.0
    bins: int = 5
    density: float = 27.0
    sigma_e: float = 0.26
    parameters: tuple = PARAMETERS
    shifts: str = "table"

    def __post_init__(self):
        if self.shifts not in CONVENTIONS:
            raise ValueError(f"shifts must be one of {', '.join(CONVENTIONS)}; got {self.shifts!r}")
        if self.bins != 5:
            raise ValueError(f"log-normal shifts are known for 5 bins; got bins={self.bins}")
        unknown = [name for name in self.parameters if name not in PARAMETERS]
        if unknown or not self.parameters or len(set(self.parameters)) < len(self.parameters):
            raise ValueError(f"parameters must be some of {', '.join(PARAMETERS)}; got {self.parameters}")
        object.__setattr__(self, "parameters", tuple(self.parameters))  # a list where it was read from JSON

    @property
    def pixel_scale(self) -> float:
        """arcmin."""
        return 60.0 * self.width / self.pixels

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a map: (rows, columns, bins)."""
        return self.pixels, self.pixels, self.bins

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise of a pixel of one bin."""
        return self.sigma_e / np.sqrt(self.density / self.bins * self.pixel_scale**2)

    @property
    def noise_power(self) -> float:
        """Angular power spectrum of the noise of one bin, steradian."""
        return (self.noise_std * np.radians(self.pixel_scale / 60)) ** 2

    @property
    def fiducial(self) -> np.ndarray:
        """Parameters (n,) in the middle of the priors."""
        return np.array([FIDUCIAL[name] for name in self.parameters], "float32")

    def prior(self) -> tfp.distributions.Distribution:
        """Priors of the free parameters as one `tfd.Distribution` of vectors: normal, truncated for omega_c and w_0."""
        return self._normal(SCATTER)

    def near(self) -> tfp.distributions.Distribution:
        """As `prior`, but narrower where maps tell much: universes like ours, for simulations.

        Scatters are 0.07 (omega_c, sigma_8), 0.06 (n_s) and 0.4 (w_0): about twice those of posteriors of LSST Y10,
        but for n_s, which the prior bounds.
        """
        return self._normal(NEAR)

    def log_weight(self, theta: TensorLike, near: float = 0.5) -> tf.Tensor:
        """ln of the weights (...,) that make parameters (..., n) draws of the prior p, where a share s = `near` of them
        is drawn from q = `near()` and the others from p: ln p - ln ((1 - s) p + s q), at most -ln (1 - s), which it is
        where there are draws of neither."""
        prior = self.prior().log_prob(theta)
        ratio = tf.where(tf.math.is_finite(prior), self.near().log_prob(theta) - prior, -np.inf)
        return -np.float32(np.log(1 - near)) - tf.math.softplus(ratio + np.float32(np.log(near / (1 - near))))

    def _normal(self, scatters):
        import tensorflow_probability as tfp

        def of(name):
            mean, scatter = np.float32(FIDUCIAL[name]), np.float32(scatters[name])
            if name not in RANGE:
                return tfp.distributions.Normal(mean, scatter)
            low, high = np.float32(RANGE[name])
            return tfp.distributions.TruncatedNormal(mean, scatter, low, high)

        return tfp.distributions.Blockwise([of(name) for name in self.parameters])

    def sources(self) -> tuple[np.ndarray, np.ndarray]:
        """Redshifts (nz,) and the normalised distributions of sources there (bins, nz)."""
        return _Z, _lsst_bins(self.bins)

    def cosmology(self, theta: TensorLike) -> Cosmology:
        """The `Cosmology` of parameters (..., n), with tensors (...) in double precision."""
        theta = tf.cast(theta, tf.float64)
        if theta.shape.rank == 0 or theta.shape[-1] != len(self.parameters):
            raise ValueError(
                f"theta must have shape (..., {len(self.parameters)}), {', '.join(self.parameters)}; "
                f"got {tuple(theta.shape)}"
            )
        free = dict(zip(self.parameters, tf.unstack(theta, axis=-1), strict=True))
        values = [free.get(name, tf.constant(FIDUCIAL[name], tf.float64)) for name in PARAMETERS]
        omega_c, omega_b, sigma_8, h, n_s, w_0 = values
        return Cosmology(omega_c=omega_c, omega_b=omega_b, h=h, n_s=n_s, sigma_8=sigma_8, w_0=w_0)

    def multipoles(self) -> np.ndarray:
        """Multipoles (48,) between which spectra are interpolated; all modes of the maps lie between them."""
        return _multipoles(self.pixels, self.width)

    def power(self, theta: TensorLike, ell: TensorLike) -> tf.Tensor:
        """Angular power spectra of the convergence without noise at multipoles, a number or (n_ell,):
        (..., bins, bins), or (..., bins, bins, n_ell), steradian."""
        # 256 planes, as of all data sets and models of this survey that are published
        return cosmology.angular_power(self.cosmology(theta), ell, *self.sources(), spin=0, planes=256)

    def signal_to_noise(self, ell: TensorLike) -> np.ndarray:
        """Angular power spectra at the fiducial cosmology and multipoles, a number or (n,), over the power of the
        noise: (bins, bins), or (n, bins, bins)."""
        return np.moveaxis(self.power(tf.constant(self.fiducial), ell).numpy(), (0, 1), (-2, -1)) / self.noise_power

    def shift(self, theta: TensorLike) -> tf.Tensor:
        """Log-normal shift parameters (..., bins).

        They are our fit, good to 0.2%, to the table that the package sbi_lens computed with CosMomentum for pixels of
        2.34 arcmin (Friedrich et al. 2020, arXiv:1912.06621; Boruah et al. 2022, arXiv:2204.13216), on 8 nodes of each
        of Omega_m, sigma_8 and w_0; outside of it the nearest value counts.

        The published benchmark (sbi_lens, used by Lanzieri et al. 2024, arXiv:2407.10877, and Zeghal et al. 2024,
        arXiv:2409.17975) looks it up differently: at u n - 0.5 along an axis of n nodes, for u in [0, 1], and with
        Omega_m along the axis which, by the table's own columns, is that of sigma_8, and the other way round. Its
        shifts are larger by 18% (most distant bin) to 34% (nearest) at the fiducial cosmology, and its maps therefore
        less skewed. `shifts="sbi_lens"` looks up our fit in that way, so that results can be compared: to 1.5%, as the
        benchmark is linear between the nodes.
        """
        c = self.cosmology(theta)
        values = [c.omega_c + c.omega_b, c.sigma_8, c.w_0]
        low, high = _CORNERS
        unit = [(v - a) / (b - a) for v, a, b in zip(values, low, high, strict=True)]
        if self.shifts == "sbi_lens":
            unit = [(u * _NODES - 0.5) / (_NODES - 1) for u in (unit[1], unit[0], unit[2])]
        values = [a + tf.clip_by_value(u, 0.0, 1.0) * (b - a) for u, a, b in zip(unit, low, high, strict=True)]
        return _fitted_shifts(*values)

    def convergence(self, theta: TensorLike, white: tf.Tensor) -> tf.Tensor:
        """Noise-free maps of parameters (..., n) and latent white noise (..., bins, rows, columns) of unit variance.

        Returns:
            (..., rows, columns, bins), in the precision of the white noise.
        """
        kappa = self.field(theta).from_modes(tf.signal.rfft2d(white))
        return tf.einsum("...byx->...yxb", kappa)

    def field(self, theta: TensorLike) -> fields.LognormalField:
        """The `fields.LognormalField` of parameters (..., n)."""
        ell = self.multipoles()
        return fields.LognormalField.of(
            self.power(theta, ell),
            ell,
            self.shift(theta),
            shape=(self.pixels, self.pixels),
            pixel_scale=self.pixel_scale,
        )

    def latent(self, n: TensorLike, seed: TensorLike) -> tf.Tensor:
        """White noise (n, bins, rows, columns), float32; (*n, bins, rows, columns) where n is a shape."""
        leading = tf.convert_to_tensor(n, tf.int32)
        leading = leading if leading.shape.rank else leading[None]
        return tf.random.stateless_normal(tf.concat([leading, [self.bins, self.pixels, self.pixels]], 0), seed)

    def observe(self, kappa: tf.Tensor, seed: TensorLike) -> tf.Tensor:
        """Convergence maps with the noise of the survey."""
        return kappa + tf.cast(self.noise_std, kappa.dtype) * tf.random.stateless_normal(
            tf.shape(kappa), seed, dtype=kappa.dtype
        )

    def sample(self, theta: TensorLike, seed: TensorLike) -> tf.Tensor:
        """Maps as the survey sees them, (..., rows, columns, bins) float32, of theta (..., parameters).

        There are maps for all of the prior, but where Omega_m is small and sigma_8 large no log-normal field has the
        correlations that halofit asks for: see `fields.lognormal_maps`. In 0.2% of the prior the correlation of the
        pixels of two bins is off by more than 0.01.
        """
        to_field, to_noise = tf.unstack(tf.random.split(seed, 2))
        theta = tf.convert_to_tensor(theta)
        return self.observe(self.convergence(theta, self.latent(tf.shape(theta)[:-1], to_field)), to_noise)

    def score(self, theta: TensorLike, seed: TensorLike) -> tuple[tf.Tensor, tf.Tensor]:
        """Maps, and the joint score d ln p(map, latent | theta) / dtheta of each: the latent is the convergence's white
        noise, whose density knows nothing of theta.

        Returns:
            maps (..., rows, columns, bins) and scores (..., parameters).
        """
        to_field, to_noise = tf.unstack(tf.random.split(seed, 2))
        theta = tf.convert_to_tensor(theta)
        white = self.latent(tf.shape(theta)[:-1], to_field)
        with tf.GradientTape() as tape:
            tape.watch(theta)
            kappa = self.convergence(theta, white)
            maps = tf.stop_gradient(self.observe(kappa, to_noise))
            log_likelihood = self.log_likelihood(maps, kappa)
        return maps, tape.gradient(log_likelihood, theta)

    def log_likelihood(self, maps: tf.Tensor, kappa: tf.Tensor) -> tf.Tensor:
        """ln p(maps | kappa) (...) up to a constant, of maps and convergence (..., rows, columns, bins)."""
        return -0.5 * tf.reduce_sum(tf.square((maps - kappa) / self.noise_std), [-3, -2, -1])


def lsst_y10(**options: Any) -> LensingSurvey:
    """The survey LSST after ten years, as sbi_lens has it: 10 x 10 degrees, 256 x 256 pixels, all six parameters."""
    return LensingSurvey(**options)


def lsst_y10_small(**options: Any) -> LensingSurvey:
    """The same sky in 64 x 64 pixels, with omega_c and sigma_8 free: small enough to sample the field itself.

    Log-normal shifts are those of pixels of 2.34 arcmin, though these pixels are four times as wide.
    """
    return LensingSurvey(**{"pixels": 64, "parameters": ("omega_c", "sigma_8"), **options})


@functools.cache
def _lsst_bins(bins):
    return tomographic_bins(_Z, smail(_Z), bins, 0.05)


@functools.cache
def _multipoles(pixels, width):
    lowest = 2 * np.pi / np.radians(width)
    return np.geomspace(lowest, lowest * pixels / np.sqrt(2), 48)


@functools.cache
def _shift_fit():
    with np.load(_SHIFTS) as file:
        return file["powers"], file["coefficients"]


def _fitted_shifts(omega_m, sigma_8, w_0):
    """exp of a polynomial of degree 7 in ln Omega_m, ln sigma_8 and w_0, in Chebyshev polynomials."""
    powers, coefficients = _shift_fit()
    low, high = _CORNERS
    low, high = (np.array([*np.log(v[:2]), v[2]]) for v in (low, high))
    values = tf.math.log(omega_m), tf.math.log(sigma_8), w_0
    terms = 1.0
    for value, a, b, power in zip(values, low, high, powers.T, strict=True):
        t = 2.0 * (value - a) / (b - a) - 1.0
        polynomials = [tf.ones_like(t), t]
        for _ in range(2, power.max() + 1):
            polynomials.append(2.0 * t * polynomials[-1] - polynomials[-2])
        terms *= tf.gather(tf.stack(polynomials, -1), power.astype("int32"), axis=-1)
    return tf.exp(tf.linalg.matvec(tf.constant(coefficients.T, terms.dtype), terms))
