"""Finds what the libraries of an image's packages need and nothing offers them, as far as can be seen without loading.

A needed library is looked for where the loader would look (ld.so(8)): along DT_RPATH or DT_RUNPATH, in its own folders,
in those of CUDA's parts, which the image's loader cache lists. What is not there counts as found all the same where the
package itself has it, or one that it requires: Python code loads such a library before what needs it, and of the same
soname only one is loaded. Versions of symbols are asked of the library that was found. A symbol without a version is
looked for in all of these libraries, which are more than the loader would search.

So a need that is told is certainly not met by anything that the package knows of. Whether an import meets it is another
question (`link_check`).
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import elf
from ldcache import library_folders, resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

VENV = "/opt/venv"
# The NVIDIA driver's own, which its container toolkit brings from the machine.
DRIVER = frozenset(
    {
        "libcuda.so.1",
        "libcudadebugger.so.1",
        "libnvcuvid.so.1",
        "libnvidia-encode.so.1",
        "libnvidia-ml.so.1",
        "libnvidia-ptxjitcompiler.so.1",
        "libnvoptix.so.1",
    }
)
# What the driver's libraries offer: their functions' names begin like this.
_OF_DRIVER = re.compile(r"cu[A-Z]|cuvid|nvml|NvEnc|optix|nvPTX")
_CUDA_FOLDER = re.compile(r"/site-packages/nvidia/(?:[^/]+/)?lib/[^/]+$")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PIECE = 1 << 20


class Unmet(NamedTuple):
    """What a library needs and does not get.

    Attributes:
        package: name of the package that has the library.
        version: its version.
        library: the library's path in the image.
        kind: "library", "version" (of symbols) or "symbol".
        names: sonames, versions or symbols; one, but for symbols, of which all are here.
        provider: of a version the soname of the library that should have it; otherwise "".
        users: paths of the libraries that cannot be loaded without it: this one, and those that need it in turn.
        needs: names of the other packages that have something of what it needs.
    """

    package: str
    version: str
    library: str
    kind: str
    names: tuple[str, ...]
    provider: str
    users: frozenset[str]
    needs: frozenset[str]


class _Known(NamedTuple):
    """A library.

    Attributes:
        package: whose it is; "" for the root's own.
        path: where it is, in the image or in the root's folder.
        said: what it says.
    """

    package: str
    path: str
    said: elf.Library


class Root:
    """The libraries of a root file system.

    Args:
        folder: where it is.
        architecture: "x86_64" or "aarch64".
    """

    def __init__(self, folder: Path, architecture: str) -> None:
        self._folder = folder
        self._folders = library_folders(folder, architecture)
        self._read: dict[Path, _Known] = {}

    def find(self, soname: str) -> _Known | None:
        """The library in one of the loader's own folders."""
        for folder in self._folders:
            if found := self.file(f"{folder}/{soname}"):
                return found
        return None

    def file(self, path: str) -> _Known | None:
        """The library that a path means, or None."""
        found = resolve(self._folder, path)
        if found is None or not found.is_file():
            return None
        if found not in self._read:
            reader = elf.Reader()
            with found.open("rb") as file:
                while piece := file.read(_PIECE):
                    reader.update(piece)
            self._read[found] = _Known("", str(found), reader.library or elf.Library(None, ()))
        return self._read[found]

    def with_needs(self, libraries: Iterable[_Known]) -> dict[str, _Known]:
        """Libraries of the root and all that they need, by path."""
        found: dict[str, _Known] = {}
        left = list(libraries)
        while left:
            library = left.pop()
            if library.path not in found:
                found[library.path] = library
                left += filter(None, map(self.find, library.said.needed))
        return found


def find_unmet(packages: Sequence[Mapping[str, Any]], root: Root, python: str) -> list[Unmet]:
    """Find the needs that are not met.

    Args:
        packages: each with `name` and `version`, and where there are any `libraries` (see `elf.to_json`; paths are
            relative to the environment) and `requires`, what its metadata requires.
        root: the root file system that the environment is in.
        python: path of the program that loads them, in the root.

    Returns:
        sorted.
    """
    return sorted(_Search(packages, root, python).run(), key=lambda one: one[:6])


def required(packages: Sequence[Mapping[str, Any]], names: Iterable[str]) -> set[str]:
    """Names of packages and of all that they require, as far as they are in the image."""
    by_name = {package["name"]: package for package in packages}
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name in by_name and name not in found:
            found.add(name)
            left += map(normalized, by_name[name].get("requires", ()))
    return found


