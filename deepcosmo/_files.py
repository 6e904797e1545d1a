"""Files that are always whole."""

import os
from pathlib import Path

__all__ = ["write_atomically"]


def write_atomically(path, write):
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
