"""Where this program was installed from: what another machine is to install to have the same."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from builder.errors import DeclarationError, ToolError
from builder.redact import redact, userinfo
from builder.version import version

_INPUT_HINT = "--input URL names it: a flake reference such as git+https://host/team/builder?ref=main."


def requirement(direct_url: str | None = None) -> str:
    """What pip is to install: a pinned place that another machine reaches too, otherwise this version.

    Args:
        direct_url: the text of direct_url.json (PEP 610); None for this installation's.
    """
    text = _direct_url() if direct_url is None else direct_url
    return _place(json.loads(text)) if text else _release()


def flake_reference(direct_url: str | None = None) -> str:
    """The flake of this program, as a flake's input.

    Args:
        direct_url: the text of direct_url.json (PEP 610); None for this installation's.

    Raises:
        ToolError: it came from an index, or from a place that no flake can name.
    """
    text = _direct_url() if direct_url is None else direct_url
    origin = json.loads(text) if text else {}
    url = str(origin.get("url", ""))
    vcs = origin.get("vcs_info", {})
    if vcs.get("vcs") == "git" and "commit_id" in vcs:
        separator = "&" if "?" in url else "?"
        return check_reference(f"git+{url}{separator}rev={vcs['commit_id']}")
    if "dir_info" in origin and url.startswith("file:"):
        folder = unquote(urlsplit(url).path)
        kind = "git+file" if (Path(folder) / ".git").exists() else "path"
        return f"{kind}://{folder}" if kind == "git+file" else f"{kind}:{folder}"
    raise ToolError("where the flake of builder is cannot be told from this installation", hint=_INPUT_HINT)


def check_reference(url: str) -> str:
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


def _direct_url() -> str | None:
    return metadata.distribution("builder").read_text("direct_url.json")


def _place(found: dict[str, Any]) -> str:
    url = str(found.get("url", ""))
    if url.startswith("file:") or redact(url) != url:
        # A folder of this machine, or a place that is only for those who have a password.
        return _release()
    parts = []
    if vcs := found.get("vcs_info"):
        place = f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
    else:
        place = url
        hashes = found.get("archive_info", {}).get("hashes") or {}
        if "sha256" in hashes:
            parts.append(f"sha256={hashes['sha256']}")
    if folder := found.get("subdirectory"):
        parts.append(f"subdirectory={folder}")
    return f"builder @ {place}" + ("#" + "&".join(parts) if parts else "")


def _release() -> str:
    return f"builder=={version()}"
