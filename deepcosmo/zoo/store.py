"""Where published models are found: a local folder, then the cache, then a URL.

- Local: the folder `DEEPCOSMO_ZOO` if set, then the models that come with the package.
- Cache: `DEEPCOSMO_CACHE`, by default the platform's cache folder; one subfolder per origin.
- URL: the one given, or `<DEEPCOSMO_URL>/<name>/<version>`.

A download tree (see `export/build.py`) has an `index.json` with the SHA-256 of every archive
`<name>/<version>.tar.gz`: a SavedModel with the Keras files under `assets.extra/`. In the cache lies the
unpacked archive and a list of the SHA-256 of its files, written last: without it the copy is not used.
"""

import difflib
import http.client
import json
import os
import re
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import warnings
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deepcosmo.zoo.entry import DamagedFile, Entry, ZooError, check_format, check_name, sha256, verify

__all__ = ["cache_root", "entries", "find", "local_roots", "published_root", "remote_url"]

EXTRA = "assets.extra"
"""Folder of a SavedModel that TensorFlow leaves to the user: there the Keras files are."""

_SUMS = "sha256.json"
_TIMEOUT = 30.0  # seconds without a byte


@dataclass(frozen=True)
class Reference:
    """What the user asked for: a name, perhaps a version, perhaps the URL of a download tree."""

    name: str
    version: int | None
    base: str | None

    @classmethod
    def parse(cls, name_or_url, version=None):
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


def published_root():
    """Folder of the models that come with deepcosmo: in the installed package or in the checkout."""
    packaged = Path(__file__).parent / "_published"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "zoo"


def local_roots():
    """Folders of models on this machine, in the order in which they are searched."""
    chosen = _chosen("DEEPCOSMO_ZOO")
    return [chosen, published_root()] if chosen else [published_root()]


def cache_root():
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


def entries():
    """All models on this machine, published and cached, by name; the first found of each name."""
    folders = [path.parent for root in local_roots() for path in sorted(root.glob("*/model.json"))]
    folders += _cached("*/*/*")
    found = {}
    for folder in folders:
        try:
            entry = Entry.read(folder)
        except ZooError as error:
            warnings.warn(f"skipped: {error}", stacklevel=3)
        else:
            found.setdefault(entry.name, entry)
    return dict(sorted(found.items()))


def find(name_or_url, *, version=None, files=None, saved_model=False, progress=False):
    """The entry asked for, with the files in `files` (default: all) verified; downloaded if need be.

    A damaged copy is named in a warning, and the next place is tried.

    Raises:
        ZooError: no such model, no whole copy within reach, or one that only a newer release can read.
    """
    wanted = Reference.parse(name_or_url, version)
    trouble, versions = [], []
    for folder in _candidates(wanted):
        try:
            entry = Entry.read(folder)
            if entry.name != wanted.name:
                raise DamagedFile(f"{folder / 'model.json'} describes {entry.name}, not {wanted.name}")
            if wanted.version not in (None, entry.version):
                versions.append(entry.version)
                continue
            entry.verify(files)
            if folder.name == EXTRA:
                _verify_cached(folder.parent, saved_model)
            return entry
        except DamagedFile as error:
            trouble.append(str(error))
    for message in trouble:
        warnings.warn(f"{message}; looking for another copy", stacklevel=3)
    if wanted.base is None:
        if trouble:
            raise DamagedFile(f"{trouble[0]}, and there is no other copy (DEEPCOSMO_URL is not set)")
        if versions:
            raise ZooError(f"no {wanted} here, only version {', '.join(map(str, sorted(set(versions))))}")
        raise _unknown(wanted.name, entries())
    return _fetch(wanted, progress)


def remote_url(name, version=None):
    """URL of a model in the download tree at `DEEPCOSMO_URL`; the newest version by default."""
    wanted = Reference.parse(name, version)
    if wanted.base is None:
        raise ZooError("set DEEPCOSMO_URL to the address of a download tree, such as https://host/models")
    if wanted.version is None:
        wanted, _ = _look_up(wanted)
    return f"{wanted.base}/{wanted.name}/{wanted.version}"


