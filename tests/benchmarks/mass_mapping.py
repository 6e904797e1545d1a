"""Speed of `mass_map`: `python -m tests.benchmarks.mass_mapping [--help]`.

Prints seconds of wall time, the best of some calls after a first that compiles: Kaiser-Squires beside bare FFTs of
NumPy, and all methods on a log-normal map with the noise of COSMOS, with the error of each.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np  # noqa: E402

from deepcosmo.inference import mass_map, prior  # noqa: E402
from deepcosmo.physics import fields, lensing  # noqa: E402

PIXEL_SCALE, NOISE = 0.29, 0.145  # arcmin; per pixel and component


def simulated(size):
    """Convergence and noisy shear of a part of a log-normal sky."""
    ell, c_ell = prior.fiducial_spectrum()
    sky = {"shape": (2 * size, 2 * size), "pixel_scale": PIXEL_SCALE, "seed": [0, 0]}
    kappa = fields.lognormal_maps(c_ell[None, None].astype("float32"), ell, np.array([0.04], "float32"), **sky)[0]
    shear = lensing.kappa_to_shear(kappa)[:size, :size].numpy()
    noise = NOISE * np.random.default_rng(0).normal(size=shear.shape)
    return kappa[:size, :size].numpy(), shear + noise


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
    repeats = parser.parse_args().repeats

    rng = np.random.default_rng(0)
    shear, kappa = rng.normal(size=(1024, 1024, 2)), rng.normal(size=(1024, 1024))
    both = seconds(lambda: np.fft.ifft2(np.fft.fft2(kappa)), repeats)
    real = seconds(lambda: np.fft.irfft2(np.fft.rfft2(kappa)), repeats)
    ours = seconds(lambda: mass_map(shear, NOISE, pixel_scale=PIXEL_SCALE, method="kaiser_squires"), repeats)
    print(f"1024 x 1024    NumPy fft2 + ifft2 {both:.3f}    rfft2 + irfft2 {real:.3f}    kaiser_squires {ours:.3f}")
    print(f"kaiser_squires / NumPy            {ours / both:.2f}                   {ours / real:.2f}")

    kappa, shear = simulated(360)
    print(f"{'360 x 360':24s}{'seconds':>10s}{'RMSE':>10s}{'Pearson r':>12s}")
    for method, samples in (("kaiser_squires", 0), ("wiener", 0), ("wiener", 4), ("sparse", 0), ("tv", 0), ("unet", 0),
                            ("posterior", 1), ("posterior", 4)):  # fmt: skip
        found = []
        taken = seconds(lambda method=method, samples=samples, found=found: found.append(
            mass_map(shear, NOISE, pixel_scale=PIXEL_SCALE, method=method, num_samples=samples).best),
            1 if method == "posterior" else repeats)  # fmt: skip
        error, r = np.sqrt(np.mean((found[0] - kappa) ** 2)), np.corrcoef(found[0].ravel(), kappa.ravel())[0, 1]
        name = f"{method}, {samples} sample{'s' * (samples > 1)}" if samples else method
        print(f"{name:24s}{taken:10.3f}{error:10.4f}{r:12.3f}")


if __name__ == "__main__":
    main()
