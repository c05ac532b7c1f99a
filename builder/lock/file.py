"""Where a lock is, and what stands in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.variant import lock_file, variant

if TYPE_CHECKING:
    from pathlib import Path

    from builder.lock.declared import Declared
    from builder.lock.recorded import Recorded
    from builder.models import AppSpec, Architecture, Lock

FORMAT = 3
"""Version of `[tool.builder]`. A reader refuses what is newer than itself."""


@dataclass(frozen=True)
class LockFile:
    """A lock as it stands in its file.

    Attributes:
        lock: the pins.
        declared: what they were chosen for.
        recorded: the image that was built from them, where that is recorded.
    """

    lock: Lock
    declared: Declared
    recorded: Recorded | None = None


def lock_path(spec: AppSpec, architecture: Architecture | None = None) -> Path:
    """Where an app's lock is. The name is one that PEP 751 allows.

    Args:
        spec: the app.
        architecture: the target's; None for what its machines have.
    """
    return lock_file(spec.root, variant(spec.name, spec.architecture, architecture))
