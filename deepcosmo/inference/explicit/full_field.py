"""The explicit answer: cosmology and the field itself sampled together, by Hamiltonian Monte Carlo.

    sampler = FullField(lsst_y10_small(), maps)           # (rows, columns, bins) as the survey sees them
    chains = sampler.sample(500, chains=4, seed=1)
    chains.theta                                          # (500, 4, parameters)

The likelihood of maps is known once their noise-free field is, so that the field becomes part of what is inferred:
Boruah et al. 2022 (arXiv:2204.13216), Zeghal et al. 2024 (arXiv:2409.17975).
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tqdm
from numpy.typing import ArrayLike

from deepcosmo._seeds import stateless_seed
from deepcosmo._types import PathLike, Seed
from deepcosmo.inference.explicit.split_hmc import SplitHMC
from deepcosmo.inference.sbi.support import Support
from deepcosmo.physics import fields
from deepcosmo.physics.lensing_survey import LensingSurvey

__all__ = ["Chains", "FullField"]

TARGET = 0.8  # acceptance probability that step sizes are adapted to
FIRST_STEP = 0.2  # radians, to begin with
LENGTHS = np.pi / 4, 3 * np.pi / 4  # of trajectories, radians; a quarter turn forgets where it began


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chains:
    """What a sampler found.

    Attributes:
        theta: parameters (draws, chains, n).
        acceptance: mean acceptance probability.
        step_size: of a trajectory, radians.
        r_hat, ess: potential scale reduction and effective sample size of each parameter (n,).
    """

    theta: np.ndarray
    acceptance: float
    step_size: float

    @property
    def r_hat(self) -> np.ndarray:
        return tfp.mcmc.potential_scale_reduction(self.theta).numpy()

    @property
    def ess(self) -> np.ndarray:
        return tfp.mcmc.effective_sample_size(self.theta, cross_chain_dims=1).numpy()


class FullField:
    """Posterior of parameters and latent field given maps.

    Chains move in coordinates in which it is nearly a standard normal distribution: parameters are unconstrained and
    divided by the covariance that the warm-up finds, and the field's are those that would be exactly normal and
    independent of the parameters if the field were Gaussian. What is left to integrate is small, and `SplitHMC` takes
    long steps. Trajectories are of random length, since those of a fixed one meet their own period.

    Args:
        survey: `LensingSurvey`.
        maps: what it saw, (rows, columns, bins).
        prior: of the parameters, any that `Support` takes; by default that of the survey.
        start: parameters (n,) at which chains start; by default the fiducial ones.
    """

    def __init__(
        self,
        survey: LensingSurvey,
        maps: ArrayLike,
        *,
        prior: tfp.distributions.Distribution | None = None,
        start: ArrayLike | None = None,
    ) -> None:
        maps = np.asarray(maps, "float32")
        if maps.shape != survey.shape:
            raise ValueError(f"maps must have the shape {survey.shape} of one observation; got {maps.shape}")
        if not np.isfinite(maps).all():
            raise ValueError("maps hold NaN or infinite values")
        self.survey, self.maps = survey, tf.constant(np.moveaxis(maps, -1, 0) / survey.noise_std, tf.float32)
        self._modes = tf.signal.rfft2d(self.maps)
        count = fields.multiplicity(survey.pixels)
        self._multiplicity, self._quadrant = (count / survey.pixels**2).astype("float32"), np.outer(count, count)
        self.support = Support(survey.prior() if prior is None else prior)
        self.bijector = self.support.bijector
        self.start = np.asarray(survey.fiducial if start is None else start, "float32")
        self.dim = len(survey.parameters)
        # beyond all that the prior allows, where trajectories that diverge must not end in NaN
        z = self.support.unconstrained(self.support.prior.sample(2000, seed=[0, 0]))
        self.scale = z.std(0)
        self._reach = z.mean(0) - 12 * self.scale, z.mean(0) + 12 * self.scale
        self._trajectory = tf.function(self._trajectory, autograph=False, jit_compile=True)

    def white(self, field: fields.LognormalField, u: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The white noise of coordinates u (..., bins, rows, columns), for the `LognormalField` of some parameters.

        Returns:
            Its modes (..., bins, rows, columns // 2 + 1), and ln |d white / d u| (...).

        With S the linear response of maps over their noise, white noise has the precision 1 + S'S = L L' and the mean
        of Wiener's filter given maps of a Gaussian field; u is what is left of it, times L'.
        """
        response = tf.cast(field.response() / self.survey.noise_std, u.dtype)
        factor = fields.white_precision(response)
        inverse = fields.inverted(factor)
        gain = tf.reduce_sum(inverse[..., :, None, :, :, :] * response[..., None, :, :, :, :], -3)
        left = tf.signal.rfft2d(u) + fields.mixed(gain, self._modes)
        white = fields.mixed(tf.einsum("...ijyx->...jiyx", inverse), left)
        logarithms = tf.reduce_sum(tf.math.log(tf.einsum("...iiyx->...iyx", factor)), -3)
        change = -tf.reduce_sum(self._quadrant * tf.cast(logarithms, tf.float64), [-2, -1])
        return white, tf.cast(change, u.dtype)

    def log_prob(self, z: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
        """ln p(theta(z), white noise of u, maps) (chains,) up to a constant, as a density of unconstrained parameters z
        (chains, n) and coordinates u of the field (chains, bins, rows, columns)."""
        inside = tf.clip_by_value(tf.where(tf.math.is_nan(z), 0.0, z), *self._reach)
        field = self.survey.field(tf.cast(self.support.parameters(inside), tf.float32))
        white, change = self.white(field, u)
        change += self.support.log_slope(inside)
        chi2 = tf.reduce_sum(tf.square(field.from_modes(white) / self.survey.noise_std - self.maps), [-3, -2, -1])
        square = tf.square(tf.math.real(white)) + tf.square(tf.math.imag(white))
        chi2 += tf.reduce_sum(self._multiplicity * square, [-3, -2, -1])
        total = self.support.log_prior(inside) + change - 0.5 * chi2
        return tf.where(tf.math.is_finite(total) & tf.reduce_all(z == inside, -1), total, -np.inf)

    def _trajectory(self, v, u, mean, factor, step_size, steps, seed):
        """One proposal from v (chains, n), u: new v, u, and the acceptance probability (chains,)."""
        kernel = SplitHMC(lambda v, u: self.log_prob(mean + tf.linalg.matvec(factor, v), u), step_size, steps)
        (v, u), results = kernel.one_step([v, u], kernel.bootstrap_results([v, u]), seed=seed)
        return v, u, tf.exp(tf.minimum(results.log_accept_ratio, 0.0))

    def sample(
        self,
        draws: int,
        *,
        chains: int = 2,
        warmup: int = 200,
        scale: ArrayLike | None = None,
        seed: Seed = 0,
        checkpoint: PathLike | None = None,
        progress: bool = True,
    ) -> Chains:
        """Runs chains.

        Args:
            draws: of each chain, after the warm-up.
            chains: run side by side.
            warmup: trajectories in which step size and scales are found.
            scale: standard deviations (n,) of the unconstrained parameters to begin with, by default a fifth of those
                of the prior; or their covariance (n, n), if it is known, of which the warm-up then changes nothing.
            seed: int.
            checkpoint: file to write the state to every minute or so, and to go on from if it is there.
            progress: whether to show a progress bar.

        Returns:
            `Chains`.

        Raises:
            ValueError: the checkpoint is that of another run.
        """
        run = _Run(self, chains, warmup, scale, stateless_seed(seed), draws)
        if checkpoint is not None:
            run.resume(Path(checkpoint))
        with tqdm.tqdm(total=warmup + draws, initial=run.done, disable=not progress, unit=" draws") as bar:
            while run.done < warmup + draws:
                acceptance = run.advance()
                if checkpoint is not None and (run.done % 20 == 0 or run.done == warmup + draws):
                    run.save(Path(checkpoint))
                bar.update()
                bar.set_postfix(step=f"{np.exp(run.log_step):.3f}", acceptance=f"{acceptance:.2f}")
        theta = self.support.parameters(run.z[warmup:]).numpy()
        acceptance = float(np.mean(run.accepted[warmup:]))
        return Chains(theta=theta, acceptance=acceptance, step_size=float(np.exp(run.log_step)))


class _Run:
    """State of chains on their way."""

    def __init__(self, sampler, chains, warmup, scale, seed, draws):
        self._sampler, self._warmup, self._seed = sampler, warmup, seed
        self._what = {
            "chains": chains,
            "warmup": warmup,
            "seed": seed.numpy().tolist(),
            "maps": float(np.sum(np.abs(sampler.maps))),
        }
        scale = 0.2 * sampler.scale if scale is None else scale
        known = np.ndim(scale) == 2
        self._rescaled = () if known else (warmup // 4, warmup // 2, 3 * warmup // 4)
        self.mean = sampler.support.unconstrained(sampler.start[None])[0]
        self.factor = (np.linalg.cholesky(scale) if known else np.diag(scale)).astype("float32")
        to_v, to_u = tf.unstack(tf.random.split(tf.random.fold_in(seed, -1), 2))
        self.v = tf.random.stateless_normal([chains, sampler.dim], to_v)
        bins = sampler.survey.bins
        self.u = tf.random.stateless_normal([chains, bins, *sampler.survey.shape[:2]], to_u)
        self.done, self.log_step = 0, np.log(FIRST_STEP)
        self.z = np.zeros((warmup + draws, chains, sampler.dim), "float32")
        self.accepted = np.zeros(warmup + draws)

    def advance(self):
        """One trajectory of each chain; its acceptance probability."""
        to_length, to_move = tf.unstack(tf.random.split(tf.random.fold_in(self._seed, self.done), 2))
        length = float(tf.random.stateless_uniform((), to_length, *LENGTHS))
        steps = int(np.ceil(length / np.exp(self.log_step)))
        numbers = (tf.constant(v, tf.float32) for v in (self.mean, self.factor, length / steps))
        self.v, self.u, acceptance = self._sampler._trajectory(self.v, self.u, *numbers, tf.constant(steps), to_move)
        acceptance = float(tf.reduce_mean(acceptance))
        self.z[self.done] = self.mean + self.v.numpy() @ self.factor.T
        self.accepted[self.done] = acceptance
        self.done += 1
        if self.done < self._warmup:
            self.log_step += (acceptance - TARGET) / np.sqrt(10 + self.done % max(1, self._warmup // 2))
            if self.done in self._rescaled:
                self._rescale()
        return acceptance

    def _rescale(self):
        """New scales of the parameters, from the later half of what chains have seen."""
        seen = self.z[self.done // 2 : self.done].reshape(-1, self.z.shape[-1])
        covariance = np.cov(seen.T).reshape(self.z.shape[-1], -1)
        covariance += 1e-3 * np.diag(np.diag(covariance)) + 1e-8 * np.eye(len(covariance))
        z = self.mean + self.v.numpy() @ self.factor.T
        self.mean, self.factor = seen.mean(0), np.linalg.cholesky(covariance).astype("float32")
        self.v = tf.constant(np.linalg.solve(self.factor, (z - self.mean).T).T, tf.float32)

    def save(self, path):
        state = {
            "v": self.v,
            "u": self.u,
            "mean": self.mean,
            "factor": self.factor,
            "done": self.done,
            "log_step": self.log_step,
            "z": self.z[: self.done],
            "accepted": self.accepted[: self.done],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, what=json.dumps(self._what), **state)
        partial.replace(path)

    def resume(self, path):
        if not path.exists():
            return
        with np.load(path) as file:
            if json.loads(str(file["what"])) != self._what:
                raise ValueError(f"{path} is of another run: {file['what']}; this one is {json.dumps(self._what)}")
            self.v, self.u = tf.constant(file["v"]), tf.constant(file["u"])
            self.mean, self.factor, self.log_step = file["mean"], file["factor"], float(file["log_step"])
            self.done = min(int(file["done"]), len(self.z))
            self.z[: self.done], self.accepted[: self.done] = file["z"][: self.done], file["accepted"][: self.done]
