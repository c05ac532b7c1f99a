"""Local Python modules: which files one is made of, and where they go."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from builder.errors import DeclarationError
from builder.local.tree import Part
from builder.local.walk import Found, walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from builder.local.rules import Rules

_INSTALLED = frozenset(["site-packages", "dist-packages"])
_BYTECODE = re.compile(r"\.pyc$")


@dataclass(frozen=True)
class Import:
    """How an app's modules are found, here and in the image.

    Attributes:
        places: for modules and the packages they are in, by import name, their files or folders as the Python that
            loads the app finds them: several where a namespace package is spread, none for a part of Python.
        folder: the app file's, absolute and without symbolic links.
        folder_name: what that is called in the image, relative to the top; "" where it is the top.
    """

    places: Mapping[str, tuple[Path, ...]]
    folder: Path
    folder_name: str

    def parts(self, name: str, rules: Rules, *, where: str) -> Iterator[Part]:
        """A module, all of it where it is a package, and the `__init__.py` of the packages that it is in.

        Modules beside the app file stay beside it, since they may look for files there; others go to the top, which
        is on sys.path as well.

        Args:
            name: its import name.
            rules: what of a package stays behind.
            where: what asks for it, for errors.

        Raises:
            DeclarationError: there is no such module, or it is none of this project; see also `walk`.
        """
        words = name.split(".")
        rules = replace(rules, patterns=(_BYTECODE,))
        for depth in range(1, len(words)):
            for folder in self.places.get(".".join(words[:depth]), ()):
                initial = folder / "__init__.py"
                if initial.is_file():
                    yield self._file_part(initial, words[:depth], "/__init__.py", where)
        for path in self._local(name, where):
            if path.is_dir():
                resolved = path.resolve()
                base = _above(path, words)
                top = rules.context if resolved.is_relative_to(rules.context) else resolved
                found = walk(resolved, self._name(base, words), rules.around(resolved, top), where=where)
                yield Part(where, top, found)
            else:
                yield self._file_part(path, words, ".py", where)

    def _file_part(self, path: Path, words: list[str], ending: str, where: str) -> Part:
        found = Found()
        package = path.parent if ending != ".py" else path
        found.add_file(self._name(_above(package, words), words) + ending, path.resolve())
        return Part(where, path.resolve().parent, found)

    def _name(self, base: Path, words: list[str]) -> str:
        beside = base.resolve() == self.folder
        return posixpath.join(self.folder_name if beside else "", *words)

    def _local(self, name: str, where: str) -> list[Path]:
        paths = self.places.get(name)
        if paths is None:
            parent = name.rpartition(".")[0]
            inside = f" in {', '.join(map(str, self.places[parent]))}" if self.places.get(parent) else ""
            raise DeclarationError(
                f"{where}: there is no module {name!r}{inside}",
                hint="Modules are looked for beside the app file, in the folder where the command runs, and where the "
                "Python that loads the file has its own (--python-interpreter chooses that).",
            )
        local = [path for path in paths if _INSTALLED.isdisjoint(path.parts)]
        if not local:
            what = f"is installed in {paths[0].parent}" if paths else "is a part of Python"
            raise DeclarationError(
                f"{where}: {name!r} {what}: it is no module of this project",
                hint="Name its package in requirements." if paths else "Take it out of the list.",
            )
        compiled = [path for path in local if not path.is_dir() and path.suffix != ".py"]
        if compiled:
            raise DeclarationError(
                f"{where}: {compiled[0]} is compiled for one Python on one platform",
                hint='Make its source a local project and require that: requirements = ["./its-folder"].',
            )
        return local


def _above(path: Path, words: list[str]) -> Path:
    """The folder that a module of this import name is found in, by the module's path."""
    return path.parents[len(words) - 1]
