"""Debian binary packages (deb(5)), as far as the first of them has to be opened before Nix can open any.

Nix builds start with nothing: no shell, no tar. So the static busybox that opens the other packages is taken
out of its own package here, with the standard library, and added to the store by its hash.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import struct
import tarfile
from typing import TYPE_CHECKING

from builder.errors import ResolveError

if TYPE_CHECKING:
    from pathlib import Path

_MAGIC = b"!<arch>\n"
_HEADER = 60
_BUSYBOX_PATHS = ("bin/busybox", "usr/bin/busybox")


def members(deb: bytes) -> dict[str, bytes]:
    """The members of a package file, which is an ar archive.

    Raises:
        ValueError: it is not one, or is cut off.
    """
    if not deb.startswith(_MAGIC):
        raise ValueError("not an ar archive")
    found: dict[str, bytes] = {}
    offset = len(_MAGIC)
    while offset < len(deb):
        header = deb[offset : offset + _HEADER]
        if len(header) < _HEADER or header[58:] != b"`\n":
            raise ValueError(f"malformed ar header at byte {offset}")
        name = header[:16].decode("ascii").rstrip().rstrip("/")
        size = int(header[48:58])
        start = offset + _HEADER
        if start + size > len(deb):
            raise ValueError(f"member {name} is cut off")
        found[name] = deb[start : start + size]
        offset = start + size + size % 2
    return found


def data_tar(deb: bytes) -> bytes:
    """The tar with a package's files, uncompressed.

    Raises:
        ValueError: there is none, or its compression is not in the standard library.
    """
    found = members(deb)
    if "data.tar.xz" in found:
        return lzma.decompress(found["data.tar.xz"])
    if "data.tar" in found:
        return found["data.tar"]
    names = [name for name in found if name.startswith("data.tar")]
    raise ValueError(
        f"{names[0]} cannot be opened: Debian compresses packages with xz, which this program reads"
        if names
        else "no data.tar in it"
    )


def read_busybox(deb: Path) -> bytes:
    """The static busybox program out of the package busybox-static.

    Args:
        deb: the package file; its hash has been checked.

    Raises:
        ResolveError: the package has no busybox.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(data_tar(deb.read_bytes()))) as tar:
            for member in tar:
                if member.isreg() and member.name.removeprefix("./") in _BUSYBOX_PATHS:
                    content = tar.extractfile(member)
                    assert content is not None
                    return content.read()
    except (ValueError, lzma.LZMAError, tarfile.TarError) as error:
        raise ResolveError(f"{deb}: {error}") from error
    raise ResolveError(f"{deb}: neither {' nor '.join(_BUSYBOX_PATHS)} is in it")


def extract_busybox(deb: Path, target: Path) -> Path:
    """Make the folder that Nix builds know busybox by: `busybox`, executable, and nothing else.

    Args:
        deb: the package file; its hash has been checked.
        target: folder to make, for `nix-store --add-fixed --recursive sha256`.

    Returns:
        `target`.

    Raises:
        ResolveError: the package has no busybox.
    """
    target.mkdir(parents=True, exist_ok=True)
    program = target / "busybox"
    program.write_bytes(read_busybox(deb))
    program.chmod(0o555)  # what the store makes of an executable
    return target


def busybox_nar_sha256(program: bytes) -> str:
    """The hash by which Nix names the folder that `extract_busybox` makes.

    Args:
        program: busybox itself.

    Returns:
        Hex sha256 of the folder's NAR, Nix's serialisation of a file tree: each word is its length as a
        little-endian 64-bit number, its bytes, and zeros up to a multiple of 8.
    """
    digest = hashlib.sha256()
    entry = ("(", "name", "busybox", "node", "(", "type", "regular", "executable", "", "contents")
    words = ("nix-archive-1", "(", "type", "directory", "entry", *entry)
    for word in (*(word.encode() for word in words), program, b")", b")", b")"):
        digest.update(struct.pack("<Q", len(word)) + word + bytes(-len(word) % 8))
    return digest.hexdigest()
