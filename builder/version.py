"""This program's version."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """The version of the installed package (PEP 440)."""
    return metadata.version("builder")
