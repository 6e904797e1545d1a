"""Files that are written: always whole, and where they may be."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from deepcosmo._types import PathLike

__all__ = ["creatable", "fits_and_picture", "write_atomically", "write_text"]

FITS, PICTURES = (".fits", ".fit", ".fits.gz"), (".png", ".pdf", ".svg", ".jpg")


def write_atomically(path: PathLike, write: Callable[[BinaryIO], object]) -> None:
    """Calls `write(file)` on a temporary file beside `path`, one for each process, then renames it onto `path`."""
    path = Path(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: PathLike, text: str) -> None:
    """Writes text, in UTF-8, by `write_atomically`."""
    write_atomically(path, lambda file: file.write(text.encode()))


def creatable(folder: PathLike) -> Path:
    """The folder as a `Path`, unless a file is in its way: said before any work is done for what goes there.

    Raises:
        NotADirectoryError: it, or what should be a folder above it, is a file.
    """
    folder = Path(folder)
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise NotADirectoryError(f"{folder} cannot be a folder: {place} is a file")
    return folder


def fits_and_picture(path: PathLike, name: str | None = None) -> tuple[Path, Path]:
    """The FITS file and the picture that go together, by the path of one of them or without a suffix.

    Args:
        path: ends with the suffix of a FITS file or of a picture; other paths get both.
        name: of the files in the folder `path`, if that has no such suffix.

    Returns:
        Two `Path`s, of one folder.

    Raises:
        ValueError: the path has no name.
        IsADirectoryError, NotADirectoryError: what should be a file is a folder, or the other way round.
    """
    path = Path(path)
    suffix = next((suffix for suffix in (*FITS, *PICTURES) if path.name.lower().endswith(suffix)), "")
    if name and not suffix:
        path /= name
    stem = path.name[: len(path.name) - len(suffix)]
    if not stem.strip("."):
        raise ValueError(f"{path} must end with the name of a file")
    fits = path if suffix in FITS else path.with_name(f"{stem}.fits")
    picture = path if suffix in PICTURES else path.with_name(f"{stem}.png")
    creatable(path.parent)
    for file in (fits, picture):
        if file.is_dir():
            raise IsADirectoryError(f"{file} cannot be written: it is a folder")
    return fits, picture
