"""Debian as the base of images: from a Python version to pinned packages.

One module per concept, in the order data flows: `suites` and `mirrors` say what to read and where, `fetch`
reads it, `release` and `index` verify it, `relations`, `version` and `closure` resolve it, `base` decides
what is resolved. `deb` opens the one package that has to be opened outside Nix.
"""

from __future__ import annotations

from builder.debian.base import DEBIAN_ARCHITECTURES, build_tools, resolve_base
from builder.debian.deb import extract_busybox
from builder.debian.fetch import fetch_deb
from builder.debian.mirrors import Mirrors, find_mirrors, redact
from builder.debian.suites import SUITES, suite_for

__all__ = [
    "DEBIAN_ARCHITECTURES",
    "SUITES",
    "Mirrors",
    "build_tools",
    "extract_busybox",
    "fetch_deb",
    "find_mirrors",
    "redact",
    "resolve_base",
    "suite_for",
]
