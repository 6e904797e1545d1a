"""Where published models are found: a local folder, then the cache, then a URL.

- Local: the folder `DEEPCOSMO_ZOO` if set, then the models that come with the package.
- Cache: `DEEPCOSMO_CACHE`, by default the platform's cache folder; one subfolder per origin.
- URL: the one given, or `<DEEPCOSMO_URL>/<name>/<version>`.

In the cache lies the unpacked archive of a download tree (see `archives`) and a list of the SHA-256 of its files,
written last: without it the copy is not used.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from deepcosmo._warnings import warn
from deepcosmo.zoo import archives
from deepcosmo.zoo.entry import DamagedFile, Entry, ZooError, check_name, unknown, verify

__all__ = ["cache_root", "entries", "find", "local_roots", "published_root", "remote_url"]

EXTRA = "assets.extra"
"""Folder of a SavedModel that TensorFlow leaves to the user: there the Keras files are."""

_SUMS = "sha256.json"


@dataclass(frozen=True)
class Reference:
    """What the user asked for: a name, perhaps a version, perhaps the URL of a download tree."""

    name: str
    version: int | None
    base: str | None

    @classmethod
    def parse(cls, name_or_url: str, version: int | None = None) -> Reference:
        if version is not None and (isinstance(version, bool) or not isinstance(version, int) or version < 1):
            raise ZooError(f"version must be a positive integer, not {version!r}")
        text = str(name_or_url)
        base = os.environ.get("DEEPCOSMO_URL", "").rstrip("/") or None
        if re.match(r"https?://", text):
            *parts, last = text.rstrip("/").split("/")
            if last.isdecimal():
                if version not in (None, int(last)):
                    raise ZooError(f"version={version} contradicts the URL {text}")
                version = int(last)
                *parts, last = parts
            text, base = last, "/".join(parts)
            if not urllib.parse.urlsplit(base).netloc:
                raise ZooError(f"{name_or_url} is not the URL of a model: http://host/name/version is")
        check_name(text)
        return cls(text, version, base)

    def __str__(self):
        return self.name + (f" version {self.version}" if self.version else "")


def published_root() -> Path:
    """Folder of the models that come with deepcosmo: in the installed package or in the checkout."""
    packaged = Path(__file__).parent / "_published"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "zoo"


def local_roots() -> list[Path]:
    """Folders of models on this machine, in the order in which they are searched.

    Raises:
        ZooError: DEEPCOSMO_ZOO names no folder that can be read.
    """
    chosen = _chosen("DEEPCOSMO_ZOO")
    if chosen is None:
        return [published_root()]
    try:
        os.listdir(chosen)
    except OSError as error:
        raise ZooError(f"DEEPCOSMO_ZOO is {chosen}, no folder that can be read: {error.strerror}") from None
    return [chosen, published_root()]


def cache_root() -> Path:
    """Folder of downloaded models.

    Raises:
        ZooError: the platform's cache folder is in a home directory, and there is none, as in some containers.
    """
    if chosen := _chosen("DEEPCOSMO_CACHE"):
        return chosen
    import pooch

    try:
        return Path(pooch.os_cache("deepcosmo")).expanduser()
    except RuntimeError:
        raise ZooError("there is no home directory for the cache: set DEEPCOSMO_CACHE to a folder") from None


def _chosen(variable):
    """The folder that an environment variable names, or None."""
    text = os.environ.get(variable)
    try:
        return Path(text).expanduser() if text else None
    except RuntimeError:
        raise ZooError(f"{variable} is {text}, and there is no such home directory") from None


def entries(task: str | None = None, dataset: str | None = None) -> dict[str, Entry]:
    """Models on this machine, published and cached, by name; the first found of each name.

    Args:
        task: only those of this task.
        dataset: only those whose data set begins like this.
    """
    folders = [path.parent for root in local_roots() for path in sorted(root.glob("*/model.json"))]
    folders += _cached("*/*/*")
    found = {}
    for folder in folders:
        try:
            entry = _read(folder)
        except ZooError as error:
            warn(f"skipped: {error}")
        else:
            found.setdefault(entry.name, entry)
    return {
        name: entry
        for name, entry in sorted(found.items())
        if task in (None, entry.task) and entry.dataset.startswith(dataset or "")
    }


def find(
    name_or_url: str,
    *,
    version: int | None = None,
    files: Iterable[str] | None = None,
    saved_model: bool = False,
    progress: bool = False,
) -> Entry:
    """The entry asked for, with the files in `files` (default: all) verified; downloaded if need be.

    A damaged copy is named in a warning, and the next place is tried.

    Raises:
        ZooError: no such model, no whole copy within reach, or one that only a newer release can read.
    """
    wanted = Reference.parse(name_or_url, version)
    trouble, versions = [], []
    for folder in _candidates(wanted):
        try:
            entry = _read(folder, saved_model)
            if wanted.version not in (None, entry.version):
                versions.append(entry.version)
                continue
            entry.verify(files)
            return entry
        except DamagedFile as error:
            trouble.append(str(error))
    for message in trouble:
        warn(f"{message}; looking for another copy")
    if wanted.base is None:
        if trouble:
            raise DamagedFile(f"{trouble[0]}, and there is no other copy (DEEPCOSMO_URL is not set)")
        if versions:
            raise ZooError(f"no {wanted} here, only version {', '.join(map(str, sorted(set(versions))))}")
        raise unknown(wanted.name, entries())
    return _fetch(wanted, progress)


def remote_url(name: str, version: int | None = None) -> str:
    """URL of a model in the download tree at `DEEPCOSMO_URL`; the newest version by default."""
    wanted = Reference.parse(name, version)
    if wanted.base is None:
        raise ZooError("set DEEPCOSMO_URL to the address of a download tree, such as https://host/models")
    version = wanted.version or archives.look_up(wanted.base, wanted.name)[0]
    return f"{wanted.base}/{wanted.name}/{version}"


def _candidates(wanted):
    """Folders where the wanted model may lie, in order; those that do not exist are left out."""
    of_url = wanted.base != (os.environ.get("DEEPCOSMO_URL", "").rstrip("/") or None)
    folders = [] if of_url else [root / wanted.name for root in local_roots()]
    origin = _origin(wanted.base) if wanted.base else "*"
    folders = [folder for folder in folders if folder.is_dir()]
    return folders + _cached(f"{origin}/{wanted.name}/{wanted.version or '*'}")


def _cached(pattern):
    """Folders of Keras files in the cache, the newest version first; none where the cache has no place."""
    try:
        folders = [path for path in cache_root().glob(f"{pattern}/{EXTRA}") if path.parent.name.isdecimal()]
    except ZooError:
        return []
    return sorted(folders, key=lambda path: (-int(path.parent.name), str(path)))


def _origin(base):
    return urllib.parse.quote(base.split("://")[1], safe="").replace("%", "_")


def _read(folder, saved_model=False):
    """The entry in a folder, once it is what the folder's place says; in the cache, it and the SavedModel are whole."""
    entry = Entry.read(folder)
    cached = folder.name == EXTRA
    name, version = (folder.parents[1].name, folder.parent.name) if cached else (folder.name, str(entry.version))
    if (entry.name, str(entry.version)) != (name, version):
        path, described = folder / "model.json", f"{entry.name} version {entry.version}"
        raise DamagedFile(f"{path} describes {described}, and its place is that of {name} version {version}")
    if cached:
        _verify_cached(folder.parent, saved_model)
    return entry


