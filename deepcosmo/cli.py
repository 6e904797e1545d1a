"""The command `deepcosmo`. TensorFlow is imported by the subcommands that need it, and only there."""

import argparse
import codecs
import functools
import io
import json
import os
import sys
import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path

import deepcosmo
from deepcosmo._files import creatable, fits_and_picture

__all__ = ["main"]

DESCRIPTION = """\
A zoo of probabilistic deep-learning models for observational cosmology.

  deepcosmo list                      which models there are
  deepcosmo info flow_vae_cosmos      what one is for, how good it is, where its limits are
  deepcosmo sample flow_vae_cosmos    draw 64 galaxies: a picture (PNG) and the pixels (FITS)
  deepcosmo map --catalog shear.fits  dark matter from a shear catalogue: mean, scatter and samples (FITS, PNG)

The same from Python: import deepcosmo; model = deepcosmo.zoo.load("flow_vae_cosmos")"""

EPILOGUE = """\
environment:
  DEEPCOSMO_ZOO    folder of models that is searched before those that come with deepcosmo
  DEEPCOSMO_CACHE  folder for downloaded models (default: the platform's cache folder)
  DEEPCOSMO_URL    address of a download tree where models are looked for that are not on this machine
  DEEPCOSMO_COSMOS_DIR    galaxy images of COSMOS, for the data sets cosmos_stamps
  DEEPCOSMO_COSMOS_SHEAR  shear catalogue of COSMOS, for the data set lensing_pairs and the evaluation of score_kappa"""

CATALOGUES = """\
The catalogue, and the table of --points, is FITS, VOTable, ECSV or text with commas, semicolons, tabs or blanks between
columns, as its content tells, perhaps compressed; or the catalogue is a folder with one FITS array per column. Columns,
in any case: ra and dec, in deg unless the file gives them another unit; e1, g1 or gamma1; e2, g2 or gamma2; perhaps
weight or w. Galaxies with a missing value (empty, NaN, NA, null), or with an impossible e1 or e2 such as -999, are left
out, and their number is told."""

BATCH = 256


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: arguments after the program's name; by default those of the process.

    Returns:
        The exit status: 0, or 1 after one line on standard error that says what was wrong.
    """
    codecs.register_error("deepcosmo", _plain)
    for stream in (sys.stdout, sys.stderr):  # terminals and pipes that are not UTF-8
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="deepcosmo")
    arguments = _parser().parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # for this process alone, whatever other programs take
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: _complain(message)
            arguments.run(arguments)
        sys.stdout.flush()  # a closed pipe shows here, not at the end of the process
    except BrokenPipeError:  # `deepcosmo list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except (ValueError, OSError, FloatingPointError, ImportError) as error:
        of_file = isinstance(error, OSError) and error.strerror and error.filename
        _complain(f"{error.filename}: {error.strerror}" if of_file else error)  # type: ignore[union-attr]
        return 1
    except RuntimeError:  # Astropy cannot be imported where there is no home directory
        if _has_home():
            raise
        _complain("there is no home directory: set HOME to a folder that can be written to")
        return 1
    return 0


def _has_home():
    try:
        return bool(Path.home())
    except RuntimeError:
        return False


def _complain(message):
    print(f"deepcosmo: {' '.join(str(message).split())}", file=sys.stderr)


def _plain(error):
    """Handler of encoding errors: the byte of a file's name as it is, else the nearest ASCII or a question mark."""
    one = error.object[error.start]
    if "\udc80" <= one <= "\udcff":
        return bytes([ord(one) - 0xDC00]), error.start + 1
    text = unicodedata.normalize("NFKD", one.replace("±", "+-"))
    return text.encode("ascii", "ignore").decode() or "?", error.start + 1


