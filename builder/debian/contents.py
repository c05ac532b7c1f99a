"""Contents indices: which package of a suite has a shared library.

An index of Debian's main component has two million lines in 150 MB of text, 12 MB packed, of which 25,000 are
shared libraries where the loader looks. Only these are kept, in a table of 1 MB in the cache that is called by the
index's hash. Making the table takes one to two seconds, reading it some milliseconds.

The index of the suite as it was released is the only one read. That of the security pocket is listed and empty, that
of `-updates` has a handful of packages; and a fix in either keeps the sonames of the package it replaces, since
nothing else in the suite is linked anew.
Packages for all architectures have an index of their own, which is not read either: they have no compiled libraries.
"""

from __future__ import annotations

import gzip
import re
import tempfile
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from builder.debian.base import DEBIAN_ARCHITECTURES
from builder.debian.fetch import MissingFileError, fetch_pinned
from builder.debian.index import Index, fetch_index
from builder.debian.mirrors import find_mirrors
from builder.debian.release import fetch_release
from builder.debian.sonames import likely_packages
from builder.debian.suites import suite_for
from builder.errors import ResolveError
from builder.files import replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from builder.debian.index import Package
    from builder.debian.mirrors import Mirrors
    from builder.debian.release import Release
    from builder.models import Architecture

# Part of the cache files' names: to be raised with each change of what is in them.
_FORMAT = 1
_FOLDER = "debian"  # in the cache, where the base's indexes are too
_CHUNK = 1 << 20
# Sections whose packages are not there for programs to run: files for debuggers, names kept for old users, headers.
_UNWANTED = frozenset({"debug", "oldlibs", "libdevel"})
# The path may have blanks in it, the packages cannot: they are what comes after the last one. libblas.so.3 and
# liblapack.so.3 are in folders of their own, from which update-alternatives links them to where the loader looks.
_LINE = rb"""(?mx)
    ^ (?:usr/)? lib/ (?:TRIPLET/ (?:blas/|lapack/)? )?
    (?P<file> lib[^/\n]* \.so (?:\.[^/\n]*?)? )
    [ \t]+ (?P<owners> [^\s,]*[^\s,/] (?:,[^\s,]*[^\s,/])* ) $
"""


@dataclass(frozen=True)
class Owner:
    """A package that has a file.

    Attributes:
        package: its name.
        section: the section of the archive it is in (policy 2.4), without the area; "" where the index says none.
    """

    package: str
    section: str