class _Search:
    def __init__(self, packages: Sequence[Mapping[str, Any]], root: Root, python: str) -> None:
        self._root = root
        self._packages = {package["name"]: package for package in packages}
        self._libraries = {
            package["name"]: [
                _Known(package["name"], f"{VENV}/{found['path']}", elf.from_json(found))
                for found in package.get("libraries", ())
            ]
            for package in packages
        }
        self._by_path = {
            library.path: library for libraries in self._libraries.values() for library in libraries
        }
        self._cuda = {
            name: library
            for library in self._by_path.values()
            if _CUDA_FOLDER.search(library.path)
            for name in _names(library)
        }
        self._reach: dict[str, list[str]] = {}
        self._loaded: dict[str, dict[str, _Known]] = {}
        self._offered: dict[str, frozenset[int]] = {}
        # Of each library its needs, and where they are met; the driver's are not among them.
        self._needs = {
            library.path: [
                (soname, self._find(library, soname))
                for soname in library.said.needed
                if soname not in DRIVER
            ]
            for library in self._by_path.values()
        }
        self._needed = {
            path: {found.path for _, found in needs if found and found.package}
            for path, needs in self._needs.items()
        }
        self._users: dict[str, set[str]] = {}
        for path, needed in self._needed.items():
            for other in needed:
                self._users.setdefault(other, set()).add(path)
        program = root.file(python)
        self._program = root.with_needs([program] if program else [])

    def run(self) -> Iterator[Unmet]:
        for library in self._by_path.values():
            for kind, names, provider in self._unmet(library):
                version = self._packages[library.package]["version"]
                users = frozenset(_closure(library.path, self._users))
                needed = map(self._by_path.__getitem__, _closure(library.path, self._needed))
                needs = frozenset(other.package for other in needed) - {library.package}
                yield Unmet(library.package, version, library.path, kind, names, provider, users, needs)

    def _unmet(self, library: _Known) -> Iterator[tuple[str, tuple[str, ...], str]]:
        for soname, found in self._needs[library.path]:
            if found is None:
                yield "library", (soname,), ""
                continue
            # A library without any versions passes for one that has them.
            if offered := found.said.versions:
                for version in library.said.versions_needed.get(soname, ()):
                    if version not in offered:
                        yield "version", (version,), soname
        if symbols := self._unmet_symbols(library):
            yield "symbol", symbols, ""

    def _find(self, library: _Known, soname: str) -> _Known | None:
        for folder in (library.said.runpath or library.said.rpath).split(":"):
            path = os.path.normpath(f"{_expand(folder, library.path)}/{soname}")
            if folder and (found := self._by_path.get(path) or self._root.file(path)):
                return found
        return (
            self._root.find(soname) or self._cuda.get(soname) or self._known_to(library.package).get(soname)
        )

    def _reached(self, package: str) -> list[str]:
        """A package and all that it requires."""
        if package not in self._reach:
            self._reach[package] = sorted(required(list(self._packages.values()), [package]))
        return self._reach[package]

    def _known_to(self, package: str) -> dict[str, _Known]:
        """The libraries that a package knows of, by the names that they can be needed by; its own come first."""
        if package not in self._loaded:
            found: dict[str, _Known] = {}
            for name in (package, *self._reached(package)):
                for library in self._libraries[name]:
                    for called in _names(library):
                        found.setdefault(called, library)
            self._loaded[package] = found
        return self._loaded[package]

    def _unmet_symbols(self, library: _Known) -> tuple[str, ...]:
        if not library.said.undefined:
            return ()
        closure = _closure(library.path, self._needed)
        if any(found is None for path in closure for _, found in self._needs[path]):
            return ()  # What is missing might have them, and is told already.
        left = {elf.symbol_number(name.encode()): name for name in library.said.undefined}
        reached = self._reached(library.package)
        for package in (library.package, *reached):
            left = self._without(left, package, self._libraries[package])
        if left:
            of_root = [
                found
                for package in reached
                for other in self._libraries[package]
                for _, found in self._needs[other.path]
                if found and not found.package
            ]
            for known in {**self._program, **self._root.with_needs(of_root)}.values():
                left = self._without(left, known.path, [known])
        if any(DRIVER.intersection(self._by_path[path].said.needed) for path in closure):
            left = {number: name for number, name in left.items() if not _OF_DRIVER.match(name)}
        return tuple(sorted(left.values()))

    def _without(self, left: dict[int, str], key: str, libraries: Iterable[_Known]) -> dict[int, str]:
        """Symbols, without those that some libraries offer; `key` is what these are remembered by."""
        if not left:
            return left
        if key not in self._offered:
            self._offered[key] = frozenset(
                number for known in libraries for number in elf.numbers(known.said.symbols)
            )
        offered = self._offered[key]
        return {number: name for number, name in left.items() if number not in offered}


def _names(library: _Known) -> set[str]:
    """What a library can be needed by."""
    return {library.path.rpartition("/")[2], library.said.soname or ""} - {""}


def _closure(start: str, following: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    left = [start]
    while left:
        path = left.pop()
        if path not in found:
            found.add(path)
            left += following.get(path, ())
    return found


def _expand(folder: str, path: str) -> str:
    origin = path.rpartition("/")[0]
    return folder.replace("${ORIGIN}", origin).replace("$ORIGIN", origin)


def normalized(requirement: str) -> str:
    """The normalized name (PEP 503) in a requirement."""
    match = _NAME.match(requirement)
    return re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""
