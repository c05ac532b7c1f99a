"""Files that appear under their name when they are whole, and never before; what is unfinished does not stay."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

_unfinished: set[Path] = set()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` once the block has ended without an exception, and not before.

    Raises:
        OSError: it cannot be written; `filename` is `path`.
    """
    partial = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".partial-")
        partial = Path(name)
        _unfinished.add(partial)
        with os.fdopen(handle, "wb") as file:
            yield file
        partial.replace(path)
    except BaseException as error:
        if partial:
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        if partial:
            _unfinished.discard(partial)


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A folder beside files that are to be replaced; it goes with what is in it when the block ends."""
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=".partial-") as name:
        folder = Path(name)
        _unfinished.add(folder)
        try:
            yield folder
        finally:
            _unfinished.discard(folder)


def discard_unfinished() -> None:
    """Remove what threads have begun and will not finish, since the process ends now."""
    for path in list(_unfinished):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
