"""The commands, functions of what `arguments` has read. TensorFlow is imported only by those that need it."""

import functools
import json
import sys
from argparse import Namespace

import deepcosmo
from deepcosmo._files import creatable, fits_and_picture

__all__: list[str] = []

BATCH = 256


def list_(arguments: Namespace) -> None:
    rows = deepcosmo.zoo.store.entries(arguments.task, arguments.dataset).values()
    if not rows:
        raise ValueError("no such model on this machine")
    lines = [("NAME", "VERSION", "TASK", "DATA SET", "SIZE", "")]
    lines += [(e.name, str(e.version), e.task, e.dataset, f"{e.size / 1e6:.1f} MB", e.summary) for e in rows]
    _print_columns(lines)


def info(arguments: Namespace) -> None:
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


def sample(arguments: Namespace) -> None:
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
    from deepcosmo.cli.drawn_files import stack, write

    fits.parent.mkdir(parents=True, exist_ok=True)
    write(fits, drawn, model, entry, arguments.seed)
    if "image" in drawn:
        plots.stamps(stack(drawn["image"]), picture)
    else:
        columns = getattr(model, "pictured", drawn)
        plots.pairs({name: drawn[name] for name in columns}, picture, units=model.units)
    print(f"{arguments.number} draws, seed {arguments.seed}\n  picture  {picture}\n  FITS     {fits}")


def map_(arguments: Namespace) -> None:
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


def train(arguments: Namespace) -> None:
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


def evaluate(arguments: Namespace) -> None:
    from deepcosmo import training

    entry = training.evaluate(arguments.name)
    print(f"Written to {entry.directory / 'model.json'} and to the card beside it\n")
    info(arguments)


def renew(arguments: Namespace) -> None:
    from deepcosmo import training

    entry = training.renew(arguments.name)
    print(f"Written to {entry.directory / 'model.json'} and to the card beside it")


def export(arguments: Namespace) -> None:
    from deepcosmo import export

    model = deepcosmo.zoo.load(arguments.name)
    folder = export.save(model, arguments.directory)
    print(f"SavedModel in {folder}, endpoints: {', '.join(model.endpoints())}")


def download(arguments: Namespace) -> None:
    print(deepcosmo.zoo.download(arguments.name, progress=sys.stderr.isatty()))


def _print_columns(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
