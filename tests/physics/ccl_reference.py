"""Numbers of CCL (Chisari et al. 2019, arXiv:1812.05995) for the tests of cosmology.

python tests/physics/ccl_reference.py      # writes them anew; needs pyccl
"""

import pathlib

import numpy as np

from deepcosmo.physics.cosmology import Cosmology

FILE = pathlib.Path(__file__).with_name("ccl_reference.npz")
Z = np.array([0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0])
K = np.geomspace(1e-4, 20, 200)  # 1/Mpc
ELL = np.unique(np.round(np.geomspace(10, 5000, 25)))
SOURCE_Z = np.linspace(0, 3, 301)
SOURCES = np.stack(
    [
        SOURCE_Z**2 * np.exp(-((SOURCE_Z / 0.4) ** 1.5)),
        np.exp(-0.5 * ((SOURCE_Z - 1.0) / 0.15) ** 2),
        np.exp(-0.5 * ((SOURCE_Z - 1.8) / 0.25) ** 2),
    ]
)
FIDUCIAL = Cosmology(omega_c=0.25, omega_b=0.05, h=0.7, n_s=0.96, sigma_8=0.8)


def universes():
    """The fiducial cosmology and three from a wide prior."""
    rng = np.random.default_rng(0)
    low, high = [0.15, 0.03, 0.55, 0.87, 0.6, -1.5], [0.4, 0.07, 0.85, 1.07, 1.0, -0.6]
    return [FIDUCIAL, *(Cosmology(*map(float, rng.uniform(low, high))) for _ in range(3))]


def main():
    import pyccl as ccl

    a = 1 / (1 + Z)
    results = []
    for c in universes():
        theirs = ccl.Cosmology(
            Omega_c=c.omega_c,
            Omega_b=c.omega_b,
            h=c.h,
            n_s=c.n_s,
            sigma8=c.sigma_8,
            w0=c.w_0,
            transfer_function="eisenstein_hu",
            matter_power_spectrum="halofit",
        )
        tracers = [ccl.WeakLensingTracer(theirs, dndz=(SOURCE_Z, n)) for n in SOURCES]
        results.append(
            {
                "hubble_rate": theirs.h_over_h0(a),
                "comoving_distance": theirs.comoving_radial_distance(a),
                "growth": theirs.growth_factor(a),
                "growth_rate": theirs.growth_rate(a),
                "linear_power": [theirs.linear_matter_power(K, x) for x in a],
                "nonlinear_power": [theirs.nonlin_matter_power(K, x) for x in a],
                "angular_power": [[ccl.angular_cl(theirs, s, t, ELL) for s in tracers] for t in tracers],
            }
        )
    stacked = {name: np.array([r[name] for r in results]) for name in results[0]}
    np.savez_compressed(FILE, version=ccl.__version__, **stacked)


if __name__ == "__main__":
    main()
