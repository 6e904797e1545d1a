"""Samples the full-field posterior of the first map at the fiducial cosmology that `npe_lensing_lsst_y10` is measured
on. 1.7 s for each pair of draws on two cores; runs that were interrupted go on from their checkpoint.

python -m tests.benchmarks.full_field [--draws 1000] [--checkpoint full_field_state.npz]
"""

import argparse
from pathlib import Path

import numpy as np

from deepcosmo.inference.full_field import FullField
from deepcosmo.metrics.lensing_posterior import fiducial_maps
from deepcosmo.physics.lensing_survey import lsst_y10

SEED = 2031  # of the recipe
# of the unconstrained parameters, to begin with: about those of the posterior
SCALE = np.array([0.1, 0.006, 0.031, 0.06, 0.07, 0.45], "float32")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000, help="of each of the two chains (default: 1000)")
    parser.add_argument("--checkpoint", type=Path, default=Path("full_field_state.npz"))
    arguments = parser.parse_args()
    survey = lsst_y10()
    (maps,) = fiducial_maps(survey, 1, SEED)
    chains = FullField(survey, maps).sample(arguments.draws, chains=2, warmup=160, scale=SCALE, seed=1,
                                            checkpoint=arguments.checkpoint)  # fmt: skip
    theta = chains.theta.reshape(-1, len(survey.parameters))
    print(f"acceptance {chains.acceptance:.2f}, steps of {chains.step_size:.3f}")
    for i, name in enumerate(survey.parameters):
        print(f"{name:8} {theta[:, i].mean():8.4f} +- {theta[:, i].std():.4f}  R-hat {chains.r_hat[i]:.3f}  effective "
              f"sample size {chains.ess[i]:.0f}")  # fmt: skip


if __name__ == "__main__":
    main()
