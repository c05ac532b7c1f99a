"""Which processor an app is built for, and what its files are called then.

A lock is for one platform. The declaration alone says which: what the machine type has, otherwise x86_64. Where the
user asks for the other one, lock and result have names of their own, so that both can be committed and built in turns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from builder.models import Architecture

# The OCI image specification's names of platforms -> this project's names of architectures.
PLATFORMS: dict[str, Architecture] = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}


def platform_option(architecture: Architecture) -> str:
    """How a command line asks for an architecture: `--platform linux/arm64`."""
    return "--platform " + next(name for name, known in PLATFORMS.items() if known == architecture)


def variant(name: str, declared: Architecture, architecture: Architecture | None) -> str:
    """What an app's files are named after: `app`, or `app-aarch64` where that is not what its machines have.

    Args:
        name: the app's.
        declared: what its machines have.
        architecture: what it is built for; None for what is declared.
    """
    return name if architecture in (None, declared) else f"{name}-{architecture}"


def lock_file(root: Path, label: str) -> Path:
    """The lock in a project's folder; its name is one that PEP 751 allows. `label` is what `variant` returns."""
    return root / f"pylock.{label}.toml"
