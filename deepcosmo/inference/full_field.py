"""The explicit answer: cosmology and the field itself sampled together, by Hamiltonian Monte Carlo.

    sampler = FullField(lsst_y10_small(), maps)           # (rows, columns, bins) as the survey sees them
    chains = sampler.sample(500, chains=4, seed=1)
    chains.theta                                          # (500, 4, parameters)

The likelihood of maps is known once their noise-free field is, so that the field becomes part of what is inferred:
Boruah et al. 2022 (arXiv:2204.13216), Zeghal et al. 2024 (arXiv:2409.17975).
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tqdm

from deepcosmo.inference.sbi.support import unconstraining
from deepcosmo.models.conditional import stateless_seed

__all__ = ["Chains", "FullField"]

TARGET = 0.8  # acceptance probability that step sizes are adapted to


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chains:
    """What a sampler found.

    Attributes:
        theta: parameters (draws, chains, n).
        acceptance: mean acceptance probability.
        step_size: of the leapfrog steps.
        r_hat, ess: potential scale reduction and effective sample size of each parameter (n,).
    """

    theta: np.ndarray
    acceptance: float
    step_size: float

    @property
    def r_hat(self):
        return tfp.mcmc.potential_scale_reduction(self.theta).numpy()

    @property
    def ess(self):
        return tfp.mcmc.effective_sample_size(self.theta, cross_chain_dims=1).numpy()


class FullField:
    """Posterior of parameters and latent field given maps.

    Chains move in coordinates in which the posterior is about as wide along all axes: parameters are unconstrained and
    divided by the covariance that the warm-up finds, and each mode of the white noise by how well the maps determine
    it. Trajectories are of random length, since those of a fixed one meet their own period.

    Args:
        survey: `LensingSurvey`.
        maps: what it saw, (rows, columns, bins).
        prior: of the parameters, a `tfd.Distribution` of vectors; by default that of the survey.
        start: parameters (n,) at which the field's precision is taken; by default the fiducial ones.
    """

    def __init__(self, survey, maps, *, prior=None, start=None):
        maps = np.asarray(maps, "float32")
        if maps.shape != survey.shape:
            raise ValueError(f"maps must have the shape {survey.shape} of one observation; got {maps.shape}")
        if not np.isfinite(maps).all():
            raise ValueError("maps hold NaN or infinite values")
        self.survey, self.maps = survey, tf.constant(maps)
        self.prior = prior or survey.prior()
        self.bijector = unconstraining(self.prior)
        self.start = np.asarray(survey.fiducial if start is None else start, "float32")
        self.dim = len(survey.parameters)
        response = survey.response(self.start).numpy() / survey.noise_std
        values, vectors = np.linalg.eigh(np.eye(survey.bins) + np.einsum("yxki,yxkj->yxij", response, response))
        root = np.einsum("yxik,yxk,yxjk->yxij", vectors, values**-0.5, vectors)
        self._root = tf.constant(np.einsum("yxij->ijyx", root), tf.complex64)
        modes = np.fft.rfft2(maps / survey.noise_std, axes=(0, 1))
        modes = np.einsum("yxij,yxkj,yxk->iyx", root, response, modes)  # of the Wiener-filtered white noise
        self._u = np.fft.irfft2(modes, survey.shape[:2]).astype("float32")
        # beyond all that the prior allows, where trajectories that diverge must not end in NaN
        z = self.bijector.inverse(self.prior.sample(2000, seed=[0, 0])).numpy()
        self.scale = z.std(0)
        self._reach = z.mean(0) - 12 * self.scale, z.mean(0) + 12 * self.scale
        self._trajectory = tf.function(self._trajectory, autograph=False)

    def white(self, u):
        """White noise (..., bins, rows, columns) of scaled coordinates of the same shape."""
        modes = tf.reduce_sum(self._root * tf.signal.rfft2d(u)[..., None, :, :, :], -3)
        return tf.signal.irfft2d(modes, self.survey.shape[:2])

    def log_prob(self, z, u):
        """ln p(theta(z), white(u), maps) (chains,) up to a constant, for unconstrained parameters z (chains, n) and
        scaled white noise u (chains, bins, rows, columns)."""
        inside = tf.clip_by_value(tf.where(tf.math.is_nan(z), 0.0, z), *self._reach)
        theta, white = self.bijector.forward(inside), self.white(u)
        prior = self.prior.log_prob(theta) + self.bijector.forward_log_det_jacobian(z, event_ndims=1)
        likelihood = self.survey.log_likelihood(self.maps, self.survey.convergence(theta, white))
        total = prior + likelihood - 0.5 * tf.reduce_sum(tf.square(white), [-3, -2, -1])
        return tf.where(tf.math.is_finite(total) & tf.reduce_all(z == inside, -1), total, -np.inf)

    def _trajectory(self, v, u, mean, factor, step_size, steps, seed):
        """One proposal from v (chains, n), u: new v, u, and the acceptance probability (chains,)."""
        kernel = tfp.mcmc.HamiltonianMonteCarlo(
            lambda v, u: self.log_prob(mean + tf.linalg.matvec(factor, v), u), step_size, steps
        )
        (v, u), results = kernel.one_step([v, u], kernel.bootstrap_results([v, u]), seed=seed)
        return v, u, tf.exp(tf.minimum(results.log_accept_ratio, 0.0))

    def sample(self, draws, *, chains=2, warmup=200, steps=20, scale=None, seed=0, checkpoint=None, progress=True):
        """Runs chains.

        Args:
            draws: of each chain, after the warm-up.
            chains: run side by side.
            warmup: trajectories in which step size and scales are found.
            steps: mean number of leapfrog steps of a trajectory.
            scale: standard deviations (n,) of the unconstrained parameters to begin with; by default a fifth of those
                of the prior.
            seed: int.
            checkpoint: file to write the state to every minute or so, and to go on from if it is there.
            progress: whether to show a progress bar.

        Returns:
            `Chains`.

        Raises:
            ValueError: the checkpoint is that of another run.
        """
        run = _Run(self, chains, warmup, steps, scale, stateless_seed(seed), draws)
        if checkpoint is not None:
            run.resume(Path(checkpoint))
        with tqdm.tqdm(total=warmup + draws, initial=run.done, disable=not progress, unit=" draws") as bar:
            while run.done < warmup + draws:
                acceptance = run.advance()
                if checkpoint is not None and (run.done % 20 == 0 or run.done == warmup + draws):
                    run.save(Path(checkpoint))
                bar.update()
                bar.set_postfix(step=f"{np.exp(run.log_step):.3f}", acceptance=f"{acceptance:.2f}")
        theta = self.bijector.forward(tf.constant(run.z[warmup:], tf.float32)).numpy()
        acceptance = float(np.mean(run.accepted[warmup:]))
        return Chains(theta=theta, acceptance=acceptance, step_size=float(np.exp(run.log_step)))


class _Run:
    """State of chains on their way."""

    def __init__(self, sampler, chains, warmup, steps, scale, seed, draws):
        self._sampler, self._warmup, self._steps, self._seed = sampler, warmup, steps, seed
        self._what = {"chains": chains, "warmup": warmup, "steps": steps, "seed": seed.numpy().tolist(),
                      "maps": float(np.sum(np.abs(sampler.maps)))}  # fmt: skip
        scale = 0.2 * sampler.scale if scale is None else scale
        self.mean, self.factor = sampler.bijector.inverse(sampler.start).numpy(), np.diag(scale).astype("float32")
        to_v, to_u = tf.unstack(tf.random.split(tf.random.fold_in(seed, -1), 2))
        self.v = tf.random.stateless_normal([chains, sampler.dim], to_v)
        bins = sampler.survey.bins
        self.u = sampler._u + tf.random.stateless_normal([chains, bins, *sampler.survey.shape[:2]], to_u)
        self.done, self.log_step = 0, np.log(0.5 * np.prod(sampler.survey.shape) ** -0.25)
        self.z = np.zeros((warmup + draws, chains, sampler.dim), "float32")
        self.accepted = np.zeros(warmup + draws)

    def advance(self):
        """One trajectory of each chain; its acceptance probability."""
        to_length, to_move = tf.unstack(tf.random.split(tf.random.fold_in(self._seed, self.done), 2))
        steps = tf.random.stateless_uniform((), to_length, 1, 2 * self._steps, tf.int32)
        numbers = (tf.constant(v, tf.float32) for v in (self.mean, self.factor, np.exp(self.log_step)))
        self.v, self.u, acceptance = self._sampler._trajectory(self.v, self.u, *numbers, steps, to_move)
        acceptance = float(tf.reduce_mean(acceptance))
        self.z[self.done] = self.mean + self.v.numpy() @ self.factor.T
        self.accepted[self.done] = acceptance
        self.done += 1
        if self.done < self._warmup:
            self.log_step += (acceptance - TARGET) / np.sqrt(10 + self.done % max(1, self._warmup // 2))
            if self.done in (self._warmup // 4, self._warmup // 2, 3 * self._warmup // 4):
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
        state = {"v": self.v, "u": self.u, "mean": self.mean, "factor": self.factor, "done": self.done,
                 "log_step": self.log_step, "z": self.z[: self.done], "accepted": self.accepted[: self.done]}
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