def _parser():
    layout = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog="deepcosmo", description=DESCRIPTION, epilog=EPILOGUE, formatter_class=layout)
    parser.add_argument("--version", action="version", version=f"deepcosmo {deepcosmo.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(run, text, name=None):
        first = text.split(". ")[0].rstrip(".")
        sub = commands.add_parser(run.__name__[1:], help=first[0].lower() + first[1:], description=text)
        sub.set_defaults(run=run)
        if name:
            sub.add_argument("name", metavar="NAME", help=name)
        return sub

    published = "a model's name, see `deepcosmo list`"
    model = f"{published}, or its URL, http://host/name/version"
    recipe = f"{published}, or a file recipe.py"

    sub = command(_list, "List the models on this machine.")
    sub.add_argument("--task", help="only those for this task, for example generation")
    sub.add_argument("--dataset", help="only those trained on this data set, for example cosmos_stamps")

    command(_info, "Describe a model. Its metrics, its limits of validity, licence and citation.", model)

    sub = command(
        _sample,
        "Draw from a generative model. Galaxies come as a picture (PNG) and as pixels (FITS, with units, "
        "pixel scale and a table of the conditions); catalogues as a FITS table and a pair plot.",
        model,
    )
    sub.add_argument("-n", "--number", type=_positive, default=64, help="how many (default: 64)")
    sub.add_argument("--seed", type=int, default=0, help="same seed, same draws (default: 0)")
    sub.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("samples"),
        help="folder (default: samples), or a file to write, such as galaxies.fits",
    )

    sub = command(
        _map,
        "Map the dark matter of a field from its shear catalogue. The maps, with their WCS, go to OUT.fits; a figure "
        "goes to OUT.png.",
    )
    sub.epilog = CATALOGUES
    sub.add_argument("--catalog", type=Path, required=True, help="table of galaxies, or a folder of columns; see below")
    sub.add_argument(
        "-o",
        "--out",
        type=Path,
        default=Path("kappa"),
        help="files to write, with or without the suffix of one of them (default: kappa)",
    )
    sub.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="NAME=COLUMN",
        type=_assignment,
        help="column of ra, dec, e1, e2 or weight, if it has another name; may be repeated",
    )
    sub.add_argument(
        "--signs",
        nargs=2,
        type=int,
        default=(1, 1),
        choices=(1, -1),
        metavar=("E1", "E2"),
        help="factors of e1 and e2: 1 -1 if x runs to the west, as in images with north up (1 1)",
    )
    sub.add_argument(
        "--method", default="posterior", help="posterior (default), unet, wiener, sparse, tv or kaiser_squires"
    )
    sub.add_argument("-n", "--samples", type=_positive, default=8, help="samples of the posterior (default: 8)")
    sub.add_argument("--seed", type=int, default=0, help="same seed, same samples (default: 0)")
    sub.add_argument("--pixel-scale", type=float, help="arcmin (default: 0.293)")
    sub.add_argument("--points", type=Path, help="table with ra and dec of objects to mark; see below")

    sub = command(
        _train,
        "Train a model by its recipe. After each epoch the state is saved; the best weights are evaluated "
        "and written, with their card, to OUTPUT/NAME, so that `DEEPCOSMO_ZOO=OUTPUT deepcosmo sample NAME` "
        "uses them. TensorBoard logs are in OUTPUT/NAME/logs.",
        recipe,
    )
    sub.add_argument(
        "--strategy",
        choices=["one_device", "mirrored", "multi_worker", "tpu"],
        default="one_device",
        help="one_device (default); mirrored: all GPUs here; multi_worker: the machines in TF_CONFIG; tpu",
    )
    sub.add_argument(
        "--dataset", help="train on another data set that the recipe knows: cosmos_stamps/simulated needs no download"
    )
    sub.add_argument("--resume", action="store_true", help="go on with an interrupted training in OUTPUT")
    sub.add_argument("-o", "--output", type=Path, default=Path("runs"), help="folder (default: runs)")
    sub.add_argument("--publish", action="store_true", help="write the model into the zoo of this checkout")

    command(
        _evaluate,
        "Measure a model on data that its training never saw. Prints the figures, and writes them to the "
        "model's model.json and card.",
        published,
    )

    command(
        _renew,
        "Record a changed recipe of a model. Only its imports, and the words that describe the model, may differ from "
        "the recorded recipe, which is looked up in git; the words go to the model's model.json and card.",
        published,
    )

    sub = command(_export, "Write a model as a SavedModel. TensorFlow alone can run it.", model)
    sub.add_argument("directory", metavar="DIR", type=Path, help="new or empty folder to write to")

    command(_download, "Fetch a model into the cache. Says where its files are.", model)
    return parser


def _assignment(text):
    name, sign, column = text.partition("=")
    if not (name and sign and column):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=COLUMN")
    return name, column


