"""Packages whose modules load on first use."""

import importlib
import sys

__all__ = ["submodules"]


def submodules(package, names):
    """The functions `__getattr__` and `__dir__` of a package whose modules `names` load on first use (PEP 562)."""

    def __getattr__(name):
        if name in names:
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def __dir__():
        return sorted([*vars(sys.modules[package]), *names])

    return __getattr__, __dir__
