"""The program `deepcosmo`: runs a command, and says in one line what was wrong."""

import codecs
import io
import os
import sys
import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path

from deepcosmo.cli.arguments import parser

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: arguments after the program's name; by default those of the process.

    Returns:
        The exit status: 0, or 1 after one line on standard error that says what was wrong.
    """
    codecs.register_error("deepcosmo", _plain)
    for stream in (sys.stdout, sys.stderr):  # terminals and pipes that are not UTF-8
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="deepcosmo")
    arguments = parser().parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # for this process alone, whatever other programs take
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: _complain(message)
            arguments.run(arguments)
        sys.stdout.flush()  # a closed pipe shows here, not at the end of the process
    except BrokenPipeError:  # `deepcosmo list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except (ValueError, OSError, FloatingPointError, ImportError) as error:
        of_file = isinstance(error, OSError) and error.strerror and error.filename
        _complain(f"{error.filename}: {error.strerror}" if of_file else error)  # type: ignore[union-attr]
        return 1
    except RuntimeError:  # Astropy cannot be imported where there is no home directory
        if _has_home():
            raise
        _complain("there is no home directory: set HOME to a folder that can be written to")
        return 1
    return 0


def _has_home():
    try:
        return bool(Path.home())
    except RuntimeError:
        return False


def _complain(message):
    print(f"deepcosmo: {' '.join(str(message).split())}", file=sys.stderr)


def _plain(error):
    """Handler of encoding errors: the byte of a file's name as it is, else the nearest ASCII or a question mark."""
    one = error.object[error.start]
    if "\udc80" <= one <= "\udcff":
        return bytes([ord(one) - 0xDC00]), error.start + 1
    text = unicodedata.normalize("NFKD", one.replace("±", "+-"))
    return text.encode("ascii", "ignore").decode() or "?", error.start + 1
