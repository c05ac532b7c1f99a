"""Writes /etc/ld.so.cache, the loader's list of libraries.

The loader would find a root's libraries without it, in its default folders. It is there for programs that ask
`ldconfig -p` what exists: Python's ctypes.util.find_library, on which many bindings rely, and Triton, which
fails where there is none. ldconfig itself cannot make it: in a build it has no right to chroot, and it does
not run on another architecture.

The format is glibc's "new" one (sysdeps/generic/dl-cache.h), which every loader since 2.2 reads.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# ELF's e_machine, and the flags that dl-cache.h gives a 64-bit library of the machine: FLAG_ELF_LIBC6 with
# its own.
_MACHINES = {"x86_64": (62, 0x0303), "aarch64": (183, 0x0A03)}
_LIBRARY = re.compile(r"(lib|ld-).*\.so(\.|$)")
_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER = struct.Struct("<20sIIB3xI12x")
_ENTRY = struct.Struct("<iIIIQ")
_LITTLE_ENDIAN = 2

_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NULL, _DT_STRTAB, _DT_SONAME = 0, 5, 14


def ld_cache(root: Path, architecture: str, more: Mapping[str, str] | None = None) -> bytes:
    """The content of /etc/ld.so.cache for a root.

    Args:
        root: the root's folder. Links with an absolute target are followed inside it.
        architecture: the root's: "x86_64" or "aarch64".
        more: paths of libraries that are in no folder of the root, by the name that they are looked for; they come
            before the root's own.
    """
    machine, flags = _MACHINES[architecture]
    found: dict[str, str] = dict(more or {})
    seen: set[Path] = set()
    for folder in library_folders(root, architecture):
        real = resolve(root, folder)
        # /lib is /usr/lib: a folder counts once, under the name it is first called by.
        if real is None or not real.is_dir() or real in seen:
            continue
        seen.add(real)
        for name in sorted(file.name for file in real.iterdir()):
            if not _LIBRARY.match(name):
                continue
            file = resolve(root, f"{folder}/{name}")
            if file is None or not file.is_file():
                continue
            soname = read_soname(file, machine)
            if soname is None:
                continue
            # A library is listed by its soname, a development link (libz.so) by its own name.
            link = name.endswith(".so") and (real / name).is_symlink()
            key = name if link or not soname else soname
            if key == name or resolve(root, f"{folder}/{key}") is not None:
                found.setdefault(key, f"{folder}/{key}")
    return _pack(found, flags)


def _pack(found: dict[str, str], flags: int) -> bytes:
    strings = bytearray()
    entries = []
    start = _HEADER.size + _ENTRY.size * len(found)
    # The loader searches by halves, in descending order.
    for name in sorted(found, key=_sort_key, reverse=True):
        value = start + len(strings)
        path = found[name].encode()
        strings += path + b"\0"
        # A path ends with its key, which need not be stored again.
        entries.append(_ENTRY.pack(flags, value + len(path) - len(name.encode()), value, 0, 0))
    header = _HEADER.pack(_MAGIC, len(found), len(strings), _LITTLE_ENDIAN, 0)
    return header + b"".join(entries) + bytes(strings)


def _sort_key(name: str) -> list[tuple[int, int]]:
    """Order as _dl_cache_libcmp does: by character, but runs of digits as numbers, and those after everything else."""
    return [(1, int(run)) if run.isdigit() else (0, ord(run)) for run in re.findall(r"[0-9]+|[^0-9]", name)]


def library_folders(root: Path, architecture: str) -> list[str]:
    """The folders that ldconfig looks at, in its order: those of /etc/ld.so.conf, then the default ones."""
    folders: list[str] = []
    _read_conf(root, "/etc/ld.so.conf", folders)
    multiarch = f"{architecture}-linux-gnu"
    folders += [f"/lib/{multiarch}", f"/usr/lib/{multiarch}", "/lib", "/usr/lib"]
    return list(dict.fromkeys(folders))


def _read_conf(root: Path, path: str, folders: list[str]) -> None:
    file = resolve(root, path)
    if file is None or not file.is_file():
        return
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        if words[0] != "include":
            folders.append(words[0].rstrip("/"))
            continue
        for pattern in words[1:]:
            for match in sorted(root.glob(pattern.lstrip("/"))):
                _read_conf(root, "/" + match.relative_to(root).as_posix(), folders)


def resolve(root: Path, path: str) -> Path | None:
    """The file that a path means inside a root, all links followed; None where there is none."""
    parts = [part for part in path.split("/") if part][::-1]
    current = root
    links = 0
    while parts:
        part = parts.pop()
        if part == "..":
            current = current.parent if current != root else root
            continue
        if part == ".":
            continue
        step = current / part
        if step.is_symlink():
            links += 1
            if links > 40:
                return None
            target = str(step.readlink())
            if target.startswith("/"):
                current = root
            parts += [piece for piece in target.split("/") if piece][::-1]
        elif step.exists():
            current = step
        else:
            return None
    return current


def read_soname(path: Path, machine: int) -> str | None:
    """The soname of a shared library (ELF, DT_SONAME).

    Args:
        path: the file.
        machine: the e_machine it must have.

    Returns:
        "" for a library without one; None for what is no 64-bit library of the machine.
    """
    with path.open("rb") as file:
        head = file.read(64)
        # 64-bit, little-endian, ET_DYN.
        if (
            len(head) < 64
            or head[:6] != b"\x7fELF\x02\x01"
            or struct.unpack_from("<HH", head, 16) != (3, machine)
        ):
            return None
        (table,) = struct.unpack_from("<Q", head, 32)
        entry_size, count = struct.unpack_from("<HH", head, 54)
        file.seek(table)
        headers = file.read(entry_size * count)
        segments = [struct.unpack_from("<IIQQQQ", headers, entry_size * index) for index in range(count)]
        dynamic = next((segment for segment in segments if segment[0] == _PT_DYNAMIC), None)
        if dynamic is None:
            return None
        file.seek(dynamic[2])
        tags: dict[int, int] = {}
        for tag, value in struct.iter_unpack("<QQ", file.read(dynamic[5] // 16 * 16)):
            if tag == _DT_NULL:
                break
            tags.setdefault(tag, value)
        if _DT_SONAME not in tags or _DT_STRTAB not in tags:
            return ""
        address = tags[_DT_STRTAB] + tags[_DT_SONAME]
        for kind, _, offset, start, _, size in segments:
            if kind == _PT_LOAD and start <= address < start + size:
                file.seek(offset + address - start)
                return file.read(4096).partition(b"\0")[0].decode("utf-8", "replace")
        return ""
