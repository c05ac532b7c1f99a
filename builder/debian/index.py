"""Packages indexes: what a pocket has, kept as a small database that is asked for one package at a time.

An index of Debian's main component has 64,000 stanzas in 50 MB of text, of which a base needs 50. So it is
cut into stanzas once, and these go unread into an SQLite file in the cache, called by the index's hash. One
index takes 1.3 s, most of it to decompress it; a question to the file takes some microseconds. (A database of
the parsed fields would be half as large, and took 2.2 s.)
"""

from __future__ import annotations

import errno
import lzma
import os
import re
import sqlite3
import tempfile
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from builder.debian.fetch import fetch_pinned
from builder.debian.relations import Alternatives, Relation, parse_relations
from builder.debian.version import version_key
from builder.errors import ResolveError
from builder.files import scratch_folder
from builder.models import Deb

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from builder.debian.mirrors import Archive, Mirrors
    from builder.debian.release import Release

# Part of the cache files' names: to be raised with each change of what is in them.
_FORMAT = 1
_PRIORITIES = ("required", "important", "standard", "optional", "extra")
# A field goes on in lines that begin with a blank (policy 5.1).
_FIELD = re.compile(r"^([^\s:]+):(.*(?:\n[ \t].*)*)", re.MULTILINE)


@dataclass(frozen=True)
class Package:
    """One stanza of an index: a version of a package, and where its file is.

    Attributes:
        archive: the archive whose pool has the file.
        name, version, architecture: what identifies it.
        pre_depends, depends, conflicts, breaks, provides: the fields as they stand.
        filename: the file's path in the archive.
        sha256: lowercase hex digest of the file.
        size: bytes.
        priority: how much a system wants it (policy 2.5).
    """

    archive: Archive
    name: str
    version: str
    architecture: str
    pre_depends: str
    depends: str
    conflicts: str
    breaks: str
    provides: str
    filename: str
    sha256: str
    size: int
    priority: str = "optional"

    @cached_property
    def requirements(self) -> tuple[Alternatives, ...]:
        """What must be there for it to work. Recommends are for interactive systems, and are not read."""
        return parse_relations(self.pre_depends) + parse_relations(self.depends)

    @cached_property
    def excluded(self) -> tuple[Relation, ...]:
        """What must not be there beside it."""
        groups = parse_relations(self.conflicts) + parse_relations(self.breaks)
        return tuple(relation for group in groups for relation in group)

    def provided_version(self, name: str) -> str | None:
        """The version of a virtual package that it provides, where it says one."""
        for (relation,) in parse_relations(self.provides):
            if relation.name == name and relation.operator == "=":
                return relation.version
        return None

    def provided_names(self) -> frozenset[str]:
        """The virtual packages that it provides."""
        return frozenset(relation.name for (relation,) in parse_relations(self.provides))

    def fulfils(self, relation: Relation) -> bool:
        """Whether it is what the relation asks for, by its own name or by one that it provides."""
        if self.name == relation.name:
            return relation.admits(self.version)
        return relation.name in self.provided_names() and relation.admits(
            self.provided_version(relation.name)
        )

    def deb(self) -> Deb:
        """The package as a lock pins it."""
        return Deb.model_validate(
            {
                "package": self.name,
                "version": self.version,
                "architecture": self.architecture,
                "archive": self.archive,
                "path": self.filename,
                "sha256": self.sha256,
                "size": self.size,
            }
        )


def _rank(package: Package) -> int:
    return _PRIORITIES.index(package.priority) if package.priority in _PRIORITIES else len(_PRIORITIES)


class Index:
    """The packages of all pockets of a suite, for one architecture."""

    def __init__(self, databases: Sequence[tuple[Archive, Path]]) -> None:
        """Open databases that `build_database` wrote.

        Args:
            databases: each with the archive that its files are in.
        """
        self._connections = [
            (archive, sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True))
            for archive, path in databases
        ]
        self._best: dict[str, Package | None] = {}

    def close(self) -> None:
        """Close the databases."""
        for _, connection in self._connections:
            connection.close()

    def best(self, name: str) -> Package | None:
        """The highest version of a package, over all pockets; None where there is no such package."""
        if name not in self._best:
            found = [
                read_stanza(stanza, archive)
                for archive, connection in self._connections
                for (stanza,) in connection.execute("SELECT stanza FROM packages WHERE name = ?", (name,))
            ]
            self._best[name] = max(found, key=lambda package: version_key(package.version), default=None)
        return self._best[name]

    def providers(self, name: str) -> list[Package]:
        """The packages that provide a virtual one: those of higher priority first, as apt has it, then by name."""
        names = {
            row[0]
            for _, connection in self._connections
            for row in connection.execute("SELECT name FROM provides WHERE virtual = ?", (name,))
        }
        found = (self.best(provider) for provider in names)
        fitting = [package for package in found if package is not None and name in package.provided_names()]
        return sorted(fitting, key=lambda package: (_rank(package), package.name))

    def names(self) -> Iterator[str]:
        """All package names, in no order, some more than once."""
        for _, connection in self._connections:
            for (name,) in connection.execute("SELECT name FROM packages"):
                yield name