def _verify_cached(folder, saved_model):
    """Checks `model.json` and, if asked, the SavedModel of an unpacked archive."""
    try:
        sums = dict(json.loads((folder / _SUMS).read_text()))
        expected = {f"{EXTRA}/model.json": sums.pop(f"{EXTRA}/model.json")}
    except (OSError, KeyError, TypeError, ValueError):
        raise DamagedFile(f"{folder} is an incomplete download") from None
    if saved_model:
        expected |= {name: value for name, value in sums.items() if not name.startswith(f"{EXTRA}/")}
    for name, value in expected.items():
        verify(folder / name, value)


def _fetch(wanted, progress):
    """Downloads, checks and unpacks a model into the cache; safe while other processes do the same."""
    root = cache_root()
    try:
        version, archive = archives.look_up(wanted.base, wanted.name, wanted.version)
    except archives.OutOfReach as error:
        raise ZooError(f"no {wanted} in the cache {root}, and {error}") from None
    folder = root / _origin(wanted.base) / wanted.name / str(version)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as temporary:
            sums = archives.fetch(archive, Path(temporary), progress)
            content = Path(temporary, "content")
            entry = Entry.read(content / EXTRA)
            if (entry.name, entry.version) != (wanted.name, version):
                raise DamagedFile(
                    f"{archive.url} was refused: it holds {entry.name} version {entry.version}, and its index.json "
                    f"promises {wanted.name} version {version}"
                )
            entry.verify()
            for name in sums:  # each in one step, so that no reader sees half a file
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(content / name, folder / name)
            (content / _SUMS).write_text(json.dumps(sums, indent=1))
            os.replace(content / _SUMS, folder / _SUMS)
    except OSError as error:
        raise ZooError(f"{folder} cannot be written to ({error}); DEEPCOSMO_CACHE names another folder") from None
    return replace(entry, directory=folder / EXTRA)
