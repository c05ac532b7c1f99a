"""What of a folder stays behind."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from builder.local.dockerignore import DockerIgnore
from builder.local.gitignore import GitIgnore

if TYPE_CHECKING:
    from collections.abc import Collection

#: Names of what is never anyone's files: what Python compiled, what belongs to git, an editor's locks (links to
#: nowhere), and locks and the expressions rendered from them, which would make an image depend on how it is built.
NEVER = r"__pycache__|\.git|\.#.*|pylock\..+\.toml|image\..+\.nix|flake\.lock"


@dataclass(frozen=True)
class Rules:
    """What stays behind, besides what looks like a credential.

    Attributes:
        never: matches whole names of files and folders that stay behind wherever they are.
        git: rules of `.gitignore` files; those in a folder that is walked are read on the way.
        docker: rules of a `.dockerignore` file.
        context: the folder of that file, absolute and without symbolic links.
        patterns: searched in the names that files would come along by.
    """

    never: re.Pattern[str] = field(default_factory=lambda: re.compile(NEVER, re.DOTALL))
    git: GitIgnore = field(default_factory=GitIgnore)
    docker: DockerIgnore = field(default_factory=DockerIgnore)
    context: Path = Path("/")
    patterns: tuple[re.Pattern[str], ...] = ()

    def around(self, folder: Path, top: Path) -> Rules:
        """The rules for a folder that was asked for by name.

        Those that ignore the folder itself do not count in it: its author wants it all the same.

        Args:
            folder: absolute, without symbolic links.
            top: see `GitIgnore.around`.
        """
        docker = self.docker if folder.is_relative_to(self.context) else DockerIgnore()
        if folder != self.context and docker.ignores(self._in_context(str(folder))):
            docker = DockerIgnore()
        return replace(self, git=GitIgnore.around(folder, top), docker=docker)

    def inside(self, folder: str, names: Collection[str]) -> Rules:
        """The rules in a folder; see `GitIgnore.inside`."""
        git = self.git.inside(folder, names)
        return self if git is self.git else replace(self, git=git)

    def skips_folder(self, path: str) -> bool:
        """Whether nothing in a folder comes along, by its absolute path."""
        if self.git.ignores(path, folder=True):
            return True
        return not self.docker.has_exceptions and self.docker.ignores(self._in_context(path))

    def skips_file(self, path: str, name: str, *, link: bool) -> bool:
        """Whether a file stays behind.

        Args:
            path: absolute.
            name: what it would come along by.
            link: whether it is a symbolic link.
        """
        return (
            self.git.ignores(path, folder=False)
            or self.docker.ignores(self._in_context(path))
            or self.matches(name, link=link)
        )

    def matches(self, name: str, *, link: bool) -> bool:
        """Whether a pattern is found in a name; a link may be one to a folder, whose name ends in a slash."""
        return any(pattern.search(name) or (link and pattern.search(f"{name}/")) for pattern in self.patterns)

    def _in_context(self, path: str) -> str:
        return path[len(str(self.context).rstrip("/")) + 1 :]
