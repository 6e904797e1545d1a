"""Speed of `mass_map`: `python -m tests.benchmarks.mass_mapping [--help]`.

Prints seconds of wall time, the best of some calls after a first that compiles: Kaiser-Squires beside bare FFTs of
NumPy, and all methods on a log-normal map with a mask and noise like those of COSMOS, with the error of each.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np  # noqa: E402

from deepcosmo.inference import mass_map  # noqa: E402
from deepcosmo.inference.mass_mapping import priors
from deepcosmo.metrics import maps  # noqa: E402
from deepcosmo.physics import fields, lensing  # noqa: E402
from deepcosmo.physics.catalog import PIXEL_SCALE  # noqa: E402
from tfds_builders.lensing_pairs import survey  # noqa: E402


def observed(size):
    """Convergence of a part of a log-normal sky, and what HST would see of it in a field like that of COSMOS."""
    ell, c_ell = priors.fiducial_spectrum()
    sky = {"shape": (2 * size, 2 * size), "pixel_scale": PIXEL_SCALE, "seed": [0, 0]}
    kappa = fields.lognormal_maps(c_ell[None, None].astype("float32"), ell, np.array([0.04], "float32"), **sky)[0]
    shear = lensing.kappa_to_shear(kappa)[:size, :size]
    data = survey.observe(shear, survey.SURVEYS["cosmos_hst"], [0, 1])
    return kappa[:size, :size].numpy(), [data[name].numpy() for name in ("shear", "noise_std", "mask")]


def seconds(function, repeats):
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--hmc", action="store_true", help="the sampler by Hamiltonian Monte Carlo, too: minutes")
    arguments = parser.parse_args()
    repeats, noise = arguments.repeats, 0.145

    rng = np.random.default_rng(0)
    shear, kappa = rng.normal(size=(1024, 1024, 2)), rng.normal(size=(1024, 1024))
    both = seconds(lambda: np.fft.ifft2(np.fft.fft2(kappa)), repeats)
    real = seconds(lambda: np.fft.irfft2(np.fft.rfft2(kappa)), repeats)
    ours = seconds(lambda: mass_map(shear, noise, pixel_scale=PIXEL_SCALE, method="kaiser_squires"), repeats)
    print(f"1024 x 1024    NumPy fft2 + ifft2 {both:.3f}    rfft2 + irfft2 {real:.3f}    kaiser_squires {ours:.3f}")
    print(f"kaiser_squires / NumPy            {ours / both:.2f}                   {ours / real:.2f}")

    kappa, data = observed(360)
    print(f"\n{'360 x 360':26s}{'seconds':>10s}{'a sample':>10s}{'RMSE':>10s}{'Pearson r':>12s}")
    cases = [
        ("kaiser_squires", 0, {}),
        ("wiener", 0, {}),
        ("wiener", 4, {}),
        ("sparse", 0, {}),
        ("tv", 0, {}),
        ("unet", 0, {}),
        ("posterior", 1, {}),
        ("posterior", 4, {}),
    ]
    if arguments.hmc:
        cases.append(("posterior", 1, {"sampler": "hmc"}))
    for method, samples, options in cases:
        found = []
        taken = seconds(
            lambda method=method, samples=samples, options=options, found=found: found.append(
                mass_map(*data, pixel_scale=PIXEL_SCALE, method=method, num_samples=samples, **options).best
            ),
            1 if method == "posterior" else repeats,
        )
        error, r = maps.map_errors(found[0], kappa, data[2])
        name, each = f"{options.get('sampler', '')} {method}".strip(), ""
        if samples:
            name, each = f"{name}, {samples} sample{'s' * (samples > 1)}", f"{taken / samples:.3f}"
        print(f"{name:26s}{taken:10.3f}{each:>10s}{error:10.4f}{r:12.3f}")


if __name__ == "__main__":
    main()
