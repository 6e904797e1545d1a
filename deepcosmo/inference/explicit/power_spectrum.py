"""The classical answer: cosmology from the power spectra of maps, with a Gaussian likelihood.

posterior = PowerSpectrum(lsst_y10())
samples = posterior.sample(4000, maps, seed=1)       # (4000, parameters) for maps (rows, columns, bins)
"""

import numpy as np
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
import tqdm

from deepcosmo._types import TensorLike
from deepcosmo.inference.sbi.support import Support
from deepcosmo.physics import fields
from deepcosmo.physics.lensing_survey import LensingSurvey

__all__ = ["PowerSpectrum"]

_BATCH = 16
_ROUNDS, _PROPOSALS = 3, 2000  # of importance sampling


class PowerSpectrum:
    """Posterior given the auto and cross spectra of maps in bands.

    The covariance is that of simulations at the fiducial cosmology; that it is estimated from so many is accounted for
    by the likelihood, Student's t in place of a normal one (Sellentin & Heavens 2016, arXiv:1511.05969). Samples are
    those of adaptive importance sampling (Cappé et al. 2008, arXiv:0710.4242), which starts at the best fit.

    Args:
        survey: `LensingSurvey`.
        prior: of the parameters, any that `Support` takes; by default that of the survey.
        bands: of multipoles, equal in their logarithm, from 1.5 cycles per map to the Nyquist frequency; those without
            a mode of the maps become part of the next.
        simulations: that the covariance is estimated from.
        seed: int, of the simulations.
        progress: whether to show progress bars.
    """

    def __init__(
        self,
        survey: LensingSurvey,
        *,
        prior: tfp.distributions.Distribution | None = None,
        bands: int = 12,
        simulations: int = 2048,
        seed: int = 0,
        progress: bool = True,
    ) -> None:
        lowest = 2 * np.pi / np.radians(survey.width)
        edges = np.geomspace(1.5 * lowest, survey.pixels / 2 * lowest, bands + 1)
        modes = fields.multipoles(survey.shape[:2], survey.pixel_scale)
        self.edges = np.delete(edges, 1 + np.flatnonzero(np.histogram(modes, edges)[0] == 0))
        pairs = survey.bins * (survey.bins + 1) // 2 * (len(self.edges) - 1)
        if simulations < 2 * pairs:
            raise ValueError(f"a covariance of {pairs} numbers needs {2 * pairs} simulations; got {simulations}")
        self.survey, self.progress = survey, progress
        self.support = Support(survey.prior() if prior is None else prior)
        self._lower = np.tril_indices(survey.bins)
        # from spectra at the survey's multipoles to their means over bands
        self._matrix = fields.band_matrix(survey.multipoles(), survey.shape[:2], survey.pixel_scale, self.edges)
        self._expected = tf.function(self._expected, autograph=False)
        theta = tf.tile(tf.constant(survey.fiducial)[None], [_BATCH, 1])
        simulate = tf.function(lambda s: self.measure(survey.sample(theta, s)), autograph=False)
        batches = tqdm.trange(simulations // _BATCH, disable=not progress, desc="covariance", unit=f" x {_BATCH} maps")
        seen = np.concatenate([simulate(tf.constant([seed, i])) for i in batches]).astype(float)
        self.count, self.covariance = len(seen), np.cov(seen.T)
        self._inverse = np.linalg.inv(self.covariance)

    def measure(self, maps: TensorLike) -> tf.Tensor:
        """Spectra in bands of maps (..., rows, columns, bins): (..., pairs * bands), steradian."""
        maps = tf.einsum("...yxb->...byx", maps)
        _, spectra = fields.measured_power(maps, pixel_scale=self.survey.pixel_scale, edges=self.edges)
        return self._flat(spectra)

    def _flat(self, spectra):
        spectra = tf.stack([spectra[..., i, j, :] for i, j in zip(*self._lower, strict=True)], -2)
        return tf.reshape(spectra, tf.concat([tf.shape(spectra)[:-2], [spectra.shape[-2] * spectra.shape[-1]]], 0))

    def expected(self, theta: np.ndarray) -> np.ndarray:
        """What `measure` gives on average for parameters (n, dim): signal and noise, (n, pairs * bands)."""
        parts = [self._expected(tf.constant(theta[i : i + 32], tf.float64)) for i in range(0, len(theta), 32)]
        return np.concatenate(parts)

    def _expected(self, theta):
        noise = self.survey.noise_power
        spectra = tf.linalg.matmul(self.survey.power(theta, self.survey.multipoles()), self._matrix)
        return self._flat(spectra + noise * tf.eye(self.survey.bins, dtype=spectra.dtype)[..., None])

    def log_likelihood(self, theta: np.ndarray, data: np.ndarray) -> np.ndarray:
        """ln p(data | theta) (n,) up to a constant, of parameters (n, dim) and spectra (pairs * bands,)."""
        left = self.expected(theta) - data
        chi2 = np.einsum("ni,ij,nj->n", left, self._inverse, left)
        value = -0.5 * self.count * np.log1p(chi2 / (self.count - 1))
        return np.where(np.isfinite(value), value, -np.inf)

    def _log_posterior(self, z, data):
        prior = self.support.log_prior(z) + self.support.log_slope(z)
        return np.asarray(prior, float) + self.log_likelihood(self.support.parameters(z).numpy(), data)

    def sample(self, n: int, maps: TensorLike, *, seed: int) -> np.ndarray:
        """Draws (n, dim) of the posterior given maps (rows, columns, bins).

        Raises:
            ValueError: maps of another shape.
            RuntimeError: importance sampling has found fewer than 200 effective samples.
        """
        if np.shape(maps) != self.survey.shape:
            raise ValueError(f"maps must have the shape {self.survey.shape}; got {np.shape(maps)}")
        data, rng = self.measure(maps).numpy().astype(float), np.random.default_rng(seed)
        mean, covariance = self._best_fit(data)
        for _ in tqdm.trange(_ROUNDS, disable=not self.progress, desc="power spectrum", unit=" rounds"):
            proposal = scipy.stats.multivariate_t(mean, 1.2 * covariance, df=5)
            z = proposal.rvs(_PROPOSALS, random_state=rng).reshape(_PROPOSALS, -1)
            log_weight = self._log_posterior(z, data) - proposal.logpdf(z)
            weight = np.exp(log_weight - log_weight.max())
            weight /= weight.sum()
            mean = weight @ z
            covariance = np.einsum("n,ni,nj->ij", weight, z - mean, z - mean) + 1e-9 * np.eye(len(mean))
        if 1 / np.sum(weight**2) < 200:
            raise RuntimeError(f"only {1 / np.sum(weight**2):.0f} effective samples of {_PROPOSALS} proposals")
        chosen = z[rng.choice(len(z), n, p=weight)]
        return self.support.parameters(chosen).numpy()

    def _best_fit(self, data):
        """Mean and covariance (dim,), (dim, dim) of a normal approximation, in unconstrained parameters."""
        draws = self.support.unconstrained(self.support.prior.sample(2000, seed=[0, 0])).astype(float)
        prior_mean, prior = draws.mean(0), np.linalg.inv(np.atleast_2d(np.cov(draws.T)))
        z = self.support.unconstrained(np.asarray(self.survey.fiducial)[None])[0].astype(float)
        step = 0.02 * draws.std(0)
        for _ in range(4):  # Gauss-Newton, with central differences
            around = np.concatenate([[z], z + np.diag(step), z - np.diag(step)])
            theta = self.support.parameters(around).numpy()
            expected = self.expected(theta)
            up, down = np.split(expected[1:], 2)
            slope = (up - down) / (2 * step[:, None])
            precision = slope @ self._inverse @ slope.T + prior
            gradient = slope @ self._inverse @ (data - expected[0]) + prior @ (prior_mean - z)
            z = z + np.clip(np.linalg.solve(precision, gradient), -2 * draws.std(0), 2 * draws.std(0))
        return z, np.linalg.inv(precision)