def _positive(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _list(arguments):
    rows = deepcosmo.zoo.store.entries(arguments.task, arguments.dataset).values()
    if not rows:
        raise ValueError("no such model on this machine")
    lines = [("NAME", "VERSION", "TASK", "DATA SET", "SIZE", "")]
    lines += [(e.name, str(e.version), e.task, e.dataset, f"{e.size / 1e6:.1f} MB", e.summary) for e in rows]
    _print_columns(lines)


def _info(arguments):
    from deepcosmo.zoo.publishing import quantity

    entry = deepcosmo.zoo.info(arguments.name)
    print(f"{entry.name}, version {entry.version}: {entry.summary}\n")
    fields = ("task", "dataset", "parameters", "licence", "citation", "directory")
    _print_columns([(field, str(getattr(entry, field))) for field in fields])
    print(f"\nLimits: {entry.limits}\n")
    header = ("METRIC", "VALUE", "SPLIT", "SIZE", "REFERENCE")
    _print_columns(
        [header]
        + [
            (m["name"], quantity(m["value"], m["error"]), m["split"], str(m["size"]), m["reference"] or "")
            for m in entry.metrics
        ]
    )


def _sample(arguments):
    import numpy as np
    from tqdm import tqdm

    entry = deepcosmo.zoo.info(arguments.name)
    fits, picture = fits_and_picture(arguments.output, entry.name)
    print(f"Loading {entry.name} ...", flush=True)
    model = deepcosmo.zoo.load(arguments.name)
    if not hasattr(model, "draw"):
        raise ValueError(f"{entry.name} is a model for {entry.task}: it does not draw")
    counts = [min(BATCH, arguments.number - done) for done in range(0, arguments.number, BATCH)]
    later = np.random.SeedSequence(arguments.seed % 2**63).generate_state(len(counts) - 1) >> 1
    batches = [
        model.draw(count, seed=seed)
        for count, seed in tqdm(
            list(zip(counts, [arguments.seed, *map(int, later)], strict=True)), "drawing", disable=len(counts) == 1
        )
    ]
    drawn = {name: np.concatenate([np.asarray(batch[name]) for batch in batches]) for name in batches[0]}
    if bad := [name for name, values in drawn.items() if not np.isfinite(values).all()]:
        raise FloatingPointError(f"{entry.name} drew values that are not finite, of {', '.join(bad)}")

    from deepcosmo import plots

    fits.parent.mkdir(parents=True, exist_ok=True)
    _write_fits(fits, drawn, model, entry, arguments.seed)
    if "image" in drawn:
        plots.stamps(_stack(drawn["image"]), picture)
    else:
        columns = getattr(model, "pictured", drawn)
        plots.pairs({name: drawn[name] for name in columns}, picture, units=model.units)
    print(f"{arguments.number} draws, seed {arguments.seed}\n  picture  {picture}\n  FITS     {fits}")


def _stack(image):
    return image[..., 0] if image.ndim == 4 else image


def _write_fits(path, drawn, model, entry, seed):
    """Stacks of images as cubes, `image` in the primary HDU; everything else as columns of a table."""
    from astropy.io import fits

    images = {name: _stack(value) for name, value in drawn.items() if value.ndim > 1}
    columns = {name: value for name, value in drawn.items() if value.ndim == 1}
    primary = fits.PrimaryHDU(images.pop("image", None))
    cubes = [primary, *(fits.ImageHDU(cube, name=name) for name, cube in images.items())]
    for hdu, name in zip(cubes, ["image", *images], strict=True):
        if hdu.data is not None:
            hdu.header.update(_image_cards(model, name, hdu.data.shape))
    primary.header["MODEL"] = (entry.name, "model of the deepcosmo zoo")
    primary.header["MODELVER"] = entry.version
    primary.header["SEED"] = seed
    primary.header["CREATOR"] = f"deepcosmo {deepcosmo.__version__}"
    codes = {"f": "E", "i": "J", "b": "L"}
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column(name, codes[value.dtype.kind], model.units.get(name) or None, array=value)
            for name, value in columns.items()
        ],
        name="CONDITIONS" if "image" in drawn else "CATALOG",
    )
    fits.HDUList([*cubes, table]).writeto(path, overwrite=True)


