"""Finds the apps of a repository without running any of its files."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from builder.errors import DeclarationError
from builder.local.rules import NEVER, Rules
from builder.local.walk import walk
from builder.target import named_apps

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Hidden folders, those of other programs, and tests, which have apps to test with.
_ELSEWHERE = r"|\..+|venv|node_modules|site-packages|test_.+\.py|.+_test\.py|conftest\.py"
_RULES = Rules(never=re.compile(NEVER + _ELSEWHERE, re.DOTALL))
_BASES = frozenset({"builder.App", "fal.App"})
_APP = re.compile(rb"\bclass\b[^:]*\(")


def find_apps(folder: Path) -> list[str]:
    """The apps of a repository, as targets relative to its folder.

    Those that its pyproject.toml names in `[tool.builder.apps]` or `[tool.fal.apps]`. Where that names none: every
    public class at the top level of a Python file that derives from `builder.App` or `fal.App`, itself or by a class of
    the repository. What git ignores, hidden folders, virtual environments and tests are left out.

    Args:
        folder: the repository's.

    Raises:
        DeclarationError: there is no such folder, or no app in it; or pyproject.toml is wrong.
    """
    if not folder.is_dir():
        raise DeclarationError(
            f"{folder} is not a folder",
            hint="--all builds every app of a folder, by default of this one; one app is built without --all.",
        )
    if named := named_apps(folder):
        return named
    root = folder.resolve()
    files = walk(root, "", _RULES.around(root, root), where=f"the repository {folder}").files
    modules = {
        name: module
        for name, path in sorted(files.items())
        if name.endswith(".py") and (module := _read(name, path)) is not None
    }
    found = [
        f"{name}::{one}"
        for name, module in modules.items()
        for one in module.bases
        if not one.startswith("_") and _is_app(modules, name, one, set())
    ]
    if not found:
        raise DeclarationError(
            f"{folder} has no app",
            hint="An app is a class at the top level of a Python file that derives from builder.App (or fal.App), or "
            "has a table in [tool.builder.apps] of pyproject.toml.",
        )
    return found


def apps_in(file: Path) -> dict[str, str | None]:
    """The apps in one file that derive from App themselves, or by a class of that file.

    Args:
        file: a Python file.

    Returns:
        by class, what it sets `app_name` to; None where it sets nothing.
    """
    module = _read(file.name, file)
    if module is None:
        return {}
    modules = {file.name: module}
    return {one: module.names.get(one) for one in module.bases if _is_app(modules, file.name, one, set())}


@dataclass
class _Module:
    """What a file says of names at its top level.

    Attributes:
        bases: of each class, the dotted names it derives from.
        names: what a class sets `app_name` to, of those that do.
        imports: of each name, what it stands for: a module's dotted name, or that and a name in it.
    """

    bases: dict[str, list[str]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)

    def meaning(self, dotted: str) -> str:
        """A dotted name with its first part replaced by what it was imported as."""
        first, dot, rest = dotted.partition(".")
        return self.imports.get(first, first) + dot + rest


def _read(name: str, path: Path) -> _Module | None:
    try:
        source = path.read_bytes()
        if not _APP.search(source):
            return None
        tree = ast.parse(source)
    except (OSError, SyntaxError, ValueError):
        # A file for another Python, or half-written: whoever names it as a target is told.
        return None
    module = _Module()
    package = name.split("/")[:-1]
    for statement in _top_level(tree.body):
        if isinstance(statement, ast.ClassDef):
            module.bases[statement.name] = [dotted for base in statement.bases if (dotted := _dotted(base))]
            if (name_set := _app_name(statement)) is not None:
                module.names[statement.name] = name_set
        elif isinstance(statement, ast.Import):
            for alias in statement.names:
                bound = alias.asname or alias.name.partition(".")[0]
                module.imports[bound] = alias.name if alias.asname else bound
        elif isinstance(statement, ast.ImportFrom):
            above = package[: len(package) + 1 - statement.level] if statement.level else []
            origin = ".".join([*above, *([statement.module] if statement.module else [])])
            for alias in statement.names:
                module.imports[alias.asname or alias.name] = f"{origin}.{alias.name}"
    return module


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when a file is loaded and define names of its module."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try):
            for part in (statement.body, statement.orelse, getattr(statement, "finalbody", [])):
                yield from _top_level(part)
            for handler in getattr(statement, "handlers", []):
                yield from _top_level(handler.body)


def _app_name(node: ast.ClassDef) -> str | None:
    """What a class sets `app_name` to."""
    for statement in node.body:
        if not isinstance(statement, ast.Assign | ast.AnnAssign):
            continue
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        is_set = any(isinstance(target, ast.Name) and target.id == "app_name" for target in targets)
        if is_set and isinstance(statement.value, ast.Constant):
            return str(statement.value.value)
    return None


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Subscript):
        return _dotted(node.value)
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := _dotted(node.value)):
        return f"{before}.{node.attr}"
    return None


def _is_app(modules: dict[str, _Module], file: str, cls: str, seen: set[tuple[str, str]]) -> bool:
    """Whether a class derives from one of the bases, by whatever classes of the repository."""
    if (file, cls) in seen:
        return False
    seen.add((file, cls))
    module = modules[file]
    for base in module.bases.get(cls, ()):
        if base in module.bases:
            if _is_app(modules, file, base, seen):
                return True
            continue
        meaning = module.meaning(base)
        if meaning in _BASES:
            return True
        origin, _, name = meaning.rpartition(".")
        for other in _files_of(origin, file):
            if other in modules and name in modules[other].bases and _is_app(modules, other, name, seen):
                return True
    return False


def _files_of(module: str, importer: str) -> Iterator[str]:
    """The files that a module's name may mean: beside the file that imports it, or in a folder above that."""
    path = module.replace(".", "/")
    folder = importer.rpartition("/")[0]
    while path:
        place = f"{folder}/{path}" if folder else path
        yield f"{place}.py"
        yield f"{place}/__init__.py"
        if not folder:
            return
        folder = folder.rpartition("/")[0]
