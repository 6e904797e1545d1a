"""Packages whose modules, or what is in them, load on first use."""

import importlib
import sys

__all__ = ["members", "submodules"]


def submodules(package, names):
    """The functions `__getattr__` and `__dir__` of a package whose modules `names` load on first use (PEP 562)."""
    return _lazy(package, names, lambda name: importlib.import_module(f"{package}.{name}"))


def members(package, files):
    """As `submodules`, of a package that shows names of its modules: `files` is a dict name -> module."""
    return _lazy(package, files, lambda name: getattr(importlib.import_module(f"{package}.{files[name]}"), name))


def _lazy(package, names, load):
    def __getattr__(name):
        if name in names:
            return load(name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def __dir__():
        return sorted([*vars(sys.modules[package]), *names])

    return __getattr__, __dir__
