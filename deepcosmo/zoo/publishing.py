"""Writing the zoo: the files of a published model, its card and the table of models in the README."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcosmo._files import write_text
from deepcosmo._types import PathLike
from deepcosmo.zoo import golden, store
from deepcosmo.zoo.entry import CONFIG, GOLDEN, RECIPE, WEIGHTS, Entry, ZooError, check_name, sha256

if TYPE_CHECKING:
    import keras

__all__ = [
    "audit",
    "card",
    "fingerprint",
    "pictures",
    "provenance",
    "publish",
    "record_metrics",
    "table",
    "write",
    "write_table",
]

LARGEST_FILE = 8 * 2**20  # bytes; the zoo travels with the package

_TABLE = re.compile(r"(<!-- models[^>]*-->\n).*?(<!-- /models -->)", re.DOTALL)


def publish(
    model: keras.Model,
    recipe: Any,
    *,
    metrics: Iterable[Any],
    training: Mapping[str, Any],
    root: PathLike | None = None,
    source: PathLike | None = None,
) -> Entry:
    """Writes a trained model into the zoo.

    The files are written from a model rebuilt from its configuration, as a reader will do, so that a
    configuration that does not reproduce the model fails here.

    Args:
        model: the trained `ProbabilisticModel`.
        recipe: the `deepcosmo.training.Recipe` that it was trained by.
        metrics: list of `deepcosmo.training.Metric`, or of dicts with the same fields.
        training: dict with `seconds`, `hardware`, `git_revision` and `versions`.
        root: folder of the zoo; by default the one of this checkout.
        source: file that defines the recipe; by default the `recipe.py` in the model's folder.

    Returns:
        The new `Entry`.

    Raises:
        ZooError: no recipe file, a file too large, or a model that does not repeat itself.
    """
    import keras

    check_name(recipe.name)
    folder = Path(root or store.published_root()) / recipe.name
    source = Path(source or folder / RECIPE)
    if not source.is_file():
        raise ZooError(f"{source} is missing: a published model comes with its recipe")
    config = keras.saving.serialize_keras_object(model)
    config.pop("compile_config", None)  # optimiser and its state stay behind
    rebuilt = keras.saving.deserialize_keras_object(config)
    rebuilt.set_weights(model.get_weights())
    arrays = recipe.golden(rebuilt)

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as part:  # checked there, then moved into place
        part = Path(part)
        (part / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        shutil.copyfile(source, part / RECIPE)
        rebuilt.save_weights(part / WEIGHTS)
        np.savez_compressed(part / GOLDEN, **arrays)
        if large := [path.name for path in part.iterdir() if path.stat().st_size > LARGEST_FILE]:
            raise ZooError(f"larger than {LARGEST_FILE // 2**20} MiB: {', '.join(large)} of {recipe.name}")
        rebuilt.load_weights(part / WEIGHTS)
        worst = golden.deviations(golden.call_keras(rebuilt), arrays)
        if far := [name for name, value in worst.items() if not value < golden.TOLERANCE]:
            raise ZooError(f"{recipe.name} does not reproduce its own golden arrays: {', '.join(far)}")
        for path in part.iterdir():
            os.replace(path, folder / path.name)
    files = {name: fingerprint(folder / name) for name in (CONFIG, WEIGHTS, GOLDEN, RECIPE)}
    entry = Entry(
        name=recipe.name,
        version=recipe.version,
        model_class=config["registered_name"],
        task=recipe.task,
        summary=recipe.summary,
        dataset=recipe.dataset,
        parameters=model.count_params(),
        files=files,
        metrics=_as_dicts(metrics),
        weights_sha256_evaluated=files[WEIGHTS]["sha256"],
        training=dict(training),
        licence=recipe.licence,
        citation=recipe.citation,
        limits=recipe.limits,
        directory=folder,
    )
    write(entry)
    return entry


def record_metrics(name: str, metrics: Iterable[Any], *, root: PathLike | None = None) -> Entry:
    """Replaces the metrics of a published model by newly measured ones.

    Args:
        name: its name.
        metrics: as in `publish`, measured with the weights in the zoo.
        root: folder of the zoo; by default the one of this checkout.

    Returns:
        The new `Entry`.
    """
    entry = Entry.read(Path(root or store.published_root()) / name)
    entry.verify([CONFIG, WEIGHTS, GOLDEN])
    entry = dataclasses.replace(
        entry,
        metrics=_as_dicts(metrics),
        weights_sha256_evaluated=entry.files[WEIGHTS]["sha256"],
        files=entry.files | {RECIPE: fingerprint(entry.directory / RECIPE)},  # it defines the evaluation
    )
    write(entry)
    return entry


def provenance(seconds: float) -> dict[str, Any]:
    """Where and with what a model was trained: the `training` of `publish`."""
    import tensorflow as tf

    devices = [tf.config.experimental.get_device_details(d) for d in tf.config.list_physical_devices("GPU")]
    accelerators = [details.get("device_name", "GPU") for details in devices]
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        revision = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        revision = None  # not a checkout
    packages = ("tensorflow", "keras", "tensorflow-probability")
    return {
        "seconds": round(seconds),
        "hardware": ", ".join([f"{os.cpu_count()} CPU cores ({platform.machine()})", *accelerators]),
        "git_revision": revision,
        "versions": {name: metadata.version(name) for name in packages},
    }


def audit(folder: Path) -> list[str]:
    """What is wrong with a published model: a list of lines, empty if all is well."""
    try:
        entry = Entry.read(folder)
    except ZooError as error:
        return [str(error)]
    problems = []
    for name in entry.files:
        try:
            entry.verify([name])
        except ZooError as error:
            advice = f": run `deepcosmo renew {entry.name}`" if name == RECIPE else ""
            problems.append(f"{error}{advice}")
    if entry.name != folder.name:
        problems.append(f"the folder of {entry.name} is called {folder.name}")
    if missing := {CONFIG, WEIGHTS, GOLDEN, RECIPE} - set(entry.files):
        problems.append(f"files not listed: {', '.join(sorted(missing))}")
    problems += [
        f"{name} has {file['bytes'] / 2**20:.1f} MiB, more than {LARGEST_FILE // 2**20}"
        for name, file in entry.files.items()
        if file["bytes"] > LARGEST_FILE
    ]
    if entry.weights_sha256_evaluated != entry.files.get(WEIGHTS, {}).get("sha256"):
        problems.append("the metrics were not measured with these weights: run `deepcosmo evaluate`")
    if not entry.metrics:
        problems.append("no metrics: run `deepcosmo evaluate`")
    for name in ("task", "summary", "dataset", "licence", "citation", "limits"):
        if not getattr(entry, name):
            problems.append(f"{name} is empty")
    written = folder / "README.md"
    if not written.is_file() or written.read_text(encoding="utf-8") != card(entry):
        problems.append(f"README.md is not the card of this model.json: run `deepcosmo renew {entry.name}`")
    return problems


def pictures(entry: Entry) -> list[str]:
    """Names of the pictures in the folder of a model, which its card shows."""
    return sorted(path.name for path in entry.directory.glob("*.png"))


def card(entry: Entry) -> str:
    """The card of a model, Markdown."""
    shown = "".join(f"![{entry.name}]({name})\n\n" for name in pictures(entry))
    measured = "\n".join(
        _row(m["name"], quantity(m["value"], m["error"]), m["reference"] or "", m["split"], m["size"])
        for m in entry.metrics
    )
    seconds, versions = entry.training.get("seconds"), entry.training.get("versions", {})
    trained = [f"{seconds / 3600:.1f} h" if seconds else "", entry.training.get("hardware", "")]
    trained += [f"{name} {version}" for name, version in versions.items()]
    if revision := entry.training.get("git_revision"):
        trained.append(f"revision {revision[:12]}")
    return f"""# {entry.name}, version {entry.version}

