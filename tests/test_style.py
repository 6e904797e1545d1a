"""What tools find in the sources: mypy in the package, ruff everywhere; and hints on what users call."""

import ast

import pytest
from conftest import CHECKOUT, python

PACKAGE = CHECKOUT / "deepcosmo"

FILES = {path.relative_to(PACKAGE).as_posix(): path for path in PACKAGE.rglob("*.py")}
HINTED = [
    name
    for name, path in FILES.items()
    if not name.startswith("zoo/_published/") and (not path.name.startswith("_") or path.parent == PACKAGE)
]


@pytest.mark.parametrize("tool", [["mypy"], ["ruff", "check", "."], ["ruff", "format", "--check", "."]], ids=" ".join)
def test_tools_find_nothing(tool):
    """mypy remembers in `.mypy_cache` what has not changed, and then takes a second."""
    done = python("-m", *tool, cwd=CHECKOUT)
    assert done.returncode == 0, done.stdout + done.stderr


def public_functions(body, prefix=""):
    """(name, function) of what users call."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef):
            if not node.name.startswith("_") or node.name in ("__init__", "__call__"):
                yield prefix + node.name, node


def without_hint(function):
    """Names of arguments without a hint, and `return`."""
    a = function.args
    arguments = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
    hints = {argument.arg: argument.annotation for argument in arguments} | {"return": function.returns}
    return [name for name, hint in hints.items() if hint is None and name not in ("self", "cls")]


@pytest.mark.parametrize("name", HINTED)
def test_public_functions_have_hints(name):
    """Of all arguments and of the result."""
    functions = public_functions(ast.parse(FILES[name].read_text(encoding="utf-8")).body)
    bare = {function: missing for function, node in functions if (missing := without_hint(node))}
    assert not bare
