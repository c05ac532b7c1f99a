"""Gathers the app's own files into the folder that becomes /app."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from builder.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_ALWAYS_IGNORED = (r"\.pyc$", r"__pycache__(/|$)", r"(^|/)\.git(/|$)", r"\.DS_Store$")


@dataclass(frozen=True)
class Shipped:
    """What an app says of the files it needs; see `builder.models.AppSpec` for the attributes."""

    class_name: str
    file: Path
    app_files: tuple[str, ...] = ()
    app_files_ignore: tuple[str, ...] = ()
    app_files_context_dir: Path | None = None
    local_python_modules: tuple[str, ...] = ()

    @staticmethod
    def of(fields: Mapping[str, Any]) -> Shipped:
        """Take it out of a declaration, as `builder.load.declare` returns it."""
        return Shipped(**{name: fields[name] for name in Shipped.__dataclass_fields__ if name in fields})


def _ignored(patterns: Iterable[str], where: str) -> Callable[[str], bool]:
    compiled = []
    for index, pattern in enumerate((*_ALWAYS_IGNORED, *patterns)):
        try:
            compiled.append(re.compile(pattern))
        except re.error as error:
            place = index - len(_ALWAYS_IGNORED)
            raise DeclarationError(
                f"{where}.app_files_ignore[{place}]: {pattern!r} is not a regular expression: {error}."
            ) from error
    return lambda name: any(expression.search(name) for expression in compiled)


def _inside(base: Path, name: str, where: str) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise DeclarationError(
            f"{where}: {name!r} lies outside {base}.",
            hint="Name files relative to app_files_context_dir (by default the app file's folder).",
        )
    found = base / path
    if not found.exists():
        raise DeclarationError(f"{where}: {found} does not exist.")
    return found


def _tree(path: Path) -> Iterator[Path]:
    if path.is_dir() and not path.is_symlink():
        for child in sorted(path.iterdir()):
            yield from _tree(child)
    else:
        yield path


def _module(shipped: Shipped, name: str, index: int) -> Path:
    for candidate in (shipped.file.parent / name, shipped.file.parent / f"{name}.py"):
        if candidate.exists():
            return candidate
    raise DeclarationError(
        f"{shipped.class_name}.local_python_modules[{index}]: no module {name!r} stands beside {shipped.file}."
    )


def files(shipped: Shipped) -> dict[str, Path]:
    """Every file that goes into /app: its path there, and where it is.

    Raises:
        DeclarationError: a named file is missing, lies outside its folder, or a pattern is malformed.
    """
    found = {shipped.file.name: shipped.file}
    ignored = _ignored(shipped.app_files_ignore, shipped.class_name)

    def take(root: Path, base: Path) -> None:
        for path in _tree(root):
            name = path.relative_to(base).as_posix()
            if not ignored(name):
                found[name] = path

    context = shipped.app_files_context_dir or shipped.file.parent
    for index, name in enumerate(shipped.app_files):
        take(_inside(context, name, f"{shipped.class_name}.app_files[{index}]"), context)
    for index, name in enumerate(shipped.local_python_modules):
        take(_module(shipped, name, index), shipped.file.parent)
    return found


def stage(shipped: Shipped, folder: Path) -> None:
    """Copy the app's files into an empty folder, executable bits kept.

    Raises:
        DeclarationError: see `files`.
    """
    for name, path in files(shipped).items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target, follow_symlinks=True)
