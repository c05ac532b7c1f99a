"""Finds what the libraries of an image's packages need and nothing in the image has.

The loader would look along RPATH, RUNPATH and its own folders; here a library counts as found wherever in the image it
lies, since packages load their own before what needs them. So what is told is certain to be missing. Most of it
belongs to parts that an app may never use: plugins, other back ends. An extension module that cannot be loaded is what
an import would meet.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# The NVIDIA driver's own, which its container toolkit brings from the machine.
_DRIVER = frozenset(
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
_EXTENSION = re.compile(r"\.(?:cpython-\d+[a-z]*-[\w-]+|abi3|pypy\d+[\w-]*)\.so$")


class Missing(NamedTuple):
    """Something that is needed and is nowhere.

    Attributes:
        package: name and version of the package that needs it.
        soname: what is needed.
        library: what needs it: an extension module where one does, by itself or by what it needs.
        is_extension: whether that is an extension module.
    """

    package: str
    soname: str
    library: str
    is_extension: bool


def find_missing(layers: Sequence[Mapping[str, Any]]) -> list[Missing]:
    """Find what is missing in an image.

    Args:
        layers: what is known of its layers: of those made of Debian's packages `libraries`, names of files; and of
            each package in `contents` `libraries`, tables of `path`, `soname` and `needed`.

    Returns:
        one for each package and soname, sorted.
    """
    packages = [package for layer in layers for package in layer["contents"] if package.get("libraries")]
    there = {name for layer in layers for name in layer.get("libraries", ())} | _DRIVER
    for package in packages:
        for library in package["libraries"]:
            there.add(_basename(library["path"]))
            there.add(library["soname"])
    found = []
    for package in packages:
        libraries = {_basename(library["path"]): library for library in package["libraries"]}
        for soname, direct in _unmet(libraries.values(), there).items():
            users = direct | _users(direct, libraries)
            extensions = sorted(path for path in users if _EXTENSION.search(path))
            title = f"{package['name']} {package['version']}"
            found.append(Missing(title, soname, (extensions or sorted(users))[0], bool(extensions)))
    return sorted(found)


def _unmet(libraries: Iterable[Mapping[str, Any]], there: set[str]) -> dict[str, set[str]]:
    """What is needed and not there, with the libraries that need it."""
    unmet: dict[str, set[str]] = {}
    for library in libraries:
        for soname in library["needed"]:
            if soname not in there:
                unmet.setdefault(soname, set()).add(library["path"])
    return unmet


def _users(paths: set[str], libraries: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The libraries of a package that need some of its libraries, directly or through others."""
    found: set[str] = set()
    names = {_basename(path) for path in paths}
    while names:
        users = {
            library["path"]
            for library in libraries.values()
            if library["path"] not in found and names.intersection(library["needed"])
        }
        found |= users
        names = {_basename(path) for path in users}
    return found


def _basename(path: str) -> str:
    return path.rpartition("/")[2]


def labels(missing: Iterable[Missing]) -> dict[str, str]:
    """What an image says of it: `builder.link.missing` for extension modules, `builder.link.optional` for the rest."""
    texts: dict[str, list[str]] = {"builder.link.missing": [], "builder.link.optional": []}
    for one in missing:
        key = "builder.link.missing" if one.is_extension else "builder.link.optional"
        library = one.library.rpartition("site-packages/")[2]
        texts[key].append(f"{one.package}: {one.soname} for {library}")
    return {key: "; ".join(found) for key, found in texts.items() if found}
