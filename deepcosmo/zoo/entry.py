"""What the zoo knows of a published model: the content of its `model.json`."""

import dataclasses
import hashlib
import json
import re
from pathlib import Path

__all__ = ["DamagedFile", "Entry", "ZooError", "sha256"]

FORMAT = 1
"""Version of the layout of `model.json`, the archives and the index that this release reads and writes."""

WEIGHTS, CONFIG, GOLDEN, RECIPE = "model.weights.h5", "config.json", "golden.npz", "recipe.py"

_NAME = re.compile(r"[a-z0-9][a-z0-9_]*")


class ZooError(ValueError):
    """A model that cannot be found or used; the message is one line meant for the user."""


class DamagedFile(ZooError):
    """A file that is missing, truncated or not the one that was published."""


def sha256(path):
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def verify(path, expected):
    """Raises `DamagedFile` unless `path` holds the content whose SHA-256 is `expected`."""
    if not path.is_file():
        raise DamagedFile(f"{path} is missing")
    if (found := sha256(path)) != expected:
        raise DamagedFile(f"{path} is damaged: its sha256 is {found[:12]}..., not {expected[:12]}...")


def check_format(content, path):
    """Raises `ZooError` if `content` was written by a release whose layout this one does not know."""
    if content.get("format", 0) > FORMAT:
        raise ZooError(
            f"{path} was written by a newer deepcosmo (format {content['format']}, this one reads up to "
            f"{FORMAT}): update with `pip install -U deepcosmo`"
        )


def check_name(name):
    """Raises `ZooError` unless `name` may be the name of a model, hence of a folder."""
    if not _NAME.fullmatch(name):
        raise ZooError(f"{name!r} is no model name: names are lower-case letters, digits and underscores")


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

    @classmethod
    def read(cls, directory):
        """The entry whose `model.json` is in `directory`.

        Raises:
            DamagedFile: `model.json` is missing, truncated or incomplete.
            ZooError: it was written by a newer release.
        """
        path = Path(directory) / "model.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            check_format(content, path)
            del content["format"]
            content["metrics"] = tuple(content["metrics"])
            return cls(model_class=content.pop("class"), directory=path.parent, **content)
        except FileNotFoundError:
            raise DamagedFile(f"{path} is missing") from None
        except (AttributeError, KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise DamagedFile(f"{path} is damaged: {error}") from None

    def write(self):
        """Writes `model.json` into the entry's directory."""
        content = {"format": FORMAT, "name": self.name, "version": self.version, "class": self.model_class}
        content |= {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("name", "version", "model_class", "directory")
        }
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (self.directory / "model.json").write_text(text, encoding="utf-8")

    def verify(self, names=None):
        """Checks the named files, by default all of them, against their SHA-256.

        Raises:
            DamagedFile: the first file that is missing or differs.
        """
        for name in self.files if names is None else names:
            if name not in self.files:
                raise DamagedFile(f"{self.directory / 'model.json'} lists no {name}")
            verify(self.directory / name, self.files[name]["sha256"])

    @property
    def size(self):
        """Bytes of all files together."""
        return sum(file["bytes"] for file in self.files.values())
