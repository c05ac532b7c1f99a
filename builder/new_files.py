"""Files that a command writes for the user to keep: what is there stays, unless it is to be replaced."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from builder.errors import DeclarationError
from builder.files import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def require_new(files: Mapping[Path, str], *, force: bool) -> None:
    """See that files may be written: `write_new` raises the same, at a time when more has been done."""
    there = [path for path, text in files.items() if path.exists() and path.read_bytes() != text.encode()]
    if there and not force:
        raise DeclarationError(
            f"{', '.join(map(str, there))} is there already",
            hint="--force writes it anew: what it says is lost.",
        )


def write_new(files: Mapping[Path, str], *, force: bool) -> None:
    """Write files, all of them or none.

    Args:
        files: texts by path.
        force: whether files that are there are replaced.

    Raises:
        DeclarationError: one is there, and says something else.
    """
    require_new(files, force=force)
    for path, text in files.items():
        with replacing(path) as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(text.encode())
