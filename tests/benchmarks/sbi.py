"""Simulation-based inference on known posteriors: C2ST and times, beside published values.

    python -m tests.benchmarks.sbi --simulations 1000 10000 --tasks two_moons slcp

All with defaults, and beside them the package sbi with its own (`--peer nsf`, `--peer maf`) where it is installed:
`pip install sbi` with PyTorch, on as many cores. Published values are those of NPE and NLE in Lueckmann et al. 2021
(arXiv:2101.04653), at 1e3, 1e4 and 1e5 simulations; observations are draws of the same tasks, not those of the paper.
The loss is -ln q(theta | x) of new simulations; of NLE and NRE that of the simulations that chose the best weights.
"""

import argparse
import contextlib
import functools
import os
import sys
import time
import warnings

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # scikit-learn's threads are slower than none
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from tensorflow_probability import distributions as tfd  # noqa: E402

from deepcosmo.inference import sbi  # noqa: E402
from deepcosmo.metrics.two_sample import c2st  # noqa: E402

PUBLISHED = {
    "NPE": {
        "two_moons": (0.725, 0.606, 0.542),
        "slcp": (0.975, 0.901, 0.831),
        "gaussian_linear": (0.694, 0.552, 0.506),
        "gaussian_mixture": (0.716, 0.615, 0.548),
        "bernoulli_glm": (0.863, 0.678, 0.559),
        "sir": (0.815, 0.680, 0.585),
        "lotka_volterra": (0.999, 0.997, 0.981),
    },
    "NLE": {"two_moons": (0.773, 0.713, 0.668), "slcp": (0.946, 0.771, 0.699)},
}


class Own:
    """An estimator of this package."""

    def __init__(self, method, task, theta, x, seed):
        self.method, self.task = method, task
        self.estimator = getattr(sbi, method)(task.prior).fit(theta, x, seed=seed, progress=False)

    def loss(self, theta, x):
        if self.method == "NPE":
            return -float(np.mean(self.estimator.log_prob(theta, x)))
        return min(epoch["val_loss"] for epoch in self.estimator.history)

    def sample(self, n, x, seed):
        return self.estimator.posterior(x).sample(n, seed=seed)


class Peer:
    """NPE of the package sbi."""

    def __init__(self, density, task, theta, x, seed):
        import torch
        from sbi.inference import NPE

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        torch.set_num_threads(cores)  # OMP_NUM_THREADS is for scikit-learn
        torch.manual_seed(seed)
        self.tensor = lambda v: torch.tensor(np.asarray(v, "float32"))
        inference = NPE(_torch_prior(task.prior), density_estimator=density, show_progress_bars=False)
        with contextlib.redirect_stdout(sys.stderr):
            self.density = inference.append_simulations(self.tensor(theta), self.tensor(x)).train()
        self.posterior = inference.build_posterior(self.density)

    def loss(self, theta, x):
        import torch

        with torch.no_grad():
            return float(self.density.loss(self.tensor(theta), self.tensor(x)).mean())

    def sample(self, n, x, seed):
        import torch

        torch.manual_seed(seed)
        return self.posterior.sample((n,), x=self.tensor(x), show_progress_bars=False).numpy()


def _torch_prior(prior):
    import torch
    from sbi.utils import BoxUniform
    from torch import distributions

    inner = prior.distribution if isinstance(prior, tfd.Independent) else prior
    tensor = lambda v: torch.tensor(np.broadcast_to(v, prior.event_shape).astype("float32"))  # noqa: E731
    if isinstance(inner, tfd.Uniform):
        return BoxUniform(tensor(inner.low), tensor(inner.high))
    if isinstance(inner, tfd.LogNormal):
        return distributions.Independent(distributions.LogNormal(tensor(inner.loc), tensor(inner.scale)), 1)
    return distributions.MultivariateNormal(tensor(prior.mean()), torch.tensor(prior.covariance().numpy()))


def row(fit, task, n, observed, references, arguments):
    """C2ST and its error, the loss, seconds of training and for the draws of a posterior."""
    theta, x = _simulations(task, n, [arguments.seed, 1])
    start = time.perf_counter()
    found = fit(task, theta, x, arguments.seed)
    trained = time.perf_counter()
    draws = [found.sample(arguments.draws, o, i) for i, o in enumerate(observed)]
    sampled = time.perf_counter()
    loss = found.loss(*_simulations(task, 2000, [arguments.seed, 3]))
    values = [c2st(a, b) for a, b in zip(references, draws, strict=True)]
    error = np.std(values) / max(1, len(values) - 1) ** 0.5
    return np.mean(values), error, loss, trained - start, (sampled - trained) / len(observed)


def _simulations(task, n, seed):
    theta = task.prior.sample(n, seed=seed)
    return theta, task.simulate(theta, [seed[0], seed[1] + 1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=sbi.TASKS, default=list(PUBLISHED["NPE"]))
    parser.add_argument("--simulations", nargs="+", type=int, default=[1000, 10_000])
    parser.add_argument("--observations", type=int, default=10)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--method", choices=("NPE", "NLE", "NRE"), default="NPE")
    parser.add_argument("--peer", nargs="+", default=[], help="densities of the package sbi, such as nsf and maf")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print("task                    n method     C2ST  error  published    loss  train [s]  a posterior [s]")
    for name in arguments.tasks:
        task = sbi.TASKS[name]
        observed = [task.observation(i)[1] for i in range(arguments.observations)]
        references = [task.reference(x, arguments.draws, seed=tf.constant([7, i])) for i, x in enumerate(observed)]
        known = dict(zip((1000, 10_000, 100_000), PUBLISHED.get(arguments.method, {}).get(name, ()), strict=False))
        for n in arguments.simulations:
            fits = {arguments.method: functools.partial(Own, arguments.method)}
            fits |= {f"sbi {density}": functools.partial(Peer, density) for density in arguments.peer}
            for method, fit in fits.items():
                value, error, loss, train, draw = row(fit, task, n, observed, references, arguments)
                print(
                    f"{name:16s} {n:8d} {method:8s} {value:6.3f} {error:6.3f}  {known.get(n, '-')!s:9s} {loss:7.3f} "
                    f"{train:10.1f} {draw:16.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