def _candidates(wanted):
    """Folders where the wanted model may lie, in order; those that do not exist are left out."""
    of_url = wanted.base != (os.environ.get("DEEPCOSMO_URL", "").rstrip("/") or None)
    folders = [] if of_url else [root / wanted.name for root in local_roots()]
    origin = _origin(wanted.base) if wanted.base else "*"
    folders += _cached(f"{origin}/{wanted.name}/{wanted.version or '*'}")
    return [folder for folder in folders if folder.is_dir()]


def _cached(pattern):
    """Folders of Keras files in the cache, the newest version first; none where the cache has no place."""
    try:
        folders = [path for path in cache_root().glob(pattern) if path.name.isdecimal()]
    except ZooError:
        return []
    return [path / EXTRA for path in sorted(folders, key=lambda path: (-int(path.name), str(path)))]


def _origin(base):
    return urllib.parse.quote(base.split("://")[1], safe="").replace("%", "_")


def _verify_cached(folder, saved_model):
    """Checks `model.json` and, if asked, the SavedModel of an unpacked archive."""
    try:
        sums = json.loads((folder / _SUMS).read_text())
    except (OSError, ValueError):
        raise DamagedFile(f"{folder} is an incomplete download") from None
    for name, expected in sums.items():
        if name == f"{EXTRA}/model.json" or (saved_model and not name.startswith(f"{EXTRA}/")):
            verify(folder / name, expected)


def _unknown(name, known):
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known) or 'none'}"
    return ZooError(f"no model is called {name!r}; {hint}")


def _look_up(wanted):
    """The reference with its version filled in, and its record in the download tree's index."""
    url = f"{wanted.base}/index.json"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
            index = json.load(response)
        check_format(index, url)
        models = index["models"]
        if wanted.name not in models:
            raise _unknown(wanted.name, models)
        version = wanted.version or max(map(int, models[wanted.name]))
        if str(version) not in models[wanted.name]:
            raise ZooError(f"{url} lists {wanted.name} only in version {', '.join(models[wanted.name])}")
        record = models[wanted.name][str(version)]
        return Reference(wanted.name, version, wanted.base), (record["archive"], record["sha256"])
    except ZooError:
        raise
    except urllib.error.HTTPError as error:
        raise ZooError(f"{url}: {error.code} {error.reason}; is this a download tree?") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ZooError(
            f"no {wanted} in the cache {cache_root()}, and {url} is out of reach: {reason}"
        ) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DamagedFile(f"{url} is damaged: {error}") from None


def _fetch(wanted, progress):
    """Downloads, checks and unpacks a model; safe while other processes do the same."""
    import pooch
    import requests

    wanted, (archive, expected) = _look_up(wanted)
    url = urllib.parse.urljoin(f"{wanted.base}/", archive)
    folder = cache_root() / _origin(wanted.base) / wanted.name / str(wanted.version)
    folder.mkdir(parents=True, exist_ok=True)
    pooch.get_logger().setLevel("WARNING")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as temporary:
        known = {"registry": {"archive": expected}, "urls": {"archive": url}}
        site = pooch.create(path=temporary, base_url="", retry_if_failed=1, **known)
        downloader = pooch.HTTPDownloader(progressbar=progress, timeout=_TIMEOUT)
        try:
            path = site.fetch("archive", downloader=downloader)
            _unpack(path, folder, Path(temporary))
        except requests.RequestException as error:
            raise ZooError(f"{url} could not be fetched: {error}") from None
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise DamagedFile(f"{url} was refused, it is not what its index.json promises: {error}") from None
    entry = Entry.read(folder / EXTRA)
    entry.verify()
    return entry


def _unpack(archive, folder, temporary):
    """Puts the files of an archive into `folder`, each in one step, so that no reader sees half a file."""
    sums = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            name = PurePosixPath(member.name)
            if name.is_absolute() or ".." in name.parts:
                raise ValueError(f"it has a file outside its folder, {name}")
            if member.isfile():
                part = temporary / "part"
                part.write_bytes(tar.extractfile(member).read())
                sums[str(name)] = sha256(part)
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(part, folder / name)
    part = temporary / "part"
    part.write_text(json.dumps(sums, indent=1))
    os.replace(part, folder / _SUMS)
