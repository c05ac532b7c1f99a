"""Unpacks the source of a package: an sdist or another archive, or a folder of the store.

Formats are those of the "Source distribution format" specification (packaging.python.org) and its legacy ones: tar,
with gzip, bzip2, xz or without, and zip. Nothing is written outside the target, no link leads out of it (PEP 721 asks
the same), owners and special modes are not kept, and every file has one time, so that builds that look at times see
the same ones.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import stat
import tarfile
import zipfile
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from gzip_members import LayerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: 1980-01-02T00:00:00Z, in seconds since 1970: a time that zip files can hold in every time zone.
EPOCH = 315_619_200
_MAX_UNPACKED = 64 * 1024**3
_EXECUTABLE = 0o111


class SourceError(LayerError):
    """A source that cannot be built; the message says why."""


class _Member(NamedTuple):
    """An archive's member.

    Attributes:
        name: its path as written.
        kind: "file", "folder", "link" (symbolic), "same" (a hard link) or "other".
        executable: whether its owner may run it.
        size: bytes of its content.
        link: where a link leads, as written.
        open: gives its content.
    """

    name: str
    kind: str
    executable: bool
    size: int
    link: str
    open: Callable[[], IO[bytes] | None]


def unpack(source: Path, target: Path) -> None:
    """Unpack a source.

    Args:
        source: an archive, or a folder that is copied.
        target: the folder to make. It gets what is in the archive's one folder where there is only one.

    Raises:
        SourceError: it is no archive, is damaged, or would write outside.
        OSError: something cannot be read or written.
    """
    if source.is_dir():
        _copy_folder(source, target)
    else:
        _unpack_archive(source, target)
    _settle(target)


def _copy_folder(source: Path, target: Path) -> None:
    target.mkdir()
    for entry in sorted(os.scandir(source), key=lambda entry: entry.name):
        copy = target / entry.name
        if entry.is_symlink():
            copy.symlink_to(Path(entry.path).readlink())
        elif entry.is_dir():
            _copy_folder(Path(entry.path), copy)
        else:
            shutil.copyfile(entry.path, copy)
            copy.chmod(0o755 if entry.stat().st_mode & _EXECUTABLE else 0o644)


def _unpack_archive(source: Path, target: Path) -> None:
    whole = target.with_name(f"{target.name}-archive")
    whole.mkdir()
    try:
        if zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                _write(_zip_members(archive), whole)
        else:
            with tarfile.open(source) as tar:
                _write(_tar_members(tar), whole)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise SourceError(f"its archive cannot be unpacked: {error}") from None
    inside = list(whole.iterdir())
    single = len(inside) == 1 and inside[0].is_dir() and not inside[0].is_symlink()
    (inside[0] if single else whole).rename(target)
    if single:
        whole.rmdir()


def _tar_members(tar: tarfile.TarFile) -> Iterator[_Member]:
    for info in tar:
        if info.isfile():
            kind = "file"
        elif info.isdir():
            kind = "folder"
        elif info.issym():
            kind = "link"
        elif info.islnk():
            kind = "same"
        else:
            kind = "other"
        yield _Member(
            info.name,
            kind,
            bool(info.mode & _EXECUTABLE),
            info.size if kind == "file" else 0,
            info.linkname,
            partial(tar.extractfile, info),
        )


def _zip_members(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for info in archive.infolist():
        mode = info.external_attr >> 16
        link = ""
        if info.is_dir():
            kind = "folder"
        elif stat.S_ISLNK(mode):
            kind = "link"
            link = archive.read(info).decode("utf-8", "surrogateescape")
        else:
            kind = "file"
        yield _Member(
            info.filename,
            kind,
            bool(mode & _EXECUTABLE),
            info.file_size if kind == "file" else 0,
            link,
            partial(archive.open, info),
        )


def _write(members: Iterator[_Member], target: Path) -> None:
    """Write members below an empty folder; links last, so that nothing is written through one."""
    links: dict[str, str] = {}
    total = 0
    for member in members:
        name = _inside(member.name, member.name)
        total += member.size
        if total > _MAX_UNPACKED:
            raise SourceError(f"its archive unpacks to more than {_MAX_UNPACKED} bytes")
        path = target / name
        if member.kind == "folder":
            path.mkdir(parents=True, exist_ok=True)
        elif member.kind == "link":
            if member.link.startswith("/"):
                raise SourceError(
                    f"its archive's {name!r} is a link to {member.link}, which is outside of it"
                )
            _inside(posixpath.join(posixpath.dirname(name), member.link), name)
            links[name] = member.link
        elif member.kind == "same":
            original = target / _inside(member.link, name)
            if not original.is_file():
                raise SourceError(
                    f"its archive's {name!r} is a link to {member.link!r}, which comes later or never"
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(original, path)
        elif member.kind == "file":
            path.parent.mkdir(parents=True, exist_ok=True)
            content = member.open()
            assert content is not None
            with content, path.open("wb") as file:
                shutil.copyfileobj(content, file)
            path.chmod(0o755 if member.executable else 0o644)
        else:
            raise SourceError(f"its archive's {name!r} is neither a file nor a folder nor a link")
    for name, link in sorted(links.items()):
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(link)


def _inside(name: str, shown: str) -> str:
    """A member's path in its simplest form.

    Raises:
        SourceError: it leads out of the archive.
    """
    if "\0" in name or name.startswith("/"):
        raise SourceError(f"its archive's {shown!r} is no path inside of it")
    simple = posixpath.normpath(name)
    if simple == ".." or simple.startswith("../"):
        raise SourceError(f"its archive's {shown!r} leads out of it")
    return simple


def _settle(target: Path) -> None:
    """Give every file and folder the same time, and folders a mode that lets a build write."""
    for folder, _, files in os.walk(target, topdown=False):
        for name in files:
            os.utime(os.path.join(folder, name), (EPOCH, EPOCH), follow_symlinks=False)
        Path(folder).chmod(0o755)
        os.utime(folder, (EPOCH, EPOCH))
