"""Samples the explicit posteriors that published posteriors of maps are held against: cosmology and field together.

    python export/full_field.py npe_lensing_lsst_y10 --draws 1500 --effective 300
    python export/full_field.py mdn_lensing_small --chains 8 --draws 100 --warmup 120

writes zoo/NAME/full_field.npz, with which `deepcosmo evaluate NAME` compares. Runs that were interrupted go on from
their checkpoints in runs/. Where several maps are of the same universe, the first tells the scales of the others, whose
warm-up is a quarter as long.
"""

import argparse
from pathlib import Path

import numpy as np

from deepcosmo.inference.explicit.full_field import FullField
from deepcosmo.metrics.lensing_posterior import observed
from deepcosmo.physics.lensing_survey import lsst_y10, lsst_y10_small
from deepcosmo.zoo import store

SEED = 2031
KEPT = 2000  # draws of each map, at most: by its repeats a classifier would know a chain that rejects
LONGER = 1, 2, 4  # times as many draws as asked for, the first that are effective enough


def cases():
    """Name -> survey, and the true parameters of the maps."""
    large, small = lsst_y10(), lsst_y10_small()
    return {
        "npe_lensing_lsst_y10": (large, np.tile(large.fiducial, (4, 1))),
        "mdn_lensing_small": (small, small.prior().sample(10, seed=[SEED, 1]).numpy()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=list(cases()))
    parser.add_argument("--draws", type=int, default=1000, help="of each chain (default: 1000)")
    parser.add_argument("--chains", type=int, default=2, help="side by side (default: 2)")
    parser.add_argument("--warmup", type=int, default=160, help="trajectories before these (default: 160)")
    parser.add_argument(
        "--effective",
        type=int,
        default=0,
        help="effective sample size of a parameter below which "
        f"chains become twice as long, at most {LONGER[-1]} times as long (default: 0)",
    )
    arguments = parser.parse_args()
    survey, true = cases()[arguments.name]
    found = {"theta": [], "r_hat": [], "ess": []}
    warmup, scale = arguments.warmup, None
    for i, maps in enumerate(observed(survey, true, SEED)):
        sampler = FullField(survey, maps, start=true[i])
        for longer in LONGER:
            chains = sampler.sample(
                longer * arguments.draws,
                chains=arguments.chains,
                warmup=warmup,
                scale=scale,
                seed=i,
                checkpoint=Path("runs") / f"full_field_{arguments.name}_{i}.npz",
            )
            if chains.ess.min() >= arguments.effective:
                break
        draws = chains.theta.reshape(-1, len(survey.parameters))
        if scale is None and np.all(true == true[0]):
            warmup, scale = warmup // 4, np.cov(sampler.bijector.inverse(draws).numpy().T)
        print(f"map {i}: {len(draws)} draws, acceptance {chains.acceptance:.2f}, steps of {chains.step_size:.3f}")
        for j, name in enumerate(survey.parameters):
            print(
                f"  {name:8} {draws[:, j].mean():8.4f} +- {draws[:, j].std():.4f}, true {true[i, j]:.4f}, R-hat "
                f"{chains.r_hat[j]:.3f}, effective sample size {chains.ess[j]:.0f}",
                flush=True,
            )
        apart = -(-arguments.draws * arguments.chains // KEPT) * longer
        found["theta"].append(chains.theta[::apart].reshape(-1, len(survey.parameters)))
        found["r_hat"].append(chains.r_hat)
        found["ess"].append(chains.ess)
    path = store.published_root() / arguments.name / "full_field.npz"
    np.savez_compressed(path, true=true, seed=SEED, **{name: np.stack(value) for name, value in found.items()})
    print(f"Written to {path}")


if __name__ == "__main__":
    main()
