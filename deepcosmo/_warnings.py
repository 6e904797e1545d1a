"""Warnings that point at the user's line."""

import sys
import warnings

__all__ = ["warn"]


def warn(message: str) -> None:
    """Warns at the line that called this package, however deep below it the reason was found."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in ("deepcosmo", "contextlib"):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
