"""What a repository's apps are called, without running any of their files."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder import repository
from builder.errors import DeclarationError
from builder.target import app_name, find_target

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_SDKS = ("builder", "fal")


@dataclass(frozen=True)
class FoundApp:
    """An app.

    Attributes:
        name: its name.
        target: what the command line calls it, in the folder that was searched.
    """

    name: str
    target: str


def find_apps(folder: Path, targets: Sequence[str] = ()) -> tuple[FoundApp, ...]:
    """A folder's apps.

    Args:
        folder: where the command is run.
        targets: those that are wanted; none for all.

    Raises:
        DeclarationError: there are none; or two have one name; or a target is none.
    """
    found = tuple(_named(folder, target) for target in targets or repository.find_apps(folder))
    names = [app.name for app in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DeclarationError(
            f"two apps are called {', '.join(twice)}: "
            + ", ".join(app.target for app in found if app.name in twice),
            hint="Name one of them otherwise, by app_name or in [tool.builder.apps] of pyproject.toml.",
        )
    return found


def _named(folder: Path, target: str) -> FoundApp:
    found = find_target(target, cwd=folder)
    if found.name is not None:
        return FoundApp(found.name, target)
    classes = {app.target.partition("::")[2]: app for app in _in_file(found.file, target.partition("::")[0])}
    if found.class_name is not None:
        known = classes.get(found.class_name)
        # A class may derive from App by another: then its name is what it says.
        return FoundApp(known.name if known else app_name(found.class_name, where=target), target)
    if len(classes) == 1:
        return FoundApp(next(iter(classes.values())).name, target)
    raise DeclarationError(
        f"{target} holds {len(classes) or 'no'} apps that can be told without running it",
        hint=f"Name the class: {target}::Class.",
    )


def _in_file(path: Path, shown: str) -> Iterator[FoundApp]:
    """The apps in a file that derive from App themselves."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    modules, names = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name for alias in node.names if alias.name in _SDKS}
        elif isinstance(node, ast.ImportFrom) and node.module in _SDKS and not node.level:
            names |= {alias.asname or alias.name for alias in node.names if alias.name == "App"}
    classes = [
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and any(_is_app(base, modules, names) for base in node.bases)
    ]
    for node in classes:
        target = f"{shown}::{node.name}"
        yield FoundApp(app_name(_own_name(node) or node.name, where=target), target)


def _is_app(base: ast.expr, modules: set[str], names: set[str]) -> bool:
    if isinstance(base, ast.Attribute):
        return base.attr == "App" and isinstance(base.value, ast.Name) and base.value.id in modules
    return isinstance(base, ast.Name) and base.id in names


def _own_name(node: ast.ClassDef) -> str | None:
    """What a class sets `app_name` to."""
    for statement in node.body:
        value = statement.value if isinstance(statement, (ast.Assign, ast.AnnAssign)) else None
        targets = (
            statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        )
        if any(isinstance(target, ast.Name) and target.id == "app_name" for target in targets) and isinstance(
            value, ast.Constant
        ):
            return str(value.value)
    return None
