"""The plan of the house: which room may import which, and what a user finds through `import deepcosmo`."""

import ast
import itertools
import json
from pathlib import Path

import pytest
from conftest import CHECKOUT, python

LINE = ("nn physics", "models", "tfds_builders", "training", "inference", "metrics")
"""From left to right: a room imports what lies to its left, never what lies to its right."""

BESIDE = {
    *("_files", "_graphs", "_keras", "_parallel", "_quantities", "_seeds", "_types", "_warnings"),
    *("export", "plots", "skymaps", "zoo"),
}
"""Read by every room; they import only each other."""

FACES = {"__init__", "cli"}
"""The package itself and the command line may use everything."""

LOOKED_UP = {("deepcosmo.zoo.loading", "deepcosmo.models")}
"""Published configurations name classes, which the zoo finds by these names in the face of the models."""


def modules():
    """Name -> path of every module of the two packages."""
    files = [path for package in ("deepcosmo", "tfds_builders") for path in (CHECKOUT / package).rglob("*.py")]
    relative = {path: path.relative_to(CHECKOUT).with_suffix("") for path in files if "_published" not in path.parts}
    return {".".join(name.parts).removesuffix(".__init__"): path for path, name in relative.items()}


MODULES = modules()


def imports(path, *, everywhere):
    """Modules of the two packages that a file imports; with `everywhere`, also inside of functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    found &= set(MODULES)
    return {name for name in found if not any(other.startswith(name + ".") for other in found)}  # the most specific


def room(module):
    parts = module.split(".")
    if parts[0] == "tfds_builders":
        return parts[0]
    return parts[1] if len(parts) > 1 else "__init__"


def place(name):
    """Position on the line, -1 for what stands beside it."""
    return next((i for i, rooms in enumerate(LINE) if name in rooms.split()), -1)


def test_every_module_has_a_room():
    known = BESIDE | FACES | set(" ".join(LINE).split())
    assert {room(module) for module in MODULES} <= known


@pytest.mark.parametrize("module", MODULES)
def test_no_room_imports_one_to_its_right(module):
    own = room(module)
    if own in FACES:
        return
    for other in imports(MODULES[module], everywhere=True):
        target = room(other)
        if target == own or target in BESIDE or (module, other) in LOOKED_UP:
            continue
        assert target not in FACES or target == "__init__", f"{module} imports {other}"
        assert own not in BESIDE, f"{module} stands beside the line and imports {other}"
        assert place(target) < place(own), f"{module} imports {other}, which lies beside it or to its right"


def test_nn_is_written_in_keras_alone():
    for module, path in MODULES.items():
        if room(module) == "nn":
            names = {
                alias.name
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Import)
                for alias in node.names
            }
            assert not any(name.startswith("tensorflow") for name in names), module


def test_there_are_no_circles():
    """Of imports at the top of files, so that each file can be read after those that it uses."""
    graph = {module: imports(path, everywhere=False) - {module} for module, path in MODULES.items()}
    while free := [module for module, used in graph.items() if not used]:
        for module in free:
            del graph[module]
        graph = {module: used - set(free) for module, used in graph.items()}
    assert not graph, f"circles among {', '.join(sorted(graph))}"


def public(names):
    return [name for name in names if not any(part.startswith("_") for part in name.split("."))]


WALK = """
import json, sys
import deepcosmo
assert "tensorflow" not in sys.modules and "keras" not in sys.modules
missing, shown = [], {}
for name in json.loads(sys.argv[1]):
    value = deepcosmo
    try:
        for part in name.split(".")[1:]:
            value = getattr(value, part)
        if getattr(value, "__name__", None) != name:
            missing.append(name)
    except AttributeError:
        missing.append(name)
    if hasattr(value, "__path__"):
        shown[name] = dir(value), [n for n in dir(value) if getattr(value, n, None) is None]
print(json.dumps({"missing": missing, "shown": shown}))
"""


def test_every_public_module_is_reached_by_attribute():
    """In a new process that has imported `deepcosmo` alone; packages show their public names, all of which exist."""
    names = public(name for name in MODULES if name.startswith("deepcosmo"))
    done = python("-c", WALK, json.dumps(names))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["missing"] == []
    packages = {name for name in names if MODULES[name].name == "__init__.py"}
    assert found["shown"].keys() == packages
    for package, (shown, broken) in found["shown"].items():
        assert not broken, (package, broken)
        assert shown == public(shown), package
        inside = {name.rsplit(".", 1)[1] for name in names if name.rpartition(".")[0] == package}
        assert inside <= set(shown), package


def test_names_of_faces_are_in_the_files_that_they_come_from():
    """A face exports only what the `__all__` of a file has."""
    for stub in (CHECKOUT / "deepcosmo").rglob("__init__.pyi"):
        for node in ast.parse(stub.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.module:
                file = Path(stub.parent, *node.module.split(".")).with_suffix(".py")
                assert {alias.name for alias in node.names} <= exported(file), (stub, node.module)


def exported(file):
    """The `__all__` of a file."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [t.id for t in node.targets if isinstance(t, ast.Name)] == ["__all__"]:
            return set(itertools.chain([element.value for element in node.value.elts]))
    return set()
