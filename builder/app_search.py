"""What a repository's apps are called, without running any of their files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder import repository
from builder.errors import DeclarationError
from builder.target import app_name, find_target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


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
    classes = repository.apps_in(found.file)
    if found.class_name is None and len(classes) != 1:
        raise DeclarationError(
            f"{target} holds {len(classes) or 'no'} apps that can be told without running it",
            hint=f"Name the class: {target}::Class.",
        )
    class_name = found.class_name or next(iter(classes))
    # A class may derive from App by another file's: then its name is what it says.
    return FoundApp(app_name(classes.get(class_name) or class_name, where=target), target)
