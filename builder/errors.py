"""The errors this project raises on purpose, each with the exit code it ends the command with."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class BuilderError(Exception):
    """A failure the user can act on: what is wrong, where it was written, what to do.

    Attributes:
        exit_code: the command's exit status.
        hint: what to do next; printed on a line of its own. Empty when the message says it all.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class DeclarationError(BuilderError):
    """The app file, the target or pyproject.toml says something that cannot be built."""

    exit_code = 3


class ResolveError(BuilderError):
    """The requirements have no solution, or a file they need cannot be had."""

    exit_code = 4


class NowhereError(ResolveError):
    """No place that is known has a locked file."""


class LockError(BuilderError):
    """The lock is missing, stale, malformed or does not fit what it is asked for."""

    exit_code = 5


class BuildError(BuilderError):
    """Nix could not build the image."""

    exit_code = 6


class ToolError(BuilderError):
    """A program this one needs (nix, uv, podman, gpgv) is missing or does not work."""

    exit_code = 7


class MachineError(BuilderError):
    """The machine refuses: a disk is full, a folder may not be written."""

    exit_code = 8


def of_the_machine(error: OSError) -> MachineError:
    """The error for what the system refused, in the words that it has for it."""
    said = error.strerror or str(error) or type(error).__name__
    where = f"{error.filename}: " if error.filename else ""
    if is_disk_full(error):
        return disk_full(str(error.filename or ""))
    return MachineError(f"{where}{said}")


def is_disk_full(error: OSError) -> bool:
    """Whether the system had no room left for what was to be written, or for what this user may write."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def disk_full(path: str = "", free: Mapping[str, int] | None = None) -> MachineError:
    """The error for a full disk.

    Args:
        path: what could not be written; "" where that is not known.
        free: bytes that are free now, by folder: those that it may have been.
    """
    room = ", ".join(f"{size / 1e6:.0f} MB in {folder}" for folder, size in (free or {}).items())
    return MachineError(
        f"The disk is full: {path} could not be written." if path else "The disk is full.",
        hint=(f"Free are {room}. " if room else "")
        + "Make room (`nix-collect-garbage` frees store paths that nothing uses) and run the same command again: what "
        "was finished is kept.",
    )
