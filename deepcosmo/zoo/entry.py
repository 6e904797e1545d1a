"""What the zoo knows of a published model: the content of its `model.json`."""

import dataclasses
import difflib
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from deepcosmo._files import write_text
from deepcosmo._types import PathLike

__all__ = ["DamagedFile", "Entry", "ZooError", "sha256"]

FORMAT = 1
"""Version of the layout of `model.json`, the archives and the index that this release reads and writes."""

WEIGHTS, CONFIG, GOLDEN, RECIPE = "model.weights.h5", "config.json", "golden.npz", "recipe.py"

_NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
_FILE = re.compile(r"\w[\w.-]*")


class ZooError(ValueError):
    """A model that cannot be found or used; the message is one line meant for the user."""


class DamagedFile(ZooError):
    """A file that is missing, truncated or not the one that was published."""


def sha256(path: PathLike) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def verify(path: Path, expected: str) -> None:
    """Raises `DamagedFile` unless `path` holds the content whose SHA-256 is `expected`."""
    if not path.is_file():
        raise DamagedFile(f"{path} is missing")
    if (found := sha256(path)) != expected:
        raise DamagedFile(f"{path} is damaged: its sha256 is {found:.12}..., not {expected!s:.12}...")


def parse(text: str | bytes, path: PathLike) -> dict[str, Any]:
    """The content, a dict, of a JSON file of this layout, without the version of the layout.

    Args:
        text: of the file, str or bytes.
        path: what messages call the file.

    Raises:
        DamagedFile: it holds something else.
        ZooError: it was written by a release whose layout this one does not know.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedFile(f"{path} is damaged: {error}") from None
    if not isinstance(content, dict) or not isinstance(written := content.pop("format", None), int):
        raise DamagedFile(f"{path} is damaged: it does not say in which format it is written")
    if written > FORMAT:
        raise ZooError(
            f"{path} was written by a newer deepcosmo (format {written}, this one reads up to {FORMAT}): update with "
            "`pip install -U deepcosmo`"
        )
    return content


def check_name(name: str) -> None:
    """Raises `ZooError` unless `name` may be the name of a model, hence of a folder."""
    if not _NAME.fullmatch(name):
        raise ZooError(f"{name!r} is no model name: names are lower-case letters, digits and underscores")


def unknown(name: str, known: Iterable[str]) -> ZooError:
    """The error for a name that is not among the `known` ones; it says which are near."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known) or 'none'}"
    return ZooError(f"no model is called {name!r}; {hint}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A published model.

    Attributes:
        name: `<family>_<dataset>`.
        version: integer; a published version never changes.
        model_class: registered Keras name of the class, such as ``"deepcosmo>MAF"``.
        task: what the model is for, in a word or two.
        summary: one sentence.
        dataset: data set and version that it was trained on.
        parameters: number of weights.
        files: file name -> ``{"sha256": ..., "bytes": ...}``.
        metrics: measured figures, each a dict with `name, value, error, reference, split, size`.
        weights_sha256_evaluated: SHA-256 of the weights that the metrics were measured with.
        training: seconds, hardware, git revision and versions of the run that made the weights.
        licence: licence of the weights.
        citation: what to cite.
        limits: where the model is not valid.
        directory: folder that holds the files.
    """

    name: str
    version: int
    model_class: str
    task: str
    summary: str
    dataset: str
    parameters: int
    files: dict
    metrics: tuple
    weights_sha256_evaluated: str
    training: dict
    licence: str
    citation: str
    limits: str
    directory: Path

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if not isinstance(value := getattr(self, field.name), field.type):
                raise TypeError(f"{field.name} must be of type {field.type.__name__}, not {value!r}")
        check_name(self.name)
        if self.version < 1:
            raise ValueError(f"version must be 1 or more, not {self.version}")
        for name, file in self.files.items():
            if not _FILE.fullmatch(name):
                raise ValueError(f"files lists {name!r}, which is not the name of a file in the model's folder")
            if not isinstance(file["sha256"], str) or not isinstance(file["bytes"], int):
                raise TypeError(f"files lists {name} with {file!r}, without a sha256 or without bytes")
        for metric in self.metrics:
            if missing := {"name", "value", "error", "reference", "split", "size"} - metric.keys():
                raise ValueError(f"a metric has no {', '.join(sorted(missing))}")

    @classmethod
    def read(cls, directory: PathLike) -> "Entry":
        """The entry whose `model.json` is in `directory`.

        Raises:
            DamagedFile: `model.json` is missing, truncated or incomplete.
            ZooError: it was written by a newer release.
        """
        path = Path(directory) / "model.json"
        try:
            content = parse(path.read_bytes(), path)
        except FileNotFoundError:
            raise DamagedFile(f"{path} is missing") from None
        except OSError as error:
            raise DamagedFile(f"{path} cannot be read: {error.strerror}") from None
        try:
            content["metrics"] = tuple(content["metrics"])
            return cls(model_class=content.pop("class"), directory=path.parent, **content)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DamagedFile(f"{path} is damaged: {error}") from None

    def write(self) -> None:
        """Writes `model.json` into the entry's directory."""
        content = {"format": FORMAT, "name": self.name, "version": self.version, "class": self.model_class}
        content |= {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("name", "version", "model_class", "directory")
        }
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        write_text(self.directory / "model.json", text)

    def verify(self, names: Iterable[str] | None = None) -> None:
        """Checks the named files, by default all of them, against their SHA-256.

        Raises:
            DamagedFile: the first file that is missing or differs.
        """
        for name in self.files if names is None else names:
            if name not in self.files:
                raise DamagedFile(f"{self.directory / 'model.json'} lists no {name}")
            verify(self.directory / name, self.files[name]["sha256"])

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file["bytes"] for file in self.files.values())
