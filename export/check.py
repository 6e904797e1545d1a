"""Replays the golden arrays of every archive of a download tree on a bare TensorFlow.

    python export/check.py OUT

Each archive is unpacked and run in a process of its own in which deepcosmo, keras, tf_keras and
tensorflow_probability cannot be imported. Prints the largest deviation of each model; exit status 1 if one
exceeds the tolerance, or if an archive is not the one that index.json names.
"""

import argparse
import hashlib
import importlib.util
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

GOLDEN_PY = Path(__file__).parents[1] / "deepcosmo" / "zoo" / "golden.py"
FORBIDDEN = ("deepcosmo", "keras", "tf_keras", "tensorflow_probability")


def check(out):
    """Checks all archives; returns the lines of those that fail."""
    index = json.loads((out / "index.json").read_text())
    failures = []
    for name, versions in index["models"].items():
        for version, record in versions.items():
            archive = out / record["archive"]
            if hashlib.sha256(archive.read_bytes()).hexdigest() != record["sha256"]:
                failures.append(f"{name} {version}: the sha256 of {archive} is not that of index.json")
                continue
            with tempfile.TemporaryDirectory() as folder:
                with tarfile.open(archive) as tar:
                    tar.extraction_filter = getattr(tarfile, "data_filter", None)  # since 3.10.12 and 3.11.4
                    tar.extractall(folder)
                command = [sys.executable, __file__, "--replay", folder]
                done = subprocess.run(command, capture_output=True, text=True)
            lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
            line = f"{name} {version}: {lines[-1] if lines else f'exit status {done.returncode}'}"
            print(line, flush=True)
            if done.returncode:
                failures.append(line)
    return failures


def replay(folder):
    """Runs in the bare process: the largest deviation of the SavedModel in `folder`."""
    sys.modules.update(dict.fromkeys(FORBIDDEN))  # None: importing it raises
    import tensorflow as tf

    spec = importlib.util.spec_from_file_location("golden", GOLDEN_PY)
    golden = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(golden)
    with np.load(folder / "assets.extra" / "golden.npz") as file:
        arrays = dict(file)
    deviations = golden.deviations(golden.call_saved_model(tf.saved_model.load(str(folder))), arrays)
    if far := {name: value for name, value in deviations.items() if not value < golden.TOLERANCE}:
        raise SystemExit(", ".join(f"{name} deviates by {value:.1e}" for name, value in far.items()))
    print(f"{len(deviations)} outputs, largest deviation {max(deviations.values()):.1e}")


def main():
    text = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=text)
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--replay", action="store_true", help="used by this program on one unpacked archive")
    arguments = parser.parse_args()
    if arguments.replay:
        replay(arguments.out)
    elif failures := check(arguments.out):
        raise SystemExit(f"{len(failures)} of the archives fail")


if __name__ == "__main__":
    main()
