"""Remembers which image a declaration came to, so that an unchanged app is not resolved, evaluated or built again.

What is remembered is found by a hash over everything that decides the image: the declaration, the lock, the settings,
the app's files and this program itself. Nothing here imports a model or a resolver: an unchanged app is answered in
the time that its file takes to load.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import code, resources, store
from builder.files import replacing
from builder.layout import Image

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PACKAGE = Path(__file__).parent


def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


@functools.cache
def _tool() -> list[tuple[str, int, int]]:
    """This program: its files' names, times and sizes, which an update of it changes."""
    found = []
    for folder in (_PACKAGE, resources.nix_library(), resources.templates()):
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".py", ".nix", ".sh", ".j2", ".toml"):
                info = path.stat()
                found.append((str(path), info.st_mtime_ns, info.st_size))
    return found


def _required(fields: Mapping[str, Any]) -> dict[str, str | None]:
    """The files and local projects that the requirements refer to, as they are now."""
    words = [word for step in fields.get("requirements", ()) for word in step]
    # Whatever is a path begins with one of these, or is the value of an option: most apps have none.
    if not any(word.startswith(("-", ".", "/", "~")) or "/" in word or "file:" in word for word in words):
        return {}
    from builder.project_tree import project_digest
    from builder.requirement_files import read_files

    files, projects = read_files(fields["requirements"], fields["requirements_context_dir"])
    return {str(path): _digest(path) for path in files} | {
        str(path): project_digest(path) for path in projects
    }


def key(fields: Mapping[str, Any], lock: Path, options: Iterable[object]) -> str:
    """The hash that an image is remembered by.

    Args:
        fields: the declaration, as `builder.load.declare` returns it.
        lock: its lock file.
        options: what else was asked for: Python, architecture.

    Raises:
        DeclarationError: a file of the app's is missing; see `builder.code`.
    """
    root = fields["root"]
    shipped = code.gather(code.Shipped.of(fields)).tree.digest()
    settings = _digest(root / "pyproject.toml")
    required = _required(fields)
    everything = [fields, list(options), _digest(lock), settings, shipped, required, _tool(), store.STORE]
    return hashlib.sha256(json.dumps(everything, sort_keys=True, default=str).encode()).hexdigest()


class Memory:
    """What is remembered under one key.

    Args:
        cache: this program's cache folder.
        key: see `key`.
    """

    def __init__(self, cache: Path, key: str) -> None:
        self._file = cache / "built" / f"{key}.json"

    def recall(self) -> tuple[Image, str] | None:
        """The image and its lock's digest, if the store still has the image."""
        try:
            known = json.loads(self._file.read_bytes())
            lock_digest = str(known.pop("lock_digest"))
            image = Image(**{**known, "path": Path(known["path"])})
            return (image, lock_digest) if (image.path / "index.json").exists() else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, image: Image, lock_digest: str) -> None:
        """Remember an image and the digest of the lock it was built from."""
        known = {**asdict(image), "path": str(image.path), "lock_digest": lock_digest}
        # The image is built. Where the cache cannot be written, the next run asks Nix, and that is all.
        with contextlib.suppress(OSError), replacing(self._file) as file:
            file.write(json.dumps(known).encode())
