"""Where this program was installed from: what another machine is to install to have the same."""

from __future__ import annotations

import json
from importlib import metadata
from typing import Any

from builder.redact import redact
from builder.version import version


def requirement(direct_url: str | None = None) -> str:
    """What pip is to install: a pinned place that another machine reaches too, otherwise this version.

    Args:
        direct_url: the text of direct_url.json (PEP 610); None for this installation's.
    """
    text = metadata.distribution("builder").read_text("direct_url.json") if direct_url is None else direct_url
    return _place(json.loads(text)) if text else _release()


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
