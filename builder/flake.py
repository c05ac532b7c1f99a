"""The flake of a user's repository: written once, and the user's own from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.redact import userinfo

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from builder.debian.mirrors import Archive


def flake_text(reference: str, mirrors: Mapping[Archive, str]) -> str:
    """What is to be in flake.nix.

    Args:
        reference: the flake of builder.
        mirrors: Debian's archives, by name; those that have credentials in them are left out.
    """
    from builder.render import template

    public = {name: url for name, url in sorted(mirrors.items()) if userinfo(url) is None}
    return template("flake.nix.j2").render(input=reference, mirrors=public)


def repository_of(folder: Path) -> Path | None:
    """The git repository that a folder is in; None where it is in none."""
    return next((parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), None)
