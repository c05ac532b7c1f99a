"""The flake of a user's repository: written once, and the user's own from then on."""

from __future__ import annotations

import json
import os
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from builder.errors import DeclarationError, ToolError
from builder.files import replacing
from builder.redact import redact, userinfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.debian.mirrors import Archive

_FILE = "flake.nix"
_INPUT_HINT = "--input URL names it: a flake reference such as git+https://host/team/builder?ref=main."


def own_input() -> str:
    """The flake reference of the builder that runs, by where it was installed from (PEP 610).

    Raises:
        ToolError: it came from an index, or from a place that no flake can name.
    """
    said = metadata.distribution("builder").read_text("direct_url.json")
    origin = json.loads(said) if said else {}
    url = str(origin.get("url", ""))
    vcs = origin.get("vcs_info", {})
    if vcs.get("vcs") == "git" and "commit_id" in vcs:
        separator = "&" if "?" in url else "?"
        return check_input(f"git+{url}{separator}rev={vcs['commit_id']}")
    if "dir_info" in origin and url.startswith("file:"):
        folder = unquote(urlsplit(url).path)
        kind = "git+file" if (Path(folder) / ".git").exists() else "path"
        return f"{kind}://{folder}" if kind == "git+file" else f"{kind}:{folder}"
    raise ToolError("where the flake of builder is cannot be told from this installation", hint=_INPUT_HINT)


def check_input(url: str) -> str:
    """A flake reference that may be written down.

    Raises:
        DeclarationError: it has credentials in it.
    """
    if "://" in url and userinfo(url.removeprefix("git+")) is not None and not url.startswith("git+ssh:"):
        raise DeclarationError(
            f"{redact(url)} has credentials in it, and the flake would be in the repository",
            hint="Nix reads them from its netrc-file or access-tokens, git from its own configuration.",
        )
    return url


def require_new(folder: Path) -> None:
    """See that a folder has no flake yet.

    Raises:
        ToolError: it has.
    """
    path = folder / _FILE
    if path.exists():
        raise ToolError(
            f"{path} is there already",
            hint="--force replaces it. To add builder to a flake of your own: docs/flake.md.",
        )


def flake_text(reference: str, mirrors: Mapping[Archive, str]) -> str:
    """What is to be in flake.nix.

    Args:
        reference: the flake of builder.
        mirrors: Debian's archives, by name; those that have credentials in them are left out.
    """
    from builder.render import template

    public = {name: url for name, url in sorted(mirrors.items()) if userinfo(url) is None}
    return template("flake.nix.j2").render(input=reference, mirrors=public)


def write_flake(folder: Path, text: str) -> None:
    """Write flake.nix, in place of one that is there."""
    with replacing(folder / _FILE) as file:
        file.write(text.encode())
        os.fchmod(file.fileno(), 0o644)


def repository_of(folder: Path) -> Path | None:
    """The git repository that a folder is in; None where it is in none."""
    return next((parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), None)
