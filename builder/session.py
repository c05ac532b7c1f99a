"""What each command does first: load the target, read the settings, get the lock."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.load import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.models import AppSpec, Architecture, Lock
    from builder.progress import Display
    from builder.settings import Settings


def cache_folder() -> Path:
    """Where this program keeps what it can do without (XDG base directory specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "builder"


@dataclass(frozen=True)
class Loaded:
    """An app and its project's settings.

    Attributes:
        spec: the app as declared.
        settings: `[tool.builder]` of its project.
    """

    spec: AppSpec
    settings: Settings


@dataclass(frozen=True)
class Locked:
    """An app with its lock.

    Attributes:
        lock: the lock.
        path: the lock file.
        digest: the file's digest, `sha256:<hex>`.
        changed: whether this call wrote it.
    """

    lock: Lock
    path: Path
    digest: str
    changed: bool


def load_app(target: str, *, interpreter: str | None) -> Loaded:
    """Load a target and its project's settings."""
    from builder.settings import read_settings

    spec = load(target, interpreter=interpreter)
    return Loaded(spec, read_settings(spec.root))


def lock_app(
    app: Loaded,
    *,
    architecture: Architecture | None,
    python: str | None,
    frozen: bool,
    display: Display,
    upgrade: bool = False,
    upgrade_packages: Sequence[str] = (),
) -> Locked:
    """Get an app's lock, written anew where its declaration has changed.

    Args:
        app: the app.
        architecture: the image's; None for what the machine type or the present lock says.
        python: the image's Python ("3.11"); None for what is declared.
        frozen: refuse instead of writing.
        display: shows what goes on.
        upgrade: choose every version anew.
        upgrade_packages: names of packages to choose anew.

    Raises:
        LockError, ResolveError, DeclarationError: see `builder.locking.ensure_lock`.
    """
    from builder.lock import lock_digest
    from builder.locking import ensure_lock

    lock, path, changed = ensure_lock(
        app.spec,
        app.settings,
        architecture=architecture,
        python=python,
        upgrade=upgrade,
        upgrade_packages=upgrade_packages,
        frozen=frozen,
        cache=cache_folder(),
        report=display.stage,
    )
    return Locked(lock, path, lock_digest(path), changed)