def find_packages(
    sonames: Iterable[str],
    *,
    python: str,
    mirrors: Mapping[str, str],
    cache: Path,
    target: Architecture = "x86_64",
    extra_suites: Mapping[str, str] | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> dict[str, str]:
    """Find the packages that have shared libraries, by Debian's own index of what is in its packages.

    Where the mirror lacks that index, a package that is called as the policy has it is taken instead, if there is
    one. Every package that is returned is one that `resolve_base` finds under its name.

    Args:
        sonames: what the loader looks for: "libGL.so.1". The folders it looks in are Debian's defaults.
        python: "3.11"; decides the suite.
        mirrors: the table `[tool.builder.mirrors]`.
        cache: this program's cache folder; tables go into `debian` in it.
        target: the image's architecture.
        extra_suites: see `suite_for`.
        note: told in a sentence, once, where names had to do.

    Returns:
        The package of each soname, in the order they were given; sonames that no package has are left out.

    Raises:
        DeclarationError: no suite has this Python.
        ResolveError: an index could not be fetched, is not signed by Debian, or is not the one that was signed.
        ToolError: no mirror is known, or gpgv or its keyring is missing.
    """
    wanted = list(dict.fromkeys(sonames))
    if not wanted:
        return {}
    suite = suite_for(python, extra_suites)
    found_mirrors = find_mirrors(mirrors)
    folder = cache / _FOLDER
    released = next(pocket for pocket in suite.pockets if pocket.name == suite.codename)
    release = fetch_release(released, found_mirrors, folder)
    # Such a pocket is required: that it is missing has been raised.
    assert release is not None
    database = fetch_index(release, DEBIAN_ARCHITECTURES[target], found_mirrors, folder)
    if database is None:
        raise ResolveError(
            f"Debian {suite.codename} has no packages for {DEBIAN_ARCHITECTURES[target]} on the mirror that "
            f"{found_mirrors.source} names",
            hint="a partial mirror will not do: set another one in [tool.builder.mirrors]",
        )
    with closing(Index([(released.archive, database)])) as index:
        table = fetch_contents(release, target, found_mirrors, folder)
        if table is None:
            note(
                f"the Debian mirror that {found_mirrors.source} names has no index of the files in {suite.codename}'s "
                "packages: packages of libraries are found by their names alone, which may miss some"
            )
            found = {soname: _named(soname, index) for soname in wanted}
        else:
            owners = read_owners(table, wanted)
            found = {soname: choose(soname, owners.get(soname, ()), index) for soname in wanted}
    return {soname: package for soname, package in found.items() if package is not None}


def fetch_contents(release: Release, target: Architecture, mirrors: Mirrors, cache: Path) -> Path | None:
    """Fetch a pocket's index of files for an architecture, check it, and write the table of its libraries.

    Args:
        release: the verified Release file that lists it.
        target: the architecture.
        mirrors: where the archives are.
        cache: folder for the table. Those of earlier states of the same pocket are deleted.

    Returns:
        The table; None where the pocket has no such index, or the mirror not the one that was signed: a mirror may
        be without (Debian's "RepositoryFormat" calls these indices optional), and packages can be fetched from it
        all the same.

    Raises:
        ResolveError: it could not be fetched, or is not what the Release file lists.
    """
    architecture = DEBIAN_ARCHITECTURES[target]
    listed = release.files.get(f"main/Contents-{architecture}.gz")
    if listed is None:
        return None
    prefix = f"contents-{release.pocket.archive}-{release.pocket.name}-{architecture}-"
    path = cache / f"{prefix}{listed.sha256}-{_FORMAT}.txt"
    if path.exists():
        return path
    url = mirrors.url(release.pocket.archive, release.url_path(listed))
    with tempfile.TemporaryFile() as packed:
        try:
            fetch_pinned(url, packed, sha256=listed.sha256, size=listed.size)
        except MissingFileError:
            return None
        packed.seek(0)
        with replacing(path) as file:
            write_table(packed, file, target)
    for old in cache.glob(f"{prefix}*.txt"):
        if old != path:
            old.unlink(missing_ok=True)
    return path


def write_table(contents: BinaryIO, table: BinaryIO, target: Architecture) -> None:
    """Write the lines of a Contents index that are of shared libraries where the loader looks by default.

    Args:
        contents: the index, packed by gzip; read piece by piece (Debian's "RepositoryFormat", Contents indices: a
            path without its first slash, blanks, then `[[area/]section/]package` with commas between them; other
            lines are to be ignored).
        table: written a line for each file name, sorted: the name, a blank, and the same list of packages.
        target: the architecture, whose folders the loader looks in.
    """
    line = re.compile(_LINE.replace(b"TRIPLET", f"{target}-linux-gnu".encode()))
    owners: dict[bytes, set[bytes]] = {}
    with gzip.open(contents) as unpacked:
        for lines in _whole_lines(unpacked):
            for match in line.finditer(lines):
                owners.setdefault(match["file"], set()).update(match["owners"].split(b","))
    table.writelines(
        b"%b %b\n" % (name, b",".join(sorted(packages))) for name, packages in sorted(owners.items())
    )


def _whole_lines(file: gzip.GzipFile) -> Iterator[bytes]:
    """Pieces of a text that begin and end where lines do."""
    rest = b""
    while piece := file.read(_CHUNK):
        lines, newline, rest = (rest + piece).rpartition(b"\n")
        yield lines + newline
    yield rest


def read_owners(table: Path, sonames: Collection[str]) -> dict[str, list[Owner]]:
    """The packages that have a file of one of these names.

    Args:
        table: what `write_table` wrote.
        sonames: names of files.

    Returns:
        The packages of each name, sorted; names that no package has are left out.
    """
    wanted = {soname.encode(errors="surrogateescape"): soname for soname in sonames}
    found: dict[str, list[Owner]] = {}
    for line in table.read_bytes().split(b"\n"):
        name, _, packages = line.rpartition(b" ")
        if name in wanted:
            found[wanted[name]] = [_owner(qualified) for qualified in packages.decode().split(",")]
    return found


def _owner(qualified: str) -> Owner:
    section, _, package = qualified.rpartition("/")
    return Owner(package, section.rpartition("/")[2])


def choose(soname: str, owners: Iterable[Owner], index: Index) -> str | None:
    """The package to take where several have the library.

    That is the one that the policy's name says it is, then one that is there for programs to run, then the one
    that brings least along.

    Args:
        soname: the library.
        owners: the packages that have it.
        index: what can be had.

    Returns:
        A package of the index; None where none of them is one.
    """
    likely = likely_packages(soname)
    found = [(owner, package) for owner in owners if (package := index.best(owner.package)) is not None]

    def rank(pair: tuple[Owner, Package]) -> tuple[bool, bool, int, int, str]:
        owner, package = pair
        return (
            package.name not in likely,
            owner.section in _UNWANTED,
            len(package.requirements),
            len(package.name),
            package.name,
        )

    return min(found, key=rank)[1].name if found else None


def _named(soname: str, index: Index) -> str | None:
    """The package that is called as the policy has it, where there is one."""
    return next((name for name in likely_packages(soname) if index.best(name) is not None), None)
