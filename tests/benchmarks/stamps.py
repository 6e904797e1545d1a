"""Speed of `cosmos_stamps`: `python -m tests.benchmarks.stamps [--help]`.

Prints stamps per second of a bare GalSim loop, of the renderer, of the builder in one and two processes, and
of reading. Without a catalogue it uses made-up galaxies, whose tail is lighter than that of the real ones.
"""

import argparse
import os
import tempfile
import time
import warnings

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import galsim  # noqa: E402
import numpy as np  # noqa: E402

from tfds_builders.cosmos_stamps import catalog, generation, psfs, rendering  # noqa: E402


def made_up(size):
    rng = np.random.default_rng(0)
    galaxies = np.zeros(size, catalog.COLUMNS)
    galaxies["ident"], galaxies["mag_auto"], galaxies["flux"] = (np.arange(size), rng.uniform(21, 25.2, size), 5)
    galaxies["n"] = np.round(np.exp(rng.uniform(np.log(0.3), np.log(6), size)) / 0.05) * 0.05
    galaxies["hlr"], galaxies["q"] = rng.lognormal(np.log(0.21), 0.6, size), rng.uniform(0.1, 1, size)
    galaxies["phi"], galaxies["zphot"], galaxies["flux_radius"] = rng.uniform(-1.5, 1.5, size), 1, 8
    return galaxies


def rate(function, count):
    start, cpu = time.perf_counter(), time.process_time()
    function()
    return count / (time.perf_counter() - start), count / (time.process_time() - cpu)


def galsim_loop(chunks):
    noise = galsim.getCOSMOSNoise(rng=galsim.BaseDeviate(1))
    for chunk in chunks:
        fluxes = 10 ** (-0.4 * (chunk.galaxies["mag_auto"] - catalog.ZERO_POINT))
        for galaxy, psf, flux in zip(chunk.galaxies, chunk.psfs, fluxes, strict=True):
            parts = []
            for fraction, n, hlr, q, phi in rendering.components(galaxy):
                part = galsim.Sersic(n, half_light_radius=hlr, flux=fraction * flux)
                parts.append(part.shear(q=q, beta=phi * galsim.radians))
            kernel = galsim.InterpolatedImage(galsim.Image(psf.astype(float)), scale=0.03, flux=1, offset=(0.5, 0.5))
            try:
                stamp = galsim.Convolve(galsim.Add(parts), kernel)
                stamp = stamp.drawImage(nx=128, ny=128, scale=0.03, method="no_pixel")
            except galsim.GalSimFFTSizeError:  # it gives up, which costs nothing
                continue
            noise.applyTo(stamp)


def build(folder, path, count, processes):
    import tensorflow_datasets as tfds

    import tfds_builders  # noqa: F401

    config = tfds.download.DownloadConfig(max_examples_per_split=count)
    builder = tfds.builder("cosmos_stamps/parametric", data_dir=folder, catalog=path, processes=processes)
    split_generators = builder._split_generators
    builder._split_generators = lambda manager: {"train": split_generators(manager)["train"]}
    builder.download_and_prepare(download_config=config)
    return builder


def read(builder, steps):
    import tensorflow_datasets as tfds

    from tfds_builders.cosmos_stamps import reading

    options = tfds.ReadConfig(try_autocache=False, shuffle_seed=1)
    some = {"image": True, "psf": True, "noise_std": True, "attrs": {"mag_auto": True}}

    def by_tfds(decoders):
        stamps = builder.as_dataset(split="train", shuffle_files=True, read_config=options, decoders=decoders)
        return stamps.batch(64).prefetch(2)

    names = ("image", "psf", "noise_std", "attrs/mag_auto")
    ways = {
        "all features, as_dataset": by_tfds(None),
        "four features, as_dataset": by_tfds(tfds.decode.PartialDecoding(some)),
        "four features, reading.batches": reading.batches(builder, "train", 64, features=names, seed=1),
    }
    for name, stamps in ways.items():
        stamps = stamps.repeat()
        for _ in stamps.take(10):
            pass
        per_second, _ = rate(lambda s=stamps: [0 for _ in s.take(steps)], 64 * steps)
        print(f"{name:36s}{per_second:10.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--galaxies", type=int, default=1024)
    parser.add_argument("--catalog", help="file or folder; searched for by default")
    parser.add_argument("--read", help="folder with a built cosmos_stamps/parametric, instead of a small one")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    try:
        galaxies, _ = catalog.read_catalog(options.catalog)
        galaxies = galaxies[catalog.split_of(galaxies["ident"]) == "train"]
        chosen = np.random.default_rng(1).choice(len(galaxies), options.galaxies, replace=False)
        galaxies, real = galaxies[np.sort(chosen)], True
    except FileNotFoundError:
        galaxies, real = made_up(options.galaxies), False
    library, count = psfs.psf_library(catalog=options.catalog), len(galaxies)
    chunks = list(generation.chunks(galaxies, library, flux="mag_auto", noise_std=3.16e-3))

    print(f"{count} {'catalogue' if real else 'made-up'} galaxies; per second of wall time, of CPU time")
    generation.render_chunk(chunks[0])
    bare, bare_cpu = rate(lambda: galsim_loop(chunks), count)
    print(f"GalSim loop with noise              {bare:10.1f} {bare_cpu:10.1f}")
    ours, ours_cpu = rate(lambda: [generation.render_chunk(chunk) for chunk in chunks], count)
    print(f"examples, one process               {ours:10.1f} {ours_cpu:10.1f}")
    print(f"    times GalSim                    {ours / bare:10.1f} {ours_cpu / bare_cpu:10.1f}")
    if not real:
        return
    rates, number = [], 4 * count
    for processes in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            build(folder, options.catalog, 64, processes)  # imports
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            builder = build(folder, options.catalog, number, processes)
            rates.append(number / (time.perf_counter() - start))
            if processes == 2 and not options.read:
                read(builder, 200)
    print(f"builder, one process                {rates[0]:10.1f}   {rates[0] / bare:.2f} of the GalSim loop")
    print(f"builder, two processes              {rates[1]:10.1f}   {rates[1] / rates[0]:.2f} of one process")
    if options.read:
        import tensorflow_datasets as tfds

        read(tfds.builder("cosmos_stamps/parametric", data_dir=options.read), 200)


if __name__ == "__main__":
    main()
