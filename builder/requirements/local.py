"""Local projects: folders that a package is built from."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from builder.errors import DeclarationError
from builder.pip_words import is_project
from builder.requirements.model import DirectorySource

if TYPE_CHECKING:
    from pathlib import Path

_BUILD_FILES = ("pyproject.toml", "setup.py", "setup.cfg")


def read_project(folder: Path, shown: str, where: str) -> DirectorySource:
    """Look at a local project.

    Args:
        folder: absolute.
        shown: the requirement, for messages.
        where: its place.

    Raises:
        DeclarationError: it is no Python project, or cannot be read.
    """
    if not is_project(folder):
        raise DeclarationError(
            f"{where}: {shown!r} is the folder {folder}, which holds neither pyproject.toml nor setup.py",
            hint="A local project has one of them. Modules that are no package go into local_python_modules, other "
            "files into app_files.",
        )
    digest = hashlib.sha256()
    try:
        # A project may read its dependencies from a requirements file.
        for path in [*map(folder.joinpath, _BUILD_FILES), *sorted(folder.glob("requirements*.txt"))]:
            if path.is_file():
                content = path.read_bytes()
                digest.update(f"{path.name} {len(content)} ".encode() + content)
    except OSError as error:
        raise DeclarationError(
            f"{where}: {shown!r}: {error.filename} cannot be read: {error.strerror}"
        ) from error
    return DirectorySource(folder, digest.hexdigest())
