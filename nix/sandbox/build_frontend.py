"""Calls a project's build backend (PEP 517), inside the root that the build is shut in.

This file runs by itself there, with the root's Python and with nothing of its neighbours. Its arguments are the step
("requires" or "wheel"), the project's folder and the folder for results.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

#: What builds a project that does not say (PEP 517, "Source trees").
LEGACY = "setuptools.build_meta:__legacy__"
#: The result of the step "requires": a list of PEP 508 strings.
REQUIRES = "requires.json"
# Where Debian keeps the wheels of ensurepip: before 3.11, Python itself cannot read TOML.
_WHEELS = Path("/usr/share/python-wheels")


class _Counted:
    """Names for temporary files and folders, by number.

    Backends compile in temporary folders, whose names get into what is compiled (`__FILE__`, search paths).
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> str:
        return f"{next(self._numbers):08}"


def main() -> None:
    """Run a step."""
    step, folder, out = sys.argv[1:]
    # What the module makes itself on first use; it goes on to the next name where there is such a file.
    tempfile._name_sequence = _Counted()  # type: ignore[attr-defined]
    os.chdir(folder)
    # This script's folder is no place for a project to import from (PEP 517, "Build environment").
    sys.path[:] = sys.path[1:]
    backend = _backend(_build_system())
    sys.argv = ["build", "wheel"]
    if step == "requires":
        hook = getattr(backend, "get_requires_for_build_wheel", None)
        wanted = [str(requirement) for requirement in (hook() if hook else [])]
        Path(out, REQUIRES).write_text(json.dumps(wanted), encoding="utf-8")
    else:
        backend.build_wheel(out)


def _build_system() -> dict[str, Any]:
    """The table `[build-system]` of the project's pyproject.toml, {} where there is none."""
    try:
        text = Path("pyproject.toml").read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    table = _toml(text).get("build-system", {})
    return table if isinstance(table, dict) else {}


def _toml(text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib

        return tomllib.loads(text)
    path = list(sys.path)
    sys.path[:0] = sorted(map(str, _WHEELS.glob("*.whl")))
    try:
        reader = importlib.import_module("pip._vendor.tomli")
    except ImportError:
        reader = importlib.import_module("toml")
    finally:
        sys.path[:] = path
    loaded: dict[str, Any] = reader.loads(text)
    return loaded


def _backend(system: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever the project names
    here = os.path.realpath(".")
    for folder in reversed(system.get("backend-path", [])):
        path = os.path.realpath(folder)
        if os.path.commonpath([here, path]) != here:
            sys.exit(f"backend-path {folder!r} of pyproject.toml leads out of the project")
        sys.path.insert(0, path)
    module, _, attributes = system.get("build-backend", LEGACY).partition(":")
    backend: Any = importlib.import_module(module)
    for name in filter(None, attributes.split(".")):
        backend = getattr(backend, name)
    return backend


if __name__ == "__main__":
    main()
