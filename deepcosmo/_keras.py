"""Imported by all that makes or trains models: refuses a Keras that does not run on TensorFlow."""

import json
import os
import sys
from pathlib import Path


def _backend():
    """Backend of Keras, which is not imported here: that fails where the backend is not installed."""
    if keras := sys.modules.get("keras"):
        return keras.config.backend()
    home = os.environ.get("KERAS_HOME", os.path.expanduser("~/.keras"))
    try:
        configured = json.loads(Path(home, "keras.json").read_text())["backend"]
    except (OSError, ValueError, KeyError, TypeError):
        configured = "tensorflow"
    return os.environ.get("KERAS_BACKEND") or configured


if _backend() != "tensorflow":
    raise ImportError(
        f"deepcosmo needs Keras on TensorFlow, not on {_backend()}: set KERAS_BACKEND=tensorflow in the environment "
        "before Python imports Keras"
    )