{entry.summary}

    import deepcosmo
    model = deepcosmo.zoo.load("{entry.name}")

{shown}| | |
| --- | --- |
| task | {entry.task} |
| class | `{entry.model_class}` |
| data set | {entry.dataset} |
| parameters | {entry.parameters:,} |
| size | {entry.size / 1e6:.1f} MB |
| training | {", ".join(part for part in trained if part)} |
| licence | {entry.licence} |

How it was trained is in [recipe.py](recipe.py): `deepcosmo train {entry.name}` does it again.

## Measured

On data that the training never saw, by `deepcosmo evaluate {entry.name}`.

| figure | value | reference | split | size |
| --- | --- | --- | --- | --- |
{measured}

## Limits

{entry.limits}

## Citation

{entry.citation}
"""


def table(entries: Iterable[Entry]) -> str:
    """The table of models for the README, Markdown."""
    rows = ["| model | for | data set | parameters | size | measured |", "| --- " * 6 + "|"]
    for e in entries:
        figures = "; ".join(f"{m['name']} {quantity(m['value'], m['error'])}" for m in e.metrics[:3])
        link, size = f"[{e.name}](zoo/{e.name}/README.md)", f"{e.size / 1e6:.1f} MB"
        rows.append(_row(link, e.task, e.dataset, f"{e.parameters:,}", size, figures))
    return "\n".join(rows) + "\n"


def _row(*cells):
    """A row of a Markdown table."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def write_table(root: PathLike) -> None:
    """Writes the table of the models in `root` between the markers of the README beside it, if any."""
    readme = Path(root).parent / "README.md"
    if readme.is_file():
        new = table(Entry.read(path.parent) for path in sorted(Path(root).glob("*/model.json")))
        text = _TABLE.sub(lambda match: match[1] + new + match[2], readme.read_text(encoding="utf-8"))
        write_text(readme, text)


def quantity(value: float, error: float | None) -> str:
    """A value with its error, rounded to two digits of the error."""
    if not error or not math.isfinite(error):
        return f"{value:.5g}"
    decimals = max(0, 1 - math.floor(math.log10(abs(error))))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"


def _as_dicts(metrics):
    return tuple(m if isinstance(m, dict) else dataclasses.asdict(m) for m in metrics)


def fingerprint(path: Path) -> dict[str, Any]:
    """SHA-256 and size of a file, as `Entry.files` holds them."""
    return {"sha256": sha256(path), "bytes": path.stat().st_size}


def write(entry: Entry) -> None:
    """Writes `model.json` and the card of a published model."""
    entry.write()
    write_text(entry.directory / "README.md", card(entry))
    write_table(entry.directory.parent)
