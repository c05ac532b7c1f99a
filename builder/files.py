"""Files that appear under their name when they are whole, and never before; what is unfinished does not stay."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

_unfinished: set[Path] = set()
# Held while something of such a name is made: what a thread begins is known to whoever removes it, or not begun.
_making = threading.Lock()
_is_over = threading.Event()


@contextlib.contextmanager
def _partial(parent: Path) -> Iterator[Path]:
    """A name that nothing has, known as unfinished before there is anything of that name, which the block makes.

    Raises:
        SystemExit: the process ends now.
    """
    path = parent / f".partial-{secrets.token_hex(8)}"
    with _making:
        if _is_over.is_set():
            raise SystemExit
        _unfinished.add(path)
        yield path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` once the block has ended without an exception, and not before.

    Raises:
        OSError: it cannot be written; `filename` is `path`.
    """
    partial: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _partial(path.parent) as partial:
            descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w+b") as file:
            yield file
        partial.replace(path)
    except BaseException as error:
        if partial is not None:
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
    parent.mkdir(parents=True, exist_ok=True)
    with _partial(parent) as folder:
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
    with _making:
        _is_over.set()
    for path in list(_unfinished):
        with contextlib.suppress(OSError):
            if path.is_dir():
                # Under another name, so that nothing more is put into it.
                gone = path.rename(path.with_name(f"{path.name}-gone"))
                shutil.rmtree(gone, ignore_errors=True)
            else:
                path.unlink()
    _unfinished.clear()
