"""Where results go: names with and without suffixes, and what may be in the way."""

from pathlib import Path

import pytest

from deepcosmo._files import creatable, fits_and_picture


@pytest.mark.parametrize(
    ("path", "fits", "picture"),
    [
        ("kap", "kap.fits", "kap.png"),
        ("kap.fits", "kap.fits", "kap.png"),
        ("kap.png", "kap.fits", "kap.png"),
        ("kap.FITS", "kap.FITS", "kap.png"),
        ("kap.fit", "kap.fit", "kap.png"),
        ("new/kap.fits.gz", "new/kap.fits.gz", "new/kap.png"),
        ("kap.PDF", "kap.fits", "kap.PDF"),
        ("kap.v1.2", "kap.v1.2.fits", "kap.v1.2.png"),
    ],
)
def test_names(tmp_path, path, fits, picture):
    assert fits_and_picture(tmp_path / path) == (tmp_path / fits, tmp_path / picture)
    folder = not any(path.lower().endswith(suffix) for suffix in (".fits", ".fit", ".gz", ".png", ".pdf"))
    named = (tmp_path / path / "a.fits", tmp_path / path / "a.png") if folder else (tmp_path / fits, tmp_path / picture)
    assert fits_and_picture(tmp_path / path, "a") == named
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", [".", "..", "/", "./.fits"])
def test_no_names(path):
    with pytest.raises(ValueError, match="must end with the name of a file"):
        fits_and_picture(path)


def test_what_is_in_the_way(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("maps.fits").mkdir()
    for path in ("file", "file/x", "file/x/y"):
        with pytest.raises(NotADirectoryError, match=f"{path} cannot be a folder: file is a file"):
            creatable(path)
        with pytest.raises(NotADirectoryError, match="file is a file"):
            fits_and_picture(Path(path, "kap.fits"))
    for path in ("maps", "maps.fits", "maps.png"):
        with pytest.raises(IsADirectoryError, match="maps.fits cannot be written: it is a folder"):
            fits_and_picture(path)
    assert creatable("maps.fits/new/folder") == Path("maps.fits/new/folder")
