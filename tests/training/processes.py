"""Python in processes of its own."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

__all__ = ["running"]


@contextlib.contextmanager
def running(code, **environment):
    """A process that runs `code`, with the checkout and this folder on its path; it ends with the block."""
    paths = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()
