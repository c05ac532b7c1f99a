"""What `.gitignore` files leave out (gitignore(5)).

Only those count that lie in the repository, each for its own folder and what is below: a user's global excludes and
`.git/info/exclude` differ between machines, and an image must not. Whether git tracks a file that a pattern matches is
not asked either: the index is no part of an exported tree.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection


NAME = ".gitignore"
Patterns = tuple[tuple[re.Pattern[str], bool], ...]
"""Patterns of a file, the last one first, each with whether it ignores (True) or takes in again (False)."""


@dataclass(frozen=True)
class GitIgnore:
    """The rules that hold in a folder.

    Attributes:
        files: folder, with a slash at its end, and patterns of each `.gitignore` file; the outermost first.
    """

    files: tuple[tuple[str, Patterns], ...] = ()

    @staticmethod
    def around(folder: Path, top: Path) -> GitIgnore:
        """The rules of the folders that a folder lies in.

        Where they ignore the folder itself, there are none: all in it would be ignored, and the app names it all the
        same.

        Args:
            folder: absolute, without symbolic links; its own `.gitignore` is not read, see `inside`.
            top: the outermost folder whose rules count where there is no repository; `folder` or one above it.
        """
        outermost = next((place for place in (folder, *folder.parents) if _is_repository(place)), top)
        rules = GitIgnore()
        above = outermost
        for part in folder.relative_to(outermost).parts:
            rules = rules.inside(str(above), (NAME,))
            above /= part
            if rules.ignores(str(above), folder=True):
                return GitIgnore()
        return rules

    def inside(self, folder: str, names: Collection[str]) -> GitIgnore:
        """The rules in a folder of the one that these hold in.

        Args:
            folder: its absolute path.
            names: of what is in it, or at least those that matter here.
        """
        # A repository in a repository, such as a submodule, has rules of its own.
        outer = GitIgnore() if ".git" in names else self
        patterns = _read(os.path.join(folder, NAME)) if NAME in names else ()  # noqa: PTH118 - once for each folder
        return GitIgnore((*outer.files, (folder.rstrip("/") + "/", patterns))) if patterns else outer

    def ignores(self, path: str, *, folder: bool) -> bool:
        """Whether a file or folder is left out, supposed that no folder it lies in is.

        Args:
            path: absolute, below the folders that `files` names.
            folder: whether it is a folder; a link to one is not.
        """
        for base, patterns in reversed(self.files):
            name = path[len(base) :] + ("/" if folder else "")
            for pattern, ignores in patterns:
                if pattern.search(name):
                    return ignores
        return False


def _is_repository(folder: Path) -> bool:
    return (folder / ".git").exists()


def _read(path: str) -> Patterns:
    # git does not follow a link of this name.
    if os.path.islink(path) or not os.path.isfile(path):  # noqa: PTH113, PTH114 - once for each folder
        return ()
    text = Path(path).read_bytes().decode("utf-8-sig", "surrogateescape")
    found = (_pattern(line.rstrip("\r")) for line in text.split("\n"))
    return tuple(pattern for pattern in reversed(list(found)) if pattern)


def _pattern(line: str) -> tuple[re.Pattern[str], bool] | None:
    # Imported here, since most folders have no such file and every run of the command walks them.
    from pathspec.patterns.gitignore import GitIgnorePatternError
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    try:
        pattern = GitIgnoreSpecPattern(line)
    except GitIgnorePatternError:
        return None  # git takes a malformed pattern for one that matches nothing
    if pattern.include is None or pattern.regex is None:
        return None
    # The library's expressions also match what is in a folder that they match, by a group for the slash. Here each
    # folder on the way is asked about by itself, as git does it: with `!a`, a/b is not taken in again.
    expression = pattern.regex.pattern
    own = re.compile(rf"(?:{expression})\Z", re.DOTALL) if pattern.regex.groups else pattern.regex
    return own, pattern.include
