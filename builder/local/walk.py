"""Finds the files of a folder that come along."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from builder import store
from builder.errors import DeclarationError
from builder.local.credential_files import looks_like_credential

if TYPE_CHECKING:
    from builder.local.rules import Rules

# The file that makes a folder a virtual environment (PEP 405), which is of this machine only.
_VIRTUAL_ENVIRONMENT = "pyvenv.cfg"


@dataclass
class Found:
    """What a folder has.

    Attributes:
        files: by name, the path.
        links: symbolic links, by name, the path; where they lead to is not looked at.
        folders: of each folder with any of these, however deep, by path, the name.
        ignored: names of files and folders that the rules leave out.
        credentials: names of files that are left out for what they look like.
    """

    files: dict[str, Path] = field(default_factory=dict)
    links: dict[str, Path] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)

    def add_file(self, name: str, path: Path) -> None:
        """Take in a file, unless it looks like a credential."""
        if looks_like_credential(path):
            self.credentials.append(name)
        else:
            self.files[name] = path


def walk(folder: Path, name: str, rules: Rules, *, where: str) -> Found:
    """Find the files of a folder.

    Args:
        folder: absolute, without symbolic links.
        name: what its files' names begin with; "" for nothing.
        rules: what stays behind.
        where: what asks for the folder, for errors.

    Raises:
        DeclarationError: something is neither a file nor a folder nor a link, or has a name that is not UTF-8.
        OSError: something cannot be read.
    """
    found = Found()
    root = str(folder)
    folders = [(root, name, rules)]
    while folders:
        path, name, rules = folders.pop()
        with os.scandir(path) as entries:
            children = list(entries)
        names = {child.name for child in children}
        if _VIRTUAL_ENVIRONMENT in names and path != root:
            continue
        rules = rules.inside(path, names)
        before = len(found.files) + len(found.links)
        for child in children:
            if rules.never.fullmatch(child.name):
                continue
            child_name = f"{name}/{child.name}" if name else child.name
            if child.is_dir(follow_symlinks=False):
                if rules.skips_folder(child.path):
                    found.ignored.append(f"{child_name}/")
                else:
                    folders.append((child.path, child_name, rules))
            else:
                _add(found, child, child_name, rules, where)
        if len(found.files) + len(found.links) > before:
            _add_folders(found, path, name, root)
    return found


def _add(found: Found, entry: os.DirEntry[str], name: str, rules: Rules, where: str) -> None:
    link = entry.is_symlink()
    if link and _is_image(entry):
        return
    if rules.skips_file(entry.path, name, link=link):
        found.ignored.append(name)
        return
    require_utf8(name, entry.path, where)
    if link:
        found.links[name] = Path(entry.path)
    elif entry.is_file():
        found.add_file(name, Path(entry.path))
    else:
        raise DeclarationError(
            f"{where}: {entry.path} is neither a file nor a folder nor a link",
            hint="A socket, a pipe or a device cannot come along: remove it, or name what lies beside it.",
        )


def require_utf8(name: str, path: str, where: str) -> None:
    """See that an image can hold a file's name.

    Raises:
        DeclarationError: it cannot.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise DeclarationError(
            f"{where}: the name of {shown} is not UTF-8", hint="Rename it, or leave it out."
        ) from None


def _is_image(link: os.DirEntry[str]) -> bool:
    """Whether a link is one that a build has left: to the Nix store, as `result-<app>` or by a name of choice."""
    target = os.readlink(link.path)  # noqa: PTH115 - a Path would be made for each link
    if not target.startswith(f"{store.STORE}/"):
        return False
    return link.name.startswith("result") or "-image-" in target


def _add_folders(found: Found, path: str, name: str, root: str) -> None:
    """Note a folder that has something, and those that it lies in."""
    while path not in found.folders:
        found.folders[path] = name
        if path == root:
            return
        path, name = os.path.dirname(path), name.rpartition("/")[0]  # noqa: PTH120 - once for each folder
