"""Names in the Nix store, computed as Nix computes them, without running Nix.

Follows the Nix manual's "Store path" and "Nix archive (NAR)" specifications for content-addressed paths that
refer to nothing: files by the sha256 of their bytes ("flat"), folders by the sha256 of their NAR ("recursive").
Knowing a path before asking Nix lets a command see in a microsecond that a file is already in the store.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

# Where the store is: Nix's own variable, or the folder that it is compiled for nearly everywhere.
STORE = os.environ.get("NIX_STORE_DIR") or "/nix/store"
_ALPHABET = "0123456789abcdfghijklmnpqrsvwxyz"
_CHUNK = 1 << 20


class _Sink(Protocol):
    def update(self, data: bytes, /) -> None: ...


def store_name(name: str) -> str:
    """Turn a file name into a legal store path name.

    Store names hold letters, digits and `+-._?=` only, do not begin with a dot and have 211 characters at most;
    wheel and deb names also hold `!`, `~`, `:` and `%`. nix/fetch.nix does the same to the same names.
    """
    name = re.sub(r"[^0-9A-Za-z+._?=-]", "-", name)
    if name.startswith("."):
        name = "-" + name
    return name[-200:]


def base32(data: bytes) -> str:
    """Nix's base-32: its own alphabet, the last byte's high bits first."""
    length = (len(data) * 8 - 1) // 5 + 1
    number = int.from_bytes(data, "little")
    return "".join(_ALPHABET[(number >> (5 * place)) & 31] for place in reversed(range(length)))


def _path(kind: str, digest: str, name: str, store: str) -> str:
    full = hashlib.sha256(f"{kind}:sha256:{digest}:{store}:{name}".encode()).digest()
    folded = bytearray(20)
    for place, byte in enumerate(full):
        folded[place % 20] ^= byte
    return f"{store}/{base32(bytes(folded))}-{name}"


def flat_path(name: str, sha256: str, store: str = STORE) -> str:
    """The store path of one file, as `nix-store --add-fixed sha256` and builtin:fetchurl name it.

    Args:
        name: a legal store name.
        sha256: hex digest of the file's bytes.
        store: the store folder.
    """
    inner = hashlib.sha256(f"fixed:out:sha256:{sha256}:".encode()).hexdigest()
    return _path("output:out", inner, name, store)


def recursive_path(name: str, nar_sha256: str, store: str = STORE) -> str:
    """The store path of a file or folder added by its NAR, as `nix-store --add-fixed --recursive sha256` names it.

    Args:
        name: a legal store name.
        nar_sha256: hex digest of its NAR.
        store: the store folder.
    """
    return _path("source", nar_sha256, name, store)


def _framed(sink: _Sink, *strings: bytes) -> None:
    for string in strings:
        sink.update(len(string).to_bytes(8, "little") + string + bytes(-len(string) % 8))


def _archive(sink: _Sink, path: Path) -> None:
    info = path.lstat()
    _framed(sink, b"(", b"type")
    if stat.S_ISLNK(info.st_mode):
        _framed(sink, b"symlink", b"target", os.fsencode(path.readlink()))
    elif stat.S_ISDIR(info.st_mode):
        _framed(sink, b"directory")
        for child in sorted(path.iterdir(), key=lambda entry: os.fsencode(entry.name)):
            _framed(sink, b"entry", b"(", b"name", os.fsencode(child.name), b"node")
            _archive(sink, child)
            _framed(sink, b")")
    else:
        _framed(sink, b"regular")
        if info.st_mode & stat.S_IXUSR:
            _framed(sink, b"executable", b"")
        sink.update(b"\x08" + bytes(7) + b"contents" + info.st_size.to_bytes(8, "little"))
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                sink.update(chunk)
        sink.update(bytes(-info.st_size % 8))
    _framed(sink, b")")


def nar_sha256(path: Path) -> str:
    """The sha256, in hex, of the NAR of a file, folder or symbolic link."""
    digest = hashlib.sha256()
    _framed(digest, b"nix-archive-1")
    _archive(digest, path)
    return digest.hexdigest()
