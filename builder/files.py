"""Files that appear under their name when they are whole, and never before; what is unfinished does not stay."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

_unfinished: set[Path] = set()


def _partial(parent: Path) -> Path:
    """A name that nothing has, known as unfinished before there is anything of that name."""
    path = parent / f".partial-{secrets.token_hex(8)}"
    _unfinished.add(path)
    return path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` once the block has ended without an exception, and not before.

    Raises:
        OSError: it cannot be written; `filename` is `path`.
    """
    partial = _partial(path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b") as file:
            yield file
        partial.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None
        raise
    _unfinished.discard(partial)


@contextlib.contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """A folder for what is in the making; it goes when the block ends, or the process, with what is in it.

    Args:
        parent: where it is: beside a file that is to be replaced; None for where temporary files are.
    """
    parent = parent or Path(tempfile.gettempdir())
    folder = _partial(parent)
    parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _unfinished.discard(folder)


def discard_unfinished() -> None:
    """Remove what was begun and will not be finished, since the process ends now.

    A signal may come while a block above cleans up, and threads may be in the middle of one.
    """
    for path in list(_unfinished):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
    _unfinished.clear()
