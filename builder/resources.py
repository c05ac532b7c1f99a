"""Where the files are that are not Python: the Nix library and the templates."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def _folder(name: str) -> Path:
    # An installed package carries them (pyproject.toml, force-include); in a checkout they stand beside it.
    packed = _PACKAGE / "_data" / name
    return packed if packed.is_dir() else _PACKAGE.parent / name


def nix_library() -> Path:
    """The folder of the Nix library that rendered expressions call."""
    return _folder("nix")


def data(name: str) -> Path:
    """A table of this package, by its path in it: `cuda/builds.toml`."""
    return _PACKAGE / name


def templates() -> Path:
    """The folder of the Jinja2 templates."""
    return _folder("templates")
