"""What a `.dockerignore` file leaves out (Docker's documentation, "Build context": ".dockerignore files").

Its patterns are not git's: each is anchored at the folder of the file, has the syntax of Go's `path/filepath.Match`
and `**` besides, and matches what is in a folder by the folder. The last pattern that matches decides, also about
files whose folder is left out.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.errors import DeclarationError

if TYPE_CHECKING:
    from pathlib import Path

NAME = ".dockerignore"


@dataclass(frozen=True)
class DockerIgnore:
    """The rules of a file.

    Attributes:
        patterns: each with whether it leaves out (True) or takes in again (False), in their order.
    """

    patterns: tuple[tuple[re.Pattern[str], bool], ...] = ()

    @staticmethod
    def read(folder: Path) -> DockerIgnore:
        """Read the file in a folder; without one there are no rules.

        Raises:
            DeclarationError: a pattern is malformed.
        """
        path = folder / NAME
        if not path.is_file():
            return DockerIgnore()
        lines = path.read_bytes().decode("utf-8-sig", "surrogateescape").splitlines()
        found = (_pattern(line, f"{path}:{number}") for number, line in enumerate(lines, start=1))
        return DockerIgnore(tuple(pattern for pattern in found if pattern))

    @property
    def has_exceptions(self) -> bool:
        """Whether a folder that is left out may hold files that are not."""
        return any(not leaves_out for _, leaves_out in self.patterns)

    def ignores(self, name: str) -> bool:
        """Whether a file or folder is left out.

        Args:
            name: relative to the folder of the file, with slashes.
        """
        verdicts = (leaves_out for pattern, leaves_out in reversed(self.patterns) if pattern.fullmatch(name))
        return next(verdicts, False)


def _pattern(line: str, where: str) -> tuple[re.Pattern[str], bool] | None:
    if line.startswith("#"):
        return None
    text = line.strip()
    leaves_out = not text.startswith("!")
    written = text if leaves_out else text[1:].strip()
    if not written and not leaves_out:
        raise DeclarationError(f"{where}: an exclamation mark needs a pattern after it")
    # As Go's filepath.Clean has it; the folder itself is no pattern.
    cleaned = posixpath.normpath(written).lstrip("/")
    if cleaned in ("", "."):
        return None
    try:
        # What is in a folder is matched by the folder.
        return re.compile(_expression(cleaned) + "(?:/.*)?", re.DOTALL), leaves_out
    except (ValueError, re.error):
        raise DeclarationError(
            f"{where}: {text!r} is not a pattern that Docker knows",
            hint="Write a backslash before a character that stands for itself, such as [.",
        ) from None


def _expression(pattern: str) -> str:
    """A pattern as a regular expression.

    Raises:
        ValueError: it ends within a set of characters or after a backslash.
    """
    parts = []
    rest = pattern
    while rest:
        if rest.startswith("**/"):
            part, used = "(?:.*/)?", 3
        elif rest.startswith("**"):
            part, used = ".*", 2
        elif rest[0] == "*":
            part, used = "[^/]*", 1
        elif rest[0] == "?":
            part, used = "[^/]", 1
        elif rest[0] == "[":
            part, used = _characters(rest)
        elif rest[0] == "\\":
            part, used = re.escape(_one(rest, 1)), 2
        else:
            part, used = re.escape(rest[0]), 1
        parts.append(part)
        rest = rest[used:]
    return "".join(parts)


def _one(text: str, position: int) -> str:
    if position >= len(text):
        raise ValueError("the pattern ends too early")
    return text[position]


def _characters(text: str) -> tuple[str, int]:
    """A set at the beginning of a text, `[a-z]` or `[^a-z]`, and its length."""
    position = 1
    negated = _one(text, position) == "^"
    position += negated
    ranges: list[str] = []
    while not ranges or _one(text, position) != "]":
        low, position = _character(text, position)
        high = low
        if _one(text, position) == "-":
            high, position = _character(text, position + 1)
        ranges.append(f"{re.escape(low)}-{re.escape(high)}")
    return f"[{'^/' if negated else ''}{''.join(ranges)}]", position + 1


def _character(text: str, position: int) -> tuple[str, int]:
    character = _one(text, position)
    if character in "]-":
        raise ValueError("a set needs a backslash before this character")
    if character == "\\":
        return _one(text, position + 1), position + 2
    return character, position + 1
