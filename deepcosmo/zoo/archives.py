"""Download trees: the index of a server and the archives that it lists, fetched and unpacked, or refused.

A tree (see `export/build.py`) has an `index.json` with the SHA-256 and the sizes of every archive
`<name>/<version>.tar.gz`: a SavedModel with the Keras files under `assets.extra/`.
"""

from __future__ import annotations

import gzip
import http.client
import re
import shutil
import tarfile
import urllib.error
import urllib.parse
import urllib.request
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deepcosmo.zoo.entry import DamagedFile, ZooError, check_name, parse, sha256, unknown

__all__ = ["Archive", "OutOfReach", "fetch", "look_up"]

LARGEST = 256 * 2**20
"""Bytes of an archive, and of the tar file in it, where the index does not tell them."""

LARGEST_INDEX = 4 * 2**20

_TIMEOUT = 30.0  # seconds without a byte


class OutOfReach(ZooError):
    """The server of a download tree does not answer."""


@dataclass(frozen=True)
class Archive:
    """What an index tells of an archive.

    Attributes:
        url: where it is.
        sha256: of the archive.
        bytes: its size.
        unpacked: size of the tar file that it decompresses to.
    """

    url: str
    sha256: str
    bytes: int
    unpacked: int

    def __post_init__(self):
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError(f"{self.sha256!r} is no SHA-256")
        if min(self.bytes, self.unpacked) < 0:
            raise ValueError("a size is negative")


def look_up(base: str, name: str, version: int | None = None) -> tuple[int, Archive]:
    """The version, by default the newest, of a model in the tree at the URL `base`, and its `Archive`.

    Raises:
        OutOfReach: nobody answers there.
        DamagedFile: the index is damaged, or too large.
        ZooError: there is no index, the model is not in it, or only a newer release can read it.
    """
    url = f"{base}/index.json"
    index = parse(_read(url), url)
    try:
        models = index["models"]
        for each in models:
            check_name(each)
        if name not in models:
            raise unknown(name, models)
        version = version or max(map(int, models[name]))
        if str(version) not in models[name]:
            raise ZooError(f"{url} lists {name} only in version {', '.join(models[name])}")
        record = models[name][str(version)]
        sizes = (record.get(size, LARGEST) for size in ("bytes", "unpacked"))
        return version, Archive(urllib.parse.urljoin(f"{base}/", record["archive"]), record["sha256"], *sizes)
    except ZooError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DamagedFile(f"{url} is damaged: {error}") from None


def _read(url):
    """Content of an index."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
            content = response.read(LARGEST_INDEX + 1)
    except urllib.error.HTTPError as error:
        raise ZooError(f"{url}: {error.code} {error.reason}; is this a download tree?") from None
    except (OSError, http.client.HTTPException) as error:
        raise OutOfReach(f"{url} is out of reach: {getattr(error, 'reason', error)}") from None
    if len(content) > LARGEST_INDEX:
        raise DamagedFile(f"{url} is larger than {LARGEST_INDEX} bytes")
    return content


def fetch(archive: Archive, folder: Path, progress: bool = False) -> dict[str, str]:
    """Fetches an archive and puts the files in it into `folder / "content"`.

    Args:
        archive: the `Archive`.
        folder: an empty folder.
        progress: show a progress bar.

    Returns:
        dict of the SHA-256 of each file by its name, relative to `folder / "content"`.

    Raises:
        DamagedFile: the archive is not the one that the index describes, or holds what no archive needs to.
        ZooError: it cannot be fetched.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    known = {"registry": {"archive": archive.sha256}, "urls": {"archive": archive.url}}
    site = pooch.create(path=folder, base_url="", retry_if_failed=1, **known)
    over_http = pooch.HTTPDownloader(progressbar=progress, timeout=_TIMEOUT)

    def download(url, path, site):
        with open(path, "wb") as file:
            over_http(url, _Bounded(file, archive.bytes, "the archive"), site)

    try:
        with gzip.open(site.fetch("archive", downloader=download)) as stream:
            return _unpack(_Bounded(stream, archive.unpacked, "what it unpacks to"), folder / "content")
    except requests.RequestException as error:
        raise ZooError(f"{archive.url} could not be fetched: {error}") from None
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError) as error:
        raise DamagedFile(f"{archive.url} was refused, it is not what its index.json promises: {error}") from None


class _Bounded:
    """A file from which, or to which, no more than `limit` bytes go."""

    def __init__(self, file, limit, what):
        self._file, self._limit, self._what, self._count = file, limit, what, 0

    def _counted(self, block):
        self._count += len(block)
        if self._count > self._limit:
            raise ValueError(f"{self._what} is larger than {self._limit} bytes")
        return block

    def read(self, size):
        return self._counted(self._file.read(size))

    def write(self, block):
        return self._file.write(self._counted(block))

    def flush(self):
        self._file.flush()


def _unpack(stream, folder):
    """Writes the files of a tar stream into `folder`; returns the SHA-256 of each by its name."""
    sums = {}
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            name = PurePosixPath(member.name)
            if name.is_absolute() or ".." in name.parts:
                raise ValueError(f"it has a file outside its folder, {name}")
            if member.isdir():
                continue
            if not member.isfile() or member.issparse():  # a sparse file is larger than what is read for it
                raise ValueError(f"{name} in it is no plain file")
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "wb") as file:
                shutil.copyfileobj(tar.extractfile(member), file)
            sums[str(name)] = sha256(path)
    return sums
