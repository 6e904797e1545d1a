"""Renewing the fingerprint of a published recipe whose imports or words changed, and nothing that it computes.

The recipe of which `model.json` has the SHA-256 is looked up in the git history of the file, and the syntax trees of
the two are compared without imports, docstrings and the words that describe the model.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import subprocess
from typing import Any

from deepcosmo.zoo import publishing
from deepcosmo.zoo.entry import RECIPE, Entry, ZooError

__all__ = ["differences", "renew"]

WORDS = ("summary", "limits", "licence", "citation")
"""Arguments of `Recipe` that describe a model and enter nothing that is computed."""


def renew(entry: Entry, recipe: Any) -> Entry:
    """Records the present `recipe.py` of a published model, and its words in `model.json` and the card.

    Args:
        entry: the `Entry`, in a folder under git.
        recipe: the `deepcosmo.training.Recipe` that its file defines now.

    Returns:
        The new `Entry`.

    Raises:
        ZooError: the recorded recipe is in no commit, or more than imports and words changed.
    """
    path = entry.directory / RECIPE
    content = path.read_bytes()
    recorded = entry.files[RECIPE]["sha256"]
    if hashlib.sha256(content).hexdigest() != recorded:
        if changed := differences(_committed(path, recorded), content):
            raise ZooError(
                f"{path} differs from the recorded recipe in more than imports and words: {', '.join(changed)}; "
                f"run `deepcosmo evaluate {entry.name}` if this enters the measurement only, else `deepcosmo train`"
            )
    words = {name: getattr(recipe, name) for name in WORDS}
    files = entry.files | {RECIPE: publishing.fingerprint(path)}
    entry = dataclasses.replace(entry, files=files, **words)
    publishing.write(entry)
    return entry


def differences(old: bytes, new: bytes) -> list[str]:
    """Names of what differs between two recipes beside imports, docstrings, comments, layout and words.

    An imported name may come from another module, but it stays, and no new one takes the place of another.

    Args:
        old: source, bytes.
        new: source, bytes.
    """
    old, new = _Stripped(old), _Stripped(new)
    imports = {name for name, _ in old.imported - new.imported}
    imports |= {name for name, _ in new.imported - old.imported if name in old.used}
    found = [f"the import of {name}" for name in sorted(imports)]
    if old.statements != new.statements:
        known = {*old.statements} ^ {*new.statements}
        found += sorted({name for name, _ in known}) or ["the order of the statements"]
    return found


class _Stripped(ast.NodeTransformer):
    """The statements of a recipe, without what `differences` allows to change.

    Attributes:
        imported: (name, what it is called where it comes from) of all that its imports bind.
        used: all other names in it.
        statements: (name, syntax tree as text) of each statement of the module.
    """

    def __init__(self, source):
        self.imported = set()
        module = self.visit(ast.parse(source))
        self.used = {node.id for node in ast.walk(module) if isinstance(node, ast.Name)}
        self.statements = [(_title(node), ast.dump(node)) for node in module.body]

    def _visit_import(self, node):
        for alias in node.names:
            parts = alias.name.split(".")
            bound = 0 if isinstance(node, ast.Import) and not alias.asname else -1  # `import a.b` binds a
            self.imported.add((alias.asname or parts[bound], parts[bound]))

    visit_Import = visit_ImportFrom = _visit_import

    def _visit_documented(self, node):
        if ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
        return self.generic_visit(node)

    visit_Module = visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _visit_documented

    def visit_Call(self, node):
        """Also the words of a recipe made from another, by `dataclasses.replace(RECIPE, limits=...)`."""
        if ast.unparse(node.func).rpartition(".")[2] in ("Recipe", "replace"):
            node.keywords = [keyword for keyword in node.keywords if keyword.arg not in WORDS]
        return self.generic_visit(node)


def _title(statement):
    """What a reader calls a statement of a module: the name that it defines, or its code."""
    if hasattr(statement, "name"):
        return statement.name
    if isinstance(statement, ast.Assign):
        return ", ".join(map(ast.unparse, statement.targets))
    return ast.unparse(statement).partition("\n")[0]


def _committed(path, sha256):
    """Content of a file at the commit where it had this SHA-256."""

    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=path.parent, capture_output=True, check=True).stdout

    try:
        every = ("--full-history", "-m", "--diff-filter=d")  # also what a merge took over or left behind
        log = git("log", *every, "--raw", "--no-abbrev", "--format=", "--", path.name)
        for line in log.decode().splitlines():
            content = git("cat-file", "blob", line.split()[3])
            if hashlib.sha256(content).hexdigest() == sha256:
                return content
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"").decode(errors="replace") or str(error)
        raise ZooError(f"the recorded version of {path} cannot be looked up in git: {said.strip()}") from None
    raise ZooError(f"the recorded version of {path}, sha256 {sha256[:12]}..., is in no commit of its git history")
