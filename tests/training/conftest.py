import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `toy`


@pytest.fixture
def start():
    """Starts Python code in a new process; what still runs at the end of the test is ended."""
    with contextlib.ExitStack() as stack:

        def start(code, **environment):
            paths = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]
            environment |= {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": os.pathsep.join(paths)}
            process = stack.enter_context(subprocess.Popen(
                [sys.executable, "-c", code], env=os.environ | environment, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            ))
            stack.callback(process.kill)
            return process

        yield start
