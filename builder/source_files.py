"""Looks at a source before anything of it runs: the names of its files, and what it says it is built with."""

from __future__ import annotations

import contextlib
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from builder.cargo_lock import is_cargos, locked_crates
from builder.errors import ResolveError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterable

    from builder.models import Crate

#: What a project without a `[build-system]` is built with (PEP 517, "Source trees").
LEGACY_REQUIRES = ("setuptools>=40.8.0",)
_LARGEST = 1 << 23


@dataclass(frozen=True)
class SourceFiles:
    """What was seen.

    Attributes:
        names: of all files, relative to the project's folder.
        name: of the project, as its pyproject.toml has it, or None.
        requires: what its build backend needs (PEP 518).
        crates: Rust crates that its Cargo.lock files name.
    """

    names: tuple[str, ...]
    name: str | None
    requires: tuple[str, ...]
    crates: tuple[Crate, ...] = ()


def look_into(path: Path, subdirectory: str | None, where: str) -> SourceFiles:
    """Look at an archive or a folder; nothing is unpacked or run.

    Args:
        path: of a tar or zip archive, or of a folder.
        subdirectory: the project's folder in it, or None.
        where: what an error begins with.

    Raises:
        ResolveError: it is no archive, holds no project, or its pyproject.toml or Cargo.lock is malformed.
    """
    try:
        names, texts = _folder(path) if path.is_dir() else _archive(path)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise ResolveError(
            f"{where}: it is no archive that can be read: {error}",
            hint="See what the URL serves. Archives are .tar.gz, .tar.bz2, .tar.xz or .zip.",
        ) from error
    project = _project_folder(names, subdirectory, is_archive=not path.is_dir())
    own = {name[len(project) :]: name for name in names if name.startswith(project)}
    if not {"pyproject.toml", "setup.py"} & set(own):
        inside = f" in {subdirectory}" if subdirectory else ""
        raise ResolveError(
            f"{where}: it has neither pyproject.toml nor setup.py{inside}, so it is no Python project",
            hint="A project in a folder of its own is named by `#subdirectory=FOLDER` at the end of the URL.",
        )
    table = _pyproject(texts.get(own.get("pyproject.toml", ""), b""), where)
    system, described = table.get("build-system"), table.get("project")
    requires: Any = system.get("requires", LEGACY_REQUIRES) if isinstance(system, dict) else LEGACY_REQUIRES
    if not isinstance(requires, list | tuple) or not all(isinstance(word, str) for word in requires):
        raise ResolveError(f"{where}: build-system.requires of its pyproject.toml is no list of strings")
    name = described.get("name") if isinstance(described, dict) else None
    crates = locked_crates(texts, set(names), project, where)
    return SourceFiles(tuple(sorted(own)), name if isinstance(name, str) else None, tuple(requires), crates)


def _folder(path: Path) -> tuple[list[str], dict[str, bytes]]:
    names = [file.relative_to(path).as_posix() for file in path.rglob("*") if not file.is_dir()]
    texts = {
        name: (path / name).read_bytes()[:_LARGEST]
        for name in names
        if _is_read(name) and (path / name).is_file()
    }
    return names, texts


def _archive(path: Path) -> tuple[list[str], dict[str, bytes]]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            texts = {}
            for entry in entries:
                if _is_read(entry.filename):
                    with archive.open(entry) as file:
                        texts[_plain(entry.filename)] = file.read(_LARGEST)
            return [_plain(entry.filename) for entry in entries], texts
    names, texts = [], {}
    with tarfile.open(path) as tar:
        for member in tar:
            if member.isdir():
                continue
            names.append(_plain(member.name))
            # A link may lead nowhere.
            with contextlib.suppress(KeyError):
                if _is_read(member.name) and (opened := tar.extractfile(member)):
                    texts[_plain(member.name)] = opened.read(_LARGEST)
    return names, texts


def _plain(name: str) -> str:
    return name.removeprefix("./")


def _is_read(name: str) -> bool:
    return PurePosixPath(name).name == "pyproject.toml" or is_cargos(name)


def _project_folder(names: Iterable[str], subdirectory: str | None, *, is_archive: bool) -> str:
    """The project's folder as a prefix of names: an archive's files lie in one folder of its own."""
    tops = {name.partition("/")[0] if "/" in name else "" for name in names}
    folder = f"{tops.pop()}/" if is_archive and len(tops) == 1 and "" not in tops else ""
    return folder + (subdirectory.strip("/") + "/" if subdirectory else "")


def _pyproject(text: bytes, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ResolveError(f"{where}: its pyproject.toml is malformed: {error}") from error
