"""Which files and local projects an app's requirements refer to, read without loading anything but words."""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from builder.errors import DeclarationError
from builder.pip_words import direct, file_words, find_path, is_file, is_project, list_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from builder.pip_words import Word


def read_files(
    steps: Iterable[Sequence[str]], folder: Path, environ: Mapping[str, str] | None = None
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Say which files of this machine decide what an app's requirements ask for.

    It never fails: of what is malformed, what stands before the error is looked at, and the error is for
    `builder.requirements.parse_requirements` to tell.

    Args:
        steps: install steps, each a list of pip's words.
        folder: what local paths are relative to.
        environ: the environment, by default this process's; `${NAME}` in paths is replaced from it.

    Returns:
        files that exist (requirements and constraints files, those that they include, wheels, archives), and
        folders of local projects; all absolute, in the order they are met, each once. Folders of find-links are
        not among them.
    """
    reader = _Reader(folder, os.environ if environ is None else environ)
    for items in steps:
        reader.read(list_words(items, ""), (folder,))
    return tuple(reader.files), tuple(reader.projects)


class _Reader:
    """Gathers files and projects, as the keys of dictionaries."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.folder = folder
        self.env = env
        self.files: dict[Path, None] = {}
        self.projects: dict[Path, None] = {}

    def read(self, words: Iterator[Word], folders: Sequence[Path]) -> None:
        with contextlib.suppress(DeclarationError):
            for word in words:
                with contextlib.suppress(OSError, ValueError):
                    self._look_at(word, folders)

    def _look_at(self, word: Word, folders: Sequence[Path]) -> None:
        text = re.sub(
            r"\$\{([A-Z0-9_]+)\}", lambda match: self.env.get(match.group(1), match.group()), word.value
        )
        if word.option in ("--requirement", "--constraint"):
            path = find_path(local_part(text), folders[:1])
            if is_file(path) and path not in self.files:
                self.files[path] = None
                self.read(file_words(path.read_bytes(), ""), (path.parent, self.folder))
        elif word.option in (None, "--editable"):
            found = direct(text)
            if found is not None and (found.is_path or found.target.startswith("file:")):
                path = find_path(local_part(found.target), folders)
                if is_file(path):
                    self.files[path] = None
                elif is_project(path):
                    self.projects[path] = None


def local_part(text: str) -> str:
    """The path of a file URL; any other text as it is."""
    if not text.startswith("file:"):
        return text
    return unquote(urlsplit(text).path) if text.startswith("file:/") else unquote(text[5:].partition("#")[0])