def _image_cards(model, name, shape):
    """Units, zero point and a linear WCS in arcseconds from the centre of a stamp."""
    cards = {
        "BUNIT": (model.units[name], "per pixel"),
        "MAGZERO": (model.zero_point, "[mag] AB magnitude of 1 ct/s"),
        "PIXSCALE": (model.pixel_scale, "[arcsec] side of a pixel"),
        "PSFFWHM": (model.resolution, "[arcsec] FWHM of the Gaussian they are seen by"),
        "CTYPE3": ("GALAXY", "row of the table"),
        "CD3_3": 1.0,
    }
    for axis, size in ((1, shape[2]), (2, shape[1])):
        cards |= {
            f"CTYPE{axis}": ("LINEAR", "offset from the centre of the stamp"),
            f"CUNIT{axis}": "arcsec",
            f"CRPIX{axis}": (size + 1) / 2,
            f"CRVAL{axis}": 0.0,
            f"CD{axis}_{axis}": model.pixel_scale,
        }
    return cards


def _map(arguments):
    from tqdm import tqdm

    from deepcosmo import plots, skymaps
    from deepcosmo.inference.mass_mapping import field
    from deepcosmo.physics.catalog import PIXEL_SCALE

    pixel_scale = PIXEL_SCALE if arguments.pixel_scale is None else arguments.pixel_scale
    fits, picture = fits_and_picture(arguments.out)
    for given in filter(None, (arguments.catalog, arguments.points)):
        if fits.exists() and given.exists() and fits.samefile(given):
            raise ValueError(f"{fits} would be written over {given}: choose another --out")
    catalog = skymaps.read_catalog(arguments.catalog, columns=dict(arguments.column))
    points = skymaps.read_positions(arguments.points) if arguments.points else None
    print(f"{len(catalog['ra'])} galaxies, method {arguments.method} ...", flush=True)
    mapped = field.map_field(
        catalog,
        method=arguments.method,
        pixel_scale=pixel_scale,
        signs=arguments.signs,
        num_samples=arguments.samples,
        seed=arguments.seed,
        progress=functools.partial(tqdm, desc="sampling"),
    )
    fits.parent.mkdir(parents=True, exist_ok=True)
    mapped.write(fits, header={"SEED": arguments.seed, "CREATOR": f"deepcosmo {deepcosmo.__version__}"})
    plots.sky_maps(mapped.pictured(), picture, wcs=mapped.grid.wcs, points=points)
    print(f"  picture  {picture}\n  FITS     {fits}")
    if points is not None:
        found = field.coincidence(mapped.result.best, mapped, *points.T)
        print(
            f"mean convergence at {found.size} positions {found.mean:.4f}; at random ones {found.random_mean:.4f} +- "
            f"{found.random_std:.4f}, as large in {found.fraction:.1%} of 1000 sets"
        )


def _train(arguments):
    import tensorflow as tf
    from tqdm import tqdm

    from deepcosmo import training
    from deepcosmo.training import strategies
    from deepcosmo.zoo import publishing, store

    source = training.find_recipe(arguments.name)
    recipe = training.load_recipe(source, dataset=arguments.dataset)
    folder = creatable(arguments.output / recipe.name)
    model = training.train(recipe, strategy=arguments.strategy, resume=arguments.resume, work_dir=folder)
    if arguments.strategy == "multi_worker":
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        if not strategies.is_chief(resolver):
            return  # one worker is enough to write the results
    history = json.loads((folder / "history.json").read_text(encoding="utf-8"))["history"]
    seconds = sum(epoch["seconds"] for epoch in history)
    root = store.published_root() if arguments.publish else arguments.output
    entry = publishing.publish(
        model,
        recipe,
        metrics=recipe.evaluate(model, tqdm),
        training=publishing.provenance(seconds),
        root=root,
        source=source,
    )
    print(f"{entry.name}, version {entry.version}, is in {entry.directory}")


def _evaluate(arguments):
    from deepcosmo import training

    entry = training.evaluate(arguments.name)
    print(f"Written to {entry.directory / 'model.json'} and to the card beside it\n")
    _info(arguments)


def _renew(arguments):
    from deepcosmo import training

    entry = training.renew(arguments.name)
    print(f"Written to {entry.directory / 'model.json'} and to the card beside it")


def _export(arguments):
    from deepcosmo import export

    model = deepcosmo.zoo.load(arguments.name)
    folder = export.save(model, arguments.directory)
    print(f"SavedModel in {folder}, endpoints: {', '.join(model.endpoints())}")


def _download(arguments):
    print(deepcosmo.zoo.download(arguments.name, progress=sys.stderr.isatty()))


def _print_columns(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
