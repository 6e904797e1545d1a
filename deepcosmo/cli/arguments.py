"""What the commands take, and their help."""

import argparse
from pathlib import Path

import deepcosmo
from deepcosmo.cli import commands

__all__: list[str] = []

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


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """The parser of the program; a command is the function `run` among its arguments."""
    layout = argparse.RawDescriptionHelpFormatter
    program = _Parser(prog="deepcosmo", description=DESCRIPTION, epilog=EPILOGUE, formatter_class=layout)
    program.add_argument("--version", action="version", version=f"deepcosmo {deepcosmo.__version__}")
    subparsers = program.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(run, text, name=None):
        first = text.split(". ")[0].rstrip(".")
        sub = subparsers.add_parser(run.__name__.rstrip("_"), help=first[0].lower() + first[1:], description=text)
        sub.set_defaults(run=run)
        if name:
            sub.add_argument("name", metavar="NAME", help=name)
        return sub

    published = "a model's name, see `deepcosmo list`"
    model = f"{published}, or its URL, http://host/name/version"
    recipe = f"{published}, or a file recipe.py"

    sub = command(commands.list_, "List the models on this machine.")
    sub.add_argument("--task", help="only those for this task, for example generation")
    sub.add_argument("--dataset", help="only those trained on this data set, for example cosmos_stamps")

    command(commands.info, "Describe a model. Its metrics, its limits of validity, licence and citation.", model)

    sub = command(
        commands.sample,
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
        commands.map_,
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
        commands.train,
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
        commands.evaluate,
        "Measure a model on data that its training never saw. Prints the figures, and writes them to the "
        "model's model.json and card.",
        published,
    )

    command(
        commands.renew,
        "Record a changed recipe of a model. Only its imports, and the words that describe the model, may differ from "
        "the recorded recipe, which is looked up in git; the words go to the model's model.json and card.",
        published,
    )

    sub = command(commands.export, "Write a model as a SavedModel. TensorFlow alone can run it.", model)
    sub.add_argument("directory", metavar="DIR", type=Path, help="new or empty folder to write to")

    command(commands.download, "Fetch a model into the cache. Says where its files are.", model)
    return program


def _assignment(text):
    name, sign, column = text.partition("=")
    if not (name and sign and column):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=COLUMN")
    return name, column


def _positive(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)
