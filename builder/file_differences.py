"""What differs in two results that should be the same: which files, from which byte on; also inside of archives."""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SHOWN = 5
"""How many files are told of each result."""
_PIECE = 1 << 20
_DAMAGED = (OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile)


@dataclass(frozen=True)
class FileDifference:
    """A file that is not the same.

    Attributes:
        path: its path in the step's result; of what is in an archive, the archive's and its own with `!` between.
        offset: the first byte that differs; None where only one result has the file.
    """

    path: str
    offset: int | None

    def describe(self) -> str:
        """The file in a line."""
        where = "only one has it" if self.offset is None else f"from byte {self.offset} on"
        return f"{self.path}: {where}"


def differences(first: Path, second: Path) -> Iterator[FileDifference]:
    """The files that differ in two folders, archives looked into."""
    names = sorted({file.relative_to(root).as_posix() for root in (first, second) for file in _files(root)})
    for name in names:
        one, other = first / name, second / name
        if not (one.is_file() and other.is_file()):
            yield FileDifference(name, None)
        elif (offset := _first_difference(one, other)) is not None:
            found = list(islice(_in_archives(name, one, other), SHOWN))
            yield from found or [FileDifference(name, offset)]


def in_layers(first: Path, second: Path) -> list[FileDifference]:
    """The first few files that differ in two layers, which are files of any name."""
    return list(islice(_in_archives("blob", first, second), SHOWN)) or [
        FileDifference("blob", _first_difference(first, second))
    ]


def _files(root: Path) -> Iterator[Path]:
    for folder, _, files in os.walk(root):
        yield from (Path(folder) / name for name in files)


def _first_difference(one: Path, other: Path) -> int | None:
    with one.open("rb") as first, other.open("rb") as second:
        position = 0
        while True:
            a, b = first.read(_PIECE), second.read(_PIECE)
            if a != b:
                return position + _first_byte(a, b)
            if not a:
                return None
            position += len(a)


def _first_byte(a: bytes, b: bytes) -> int:
    common = min(len(a), len(b))
    return next((at for at in range(common) if a[at] != b[at]), common)


def _in_archives(name: str, one: Path, other: Path) -> Iterator[FileDifference]:
    """What differs inside two wheels, or two layers; nothing where they are neither, or damaged."""
    reader = _wheel if name.endswith(".whl") else _layer if name == "blob" else None
    if reader is None:
        return
    try:
        first, second = reader(one, None), reader(other, None)
    except _DAMAGED:
        return
    for member in sorted({*first, *second}):
        if member not in first or member not in second:
            yield FileDifference(f"{name}!{member}", None)
        elif first[member] != second[member]:
            a, b = reader(one, member)[member], reader(other, member)[member]
            yield FileDifference(f"{name}!{member}", _first_byte(a, b))


def _wheel(path: Path, wanted: str | None) -> dict[str, bytes]:
    """By name the hashes of what a wheel has, or the content of the one that is wanted."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist() if wanted is None else [wanted]
        return {name: _told(archive.read(name), wanted) for name in names}


def _layer(path: Path, wanted: str | None) -> dict[str, bytes]:
    """The same of a layer."""
    found = {}
    with gzip.open(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if wanted in (None, member.name):
                content = archive.extractfile(member) if member.isreg() else None
                data = content.read() if content else member.linkname.encode()
                found[member.name] = _told(data, wanted)
    return found


def _told(data: bytes, wanted: str | None) -> bytes:
    return hashlib.sha256(data).digest() if wanted is None else data
