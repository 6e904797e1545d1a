"""Simulation-based inference on known posteriors: C2ST and times, beside published values.

    python -m tests.benchmarks.sbi --simulations 1000 10000 --tasks two_moons slcp

All with defaults. Published values are those of NPE and NLE in Lueckmann et al. 2021 (arXiv:2101.04653), at 1e3, 1e4
and 1e5 simulations; observations are draws of the same tasks, not those of the paper.
"""

import argparse
import os
import time
import warnings

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # scikit-learn's threads are slower than none
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=sbi.TASKS, default=list(PUBLISHED["NPE"]))
    parser.add_argument("--simulations", nargs="+", type=int, default=[1000, 10_000])
    parser.add_argument("--observations", type=int, default=10)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--method", choices=("NPE", "NLE", "NRE"), default="NPE")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print("task                    n   C2ST  error  published    loss  train [s]  a posterior [s]")
    for name in arguments.tasks:
        task = sbi.TASKS[name]
        observed = [task.observation(i)[1] for i in range(arguments.observations)]
        references = [task.reference(x, arguments.draws, seed=tf.constant([7, i])) for i, x in enumerate(observed)]
        known = dict(zip((1000, 10_000, 100_000), PUBLISHED.get(arguments.method, {}).get(name, ()), strict=False))
        for n in arguments.simulations:
            theta = task.prior.sample(n, seed=[arguments.seed, 1])
            x = task.simulate(theta, [arguments.seed, 2])
            start = time.perf_counter()
            estimator = getattr(sbi, arguments.method)(task.prior).fit(theta, x, seed=arguments.seed, progress=False)
            trained = time.perf_counter()
            draws = [estimator.posterior(o).sample(arguments.draws, seed=i) for i, o in enumerate(observed)]
            sampled = time.perf_counter()
            values = [c2st(a, b) for a, b in zip(references, draws, strict=True)]
            error = np.std(values) / max(1, len(values) - 1) ** 0.5
            loss = min(epoch["val_loss"] for epoch in estimator.history)
            print(f"{name:16s} {n:8d} {np.mean(values):6.3f} {error:6.3f}  {known.get(n, '-')!s:9s} {loss:7.3f} "
                  f"{trained - start:10.1f} {(sampled - trained) / len(observed):16.1f}", flush=True)


if __name__ == "__main__":
    main()