def read_stanza(stanza: bytes, archive: Archive) -> Package:
    """A stanza of a Packages index as a package.

    Raises:
        ResolveError: it lacks a field that says what the package is or where its file is.
    """
    fields = {name: value.strip() for name, value in _FIELD.findall(stanza.decode("utf-8", errors="replace"))}
    try:
        return Package(
            archive=archive,
            name=fields["Package"],
            version=fields["Version"],
            architecture=fields["Architecture"],
            pre_depends=fields.get("Pre-Depends", ""),
            depends=fields.get("Depends", ""),
            conflicts=fields.get("Conflicts", ""),
            breaks=fields.get("Breaks", ""),
            provides=fields.get("Provides", ""),
            filename=fields["Filename"],
            sha256=fields["SHA256"],
            size=int(fields["Size"]),
            priority=fields.get("Priority", "optional"),
        )
    except (KeyError, ValueError) as error:
        name = fields.get("Package", "a package")
        raise ResolveError(f"{archive}: the index has no readable field {error} for {name}") from None


def build_database(text: bytes, path: Path) -> None:
    """Write the database of a Packages index.

    Args:
        text: the index (Debian policy 5.1 for the format).
        path: where to; replaced once it is complete.
    """
    with scratch_folder(path.parent) as folder:
        partial = folder / "database"
        connection = sqlite3.connect(partial)
        try:
            # The file is thrown away unless it is complete, so nothing has to survive a crash.
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("CREATE TABLE packages (name TEXT, stanza BLOB)")
            connection.execute("CREATE TABLE provides (virtual TEXT, name TEXT)")
            virtual: list[tuple[str, str]] = []
            connection.executemany("INSERT INTO packages VALUES (?, ?)", _stanzas(text, virtual))
            connection.executemany("INSERT INTO provides VALUES (?, ?)", virtual)
            connection.execute("CREATE INDEX by_name ON packages (name)")
            connection.execute("CREATE INDEX by_virtual ON provides (virtual)")
            connection.commit()
        except sqlite3.OperationalError as error:
            if "disk is full" in str(error):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
            raise
        finally:
            connection.close()
        partial.replace(path)


def _stanzas(text: bytes, virtual: list[tuple[str, str]]) -> Iterator[tuple[str, bytes]]:
    """Each stanza under its package's name; what it provides is added to `virtual`."""
    for stanza in text.split(b"\n\n"):
        # Debian's indexes begin each stanza with this field, which also spares reading the others.
        if not stanza.startswith(b"Package: "):
            continue
        name = stanza[9 : (stanza + b"\n").index(b"\n")].decode("utf-8", errors="replace").strip()
        if b"\nProvides:" in stanza:
            field = dict(_FIELD.findall(stanza.decode("utf-8", errors="replace")))["Provides"]
            virtual += [(relation.name, name) for group in parse_relations(field) for relation in group]
        yield name, stanza


def fetch_index(release: Release, architecture: str, mirrors: Mirrors, cache: Path) -> Path | None:
    """Fetch one pocket's index for an architecture, check it, and write its database.

    Args:
        release: the verified Release file that lists it.
        architecture: Debian's name: "amd64" or "arm64".
        mirrors: where the archives are.
        cache: folder for the database. Those of earlier states of the same pocket are deleted.

    Returns:
        The database; None where the pocket has no index for the architecture.

    Raises:
        ResolveError: it could not be fetched, or is not what the Release file lists.
    """
    listed = release.packages(architecture)
    if listed is None:
        return None
    prefix = f"{release.pocket.archive}-{release.pocket.name}-{architecture}-"
    path = cache / f"{prefix}{listed.sha256}-{_FORMAT}.sqlite"
    if path.exists():
        return path
    url = mirrors.url(release.pocket.archive, release.url_path(listed))
    with tempfile.TemporaryFile() as packed:
        fetch_pinned(url, packed, sha256=listed.sha256, size=listed.size)
        packed.seek(0)
        with lzma.open(packed) as unpacked:
            text = unpacked.read()
    build_database(text, path)
    for old in cache.glob(f"{prefix}*.sqlite"):
        if old != path:
            old.unlink(missing_ok=True)
    return path
