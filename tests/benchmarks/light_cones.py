"""Light-cones against halofit and kappaTNG, and what they cost.

    python -m tests.benchmarks.light_cones [--particles 128] [--simulations 2] [--cones 40]

Simulations have the cosmology of kappaTNG. Spectra are those of 2.5 degree maps with the kappaTNG source planes 10, 20,
30 and 39; one-point functions and peaks are those of 1.25 degree maps averaged over all 40 planes, beside those
of ten kappaTNG maps (a file of the project's shared data).
"""

import argparse
import pathlib
import time

import numpy as np
import scipy.ndimage

from deepcosmo.metrics.maps import peaks
from deepcosmo.physics import cosmology, fields, lightcone
from deepcosmo.physics.catalog import PIXEL_SCALE
from tests.conftest import SHARED
from tfds_builders.kappa_maps.kappatng import COSMOLOGY, SOURCE_REDSHIFTS

EDGES = np.array([300, 500, 800, 1200, 2000, 3000, 5000.0])


def spectra(simulations, cones):
    """Ratio of measured to halofit's spectra, (sources, ell)."""
    sources = SOURCE_REDSHIFTS[[10, 20, 30, 39]]
    measured = []
    for number, planes in enumerate(simulations):
        for cone in range(cones):
            maps = lightcone.convergence(planes, sources, shape=(512, 512), seed=[number, cone])
            window = np.outer(np.hanning(512), np.hanning(512)).astype("f4")
            maps = (maps - np.mean(maps, (1, 2), keepdims=True)) * window / np.sqrt(np.mean(window**2))
            ell, power = fields.measured_power(maps, pixel_scale=PIXEL_SCALE, edges=EDGES)
            measured.append(np.diagonal(power).T)
    ratios = []
    z = np.linspace(0, 2.6, 2601)
    for source, power in zip(sources, np.mean(measured, 0), strict=True):
        sharp = np.exp(-0.5 * ((z - source) / 0.003) ** 2)
        ratios.append(power / cosmology.angular_power(COSMOLOGY, ell, z, sharp, spin=0)[0, 0].numpy())
    return ell, np.array(ratios)


def statistics(kappa, reference, smoothing):
    """PDF, peaks and minima per square degree of a map (256, 256) smoothed by a Gaussian of `smoothing` arcmin."""
    width = smoothing / PIXEL_SCALE
    cut = int(np.ceil(3 * width))
    smooth = scipy.ndimage.gaussian_filter(kappa - kappa.mean(), width, mode="wrap")[cut:-cut, cut:-cut]
    height, edges = smooth / reference[f"std_{smoothing}arcmin"], reference["snr_edges"]
    area = (len(smooth) * PIXEL_SCALE / 60) ** 2
    return {
        "pdf": np.histogram(height, edges)[0] / height.size / np.diff(edges),
        "peaks_per_deg2": peaks(height, edges) / area,
        "minima_per_deg2": peaks(height, edges, minima=True) / area,
        "std": np.std(smooth),
        "skewness": np.mean((smooth - smooth.mean()) ** 3) / np.std(smooth) ** 3,
    }


def ratios_to_kappatng(simulations, cones, reference):
    """Our statistics over kappaTNG's, in the bins that hold most of them.

    Yields smoothing, name of the statistic, heights (n,), ratios (n,) and the scatter of kappaTNG's maps (n,).
    """
    ours = {1: [], 2: []}
    for number, planes in enumerate(simulations):
        for cone in range(cones):
            kappa = lightcone.convergence(planes, SOURCE_REDSHIFTS, shape=(256, 256), seed=[100 + number, cone])
            for smoothing, results in ours.items():
                results.append(statistics(np.mean(kappa, 0), reference, smoothing))
    middle = (reference["snr_edges"][1:] + reference["snr_edges"][:-1]) / 2
    for smoothing, results in ours.items():
        mean = {name: np.mean([r[name] for r in results], 0) for name in results[0]}
        for name in ("std", "skewness", "pdf", "peaks_per_deg2", "minima_per_deg2"):
            theirs = np.reshape(reference[f"{name}_{smoothing}arcmin"], (-1, np.size(mean[name])))
            most = np.flatnonzero(theirs.mean(0) > 0.1 * theirs.mean(0).max())
            ratio = np.atleast_1d(mean[name])[most] / theirs.mean(0)[most]
            yield smoothing, name, middle[most], ratio, theirs.std(0)[most] / theirs.mean(0)[most]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--particles", type=int, default=128)
    parser.add_argument("--simulations", type=int, default=2)
    parser.add_argument("--cones", type=int, default=40)
    parser.add_argument("--planes", type=pathlib.Path, nargs="*", help="files of lens planes to use instead")
    arguments = parser.parse_args()
    simulations = [lightcone.LensPlanes.load(path) for path in arguments.planes or []]
    for seed in range(0 if simulations else arguments.simulations):
        start = time.perf_counter()
        simulations.append(lightcone.lens_planes(COSMOLOGY, particles=arguments.particles, seed=1000 + seed))
        print(f"simulation with {arguments.particles}^3 particles: {time.perf_counter() - start:.0f} s")
    for ray_traced in (False, True):
        start = time.perf_counter()
        lightcone.convergence(simulations[0], SOURCE_REDSHIFTS, shape=(1024, 1024), ray_traced=ray_traced)
        kind = "ray-traced" if ray_traced else "Born"
        print(f"one light-cone, 1024 x 1024 pixels, 40 source planes, {kind}: {time.perf_counter() - start:.1f} s")
    ell, ratios = spectra(simulations, arguments.cones)
    print("spectrum / halofit at ell =", np.round(ell))
    for source, ratio in zip((10, 20, 30, 39), ratios, strict=True):
        print(f"  source plane {source}: {np.round(ratio, 3)}")
    file = SHARED / "theory" / "kappaTNG_statistics.npz"
    if not file.exists():
        print(f"{file} is not here: no comparison with kappaTNG")
        return
    print("ratios to kappaTNG, at heights in units of its standard deviation")
    for smoothing, name, heights, ratio, scatter in ratios_to_kappatng(simulations, arguments.cones, np.load(file)):
        within = np.sum(np.abs(ratio - 1) < np.maximum(0.15, scatter))
        print(
            f"  {smoothing}' {name:16} {within} of {len(ratio)} within 15% or the scatter: "
            + " ".join(f"{h:.1f}:{r:.2f}" for h, r in zip(heights, ratio, strict=True))
        )


if __name__ == "__main__":
    main()
