"""Files and symbolic links as they will lie in a folder of their own: gathered, then copied or hashed."""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.errors import DeclarationError
from builder.local.credential_files import looks_like_credential

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from builder.local.masking import Masker
    from builder.local.walk import Found

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Part:
    """Files that were asked for together.

    Attributes:
        where: what asked for them, for errors.
        top: the folder that no link may lead out of, absolute and without symbolic links.
        found: the files.
    """

    where: str
    top: Path
    found: Found


@dataclass(frozen=True)
class Tree:
    """The content of a folder.

    Attributes:
        files: by name, the file whose content and executable bit it has.
        links: by name, what the link says, relative.
        credentials: names of files that were left out for what they look like, sorted.
    """

    files: Mapping[str, Path]
    links: Mapping[str, str]
    credentials: tuple[str, ...] = ()

    @staticmethod
    def of(parts: Iterable[Part], *, linked_folder_hint: str) -> Tree:
        """Put parts together.

        A symbolic link stays one where what it leads to comes along; a link to another file within `top` becomes a
        copy of that.

        Args:
            parts: files of one name must be one file.
            linked_folder_hint: what to do about a link to a folder that does not come along.

        Raises:
            DeclarationError: a name is that of two files, or a link leads nowhere, out of its `top`, or to a folder
                that does not come along.
        """
        parts = list(parts)
        files: dict[str, Path] = {}
        places: dict[str, str] = {}
        credentials: set[str] = set()
        for part in parts:
            for name, path in part.found.files.items():
                _add(files, name, path, part.where)
                places.setdefault(str(path), name)
            for folder, name in part.found.folders.items():
                places.setdefault(folder, name)
            credentials.update(part.found.credentials)
        links: dict[str, str] = {}
        for part in parts:
            for name, path in part.found.links.items():
                target = _target(path, part)
                if target.is_file() and (looks_like_credential(path) or looks_like_credential(target)):
                    credentials.add(name)
                elif name in files:
                    _add(files, name, target, part.where)
                elif (place := places.get(str(target))) is not None:
                    links[name] = posixpath.relpath(place or ".", posixpath.dirname(name) or ".")
                elif target.is_file():
                    _add(files, name, target, part.where)
                else:
                    raise DeclarationError(
                        f"{part.where}: {path} is a link to {target}, which does not come along",
                        hint=linked_folder_hint,
                    )
        return Tree(files, links, tuple(sorted(credentials)))

    def copy_to(self, folder: Path, masker: Masker) -> tuple[str, ...]:
        """Copy all of it into an empty folder. Executable bits are kept, times and other bits are not.

        Args:
            folder: the folder.
            masker: masks secrets in the copies.

        Returns:
            names of files that secrets were masked in.

        Raises:
            DeclarationError: a secret cannot be masked where it is.
            OSError: something cannot be read or written.
        """
        made: set[str] = set()
        for name in (*self.files, *self.links):
            parent = posixpath.dirname(name)
            if parent not in made:
                (folder / parent).mkdir(parents=True, exist_ok=True)
                made.add(parent)
        masked = []
        for name, path in self.files.items():
            target = folder / name
            if masker and masker.copy(path, target):
                masked.append(name)
            else:
                shutil.copyfile(path, target)
            target.chmod(0o755 if _is_executable(path) else 0o644)
        for name, link in self.links.items():
            (folder / name).symlink_to(link)
        return tuple(masked)

    def digest(self) -> str:
        """A sha256 in hex over names, contents and executable bits: what `copy_to` would copy.

        Raises:
            OSError: something cannot be read.
        """
        listing: list[tuple[str, ...]] = [
            (name, _sha256(path), "x" if _is_executable(path) else "") for name, path in self.files.items()
        ]
        listing += self.links.items()
        return hashlib.sha256(json.dumps(sorted(listing)).encode()).hexdigest()


def _add(files: dict[str, Path], name: str, path: Path, where: str) -> None:
    other = files.setdefault(name, path)
    if other != path and not path.samefile(other):
        raise DeclarationError(
            f"{where}: {path} and {other} would both be {name}", hint="Rename one of them, or take it out."
        )


def _target(link: Path, part: Part) -> Path:
    """What a link leads to in the end."""
    said = os.readlink(link)  # noqa: PTH115 - as it is written
    try:
        target = Path(os.path.realpath(link, strict=True))
    except OSError as error:
        if isinstance(error, PermissionError):
            raise
        raise DeclarationError(
            f"{part.where}: {link} is a link to {said}, which leads nowhere",
            hint="Remove the link, or put there what it is to lead to.",
        ) from None
    if not target.is_relative_to(part.top):
        raise DeclarationError(
            f"{part.where}: {link} is a link to {said}, which lies outside {part.top}",
            hint="Put a copy in its place, or take the link out.",
        )
    return target


def _is_executable(path: Path) -> bool:
    # The bit that Nix's archive format and the image's layer keep.
    return bool(path.stat().st_mode & stat.S_IXUSR)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
