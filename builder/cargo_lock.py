"""Reads which Rust crates a project is built with, before anything of it runs: its Cargo.lock files say so.

A crate that stands there has a hash ("Cargo.toml vs Cargo.lock" in the Cargo book), so it can be fetched in advance for
a build that has no network.
"""

from __future__ import annotations

import sys
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from builder.errors import ResolveError
from builder.models import Crate
from builder.toolchains import is_aside

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

_LOCK = "Cargo.lock"
_FOLDER = ".cargo"
_CONFIGURATIONS = ("config", "config.toml")
_REGISTRIES = ("registry+", "sparse+")
# `cargo vendor` puts this beside the Cargo.toml of each crate.
_VENDORED = ".cargo-checksum.json"


def is_cargos(name: str) -> bool:
    """Whether a file is one whose text `locked_crates` wants to see."""
    path = PurePosixPath(name)
    return path.name == _LOCK or (path.parent.name == _FOLDER and path.name in _CONFIGURATIONS)


def locked_crates(
    texts: Mapping[str, bytes], names: Collection[str], project: str, where: str
) -> tuple[Crate, ...]:
    """Say which crates of registries a project's Cargo.lock files name (versions 1 to 4 of their format).

    Those of the project's folder count, and those of the folders that it is in: a workspace has one at its top.

    Args:
        texts: of the source's files that `is_cargos` tells, among others.
        names: of all its files.
        project: the project's folder as a prefix of names, "" for the top.
        where: what an error begins with.

    Returns:
        The crates, sorted; none where the project's own configuration of cargo says where they are (vendored ones).

    Raises:
        ResolveError: a file is malformed, or two files disagree about a crate.
    """
    found: dict[tuple[str, str], Crate] = {}
    for name, text in sorted(texts.items()):
        path = PurePosixPath(name)
        if not is_cargos(name) or not _counts(path, names, project):
            continue
        try:
            table = tomllib.loads(text.decode())
            if path.name != _LOCK and _replaces(table):
                return ()
            crates = tuple(_registered(table)) if path.name == _LOCK else ()
        except (UnicodeDecodeError, tomllib.TOMLDecodeError, AttributeError, KeyError, TypeError) as error:
            raise ResolveError(f"{where}: its {name} is malformed: {error}") from error
        except ValidationError as error:
            first = error.errors()[0]
            raise ResolveError(
                f"{where}: its {name} is malformed: {first['input']!r} is no crate's {first['loc'][-1]}"
            ) from error
        for crate in crates:
            if found.setdefault((crate.name, crate.version), crate) != crate:
                raise ResolveError(
                    f"{where}: its Cargo.lock files have two hashes of the crate {crate.name} {crate.version}"
                )
    return tuple(found[key] for key in sorted(found))


def _counts(path: PurePosixPath, names: Collection[str], project: str) -> bool:
    """Whether cargo could read a file when it builds the project."""
    folder = path.parent.parent if path.parent.name == _FOLDER else path.parent
    top = PurePosixPath(project)
    if top.is_relative_to(folder):
        return True
    return (
        path.is_relative_to(top)
        and not is_aside(path.relative_to(top))
        and (path.parent / _VENDORED).as_posix() not in names
    )


def _replaces(table: Mapping[str, Any]) -> bool:
    """Whether a configuration has other places for the crates of registries ("Source Replacement")."""
    return any("replace-with" in source for source in table.get("source", {}).values())


def _registered(table: Mapping[str, Any]) -> Iterator[Crate]:
    # Version 1 of the format has all hashes in one table.
    hashes = table.get("metadata", {})
    for package in table.get("package", ()):
        name, version, source = package["name"], package["version"], package.get("source", "")
        checksum = package.get("checksum") or hashes.get(f"checksum {name} {version} ({source})", "<none>")
        if source.startswith(_REGISTRIES) and checksum != "<none>":
            yield Crate(name=name, version=version, sha256=checksum)
