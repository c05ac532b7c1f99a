"""Puts a commit's files into a folder: the same bytes and modes on every machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.errors import ResolveError
from builder.git.program import LocalError, local

if TYPE_CHECKING:
    from pathlib import Path

    from builder.git.mirror import Mirror

_GITLINK = "160000"


@dataclass(frozen=True)
class Submodule:
    """A place in a commit's tree where another repository's commit belongs (gitmodules).

    Attributes:
        path: in the tree.
        commit: the full hash.
        url: as `.gitmodules` has it, None where it has none.
    """

    path: str
    commit: str
    url: str | None


def write_tree(mirror: Mirror, commit: str, target: Path, index: Path) -> None:
    """Write a commit's files into an empty folder; a submodule is an empty folder in it.

    `.gitattributes` count, as far as they decide line ends and encodings. Filters do not, since they are programs of
    some machine: a file that Git LFS keeps elsewhere is the pointer that the commit has.

    Args:
        mirror: where the commit is.
        commit: its full hash.
        target: an empty folder.
        index: a file that does not exist yet, for git's use.

    Raises:
        LocalError: the mirror cannot be read.
    """
    local(mirror.path, "read-tree", "--reset", "-u", commit, index=index, tree=target)


def submodules(mirror: Mirror, commit: str) -> list[Submodule]:
    """The submodules of a commit, without those that `.gitmodules` says are not to be fetched.

    Raises:
        LocalError: the mirror cannot be read.
    """
    entries = (
        entry.partition("\t") for entry in mirror.read("ls-tree", "-r", "-z", commit).split("\0") if entry
    )
    links = {path: words.split()[2] for words, _, path in entries if words.startswith(_GITLINK)}
    if not links:
        return []
    declared = _declared(mirror, commit)
    return [
        Submodule(path, commit, declared.get(path, {}).get("url"))
        for path, commit in sorted(links.items())
        if declared.get(path, {}).get("update") != "none"
    ]


def _declared(mirror: Mirror, commit: str) -> dict[str, dict[str, str]]:
    """What `.gitmodules` says, by path."""
    try:
        listed = mirror.read("config", "--blob", f"{commit}:.gitmodules", "--null", "--list")
    except LocalError:
        return {}
    named: dict[str, dict[str, str]] = {}
    for entry in listed.split("\0"):
        name, _, value = entry.partition("\n")
        if name.startswith("submodule."):
            module, _, key = name.removeprefix("submodule.").rpartition(".")
            named.setdefault(module, {})[key] = value
    return {values["path"].rstrip("/"): values for values in named.values() if "path" in values}


def place_of(submodule: Submodule, tree: Path, where: str) -> Path:
    """The folder that a submodule's files belong in, which is empty and in the tree.

    Raises:
        ResolveError: something else is there: a link that leads elsewhere.
    """
    place = tree / submodule.path
    if place.resolve() != tree.resolve() / submodule.path or not place.is_dir() or any(place.iterdir()):
        raise ResolveError(
            f"{where}: the submodule {submodule.path!r} has no folder of its own in the repository"
        )
    return place
