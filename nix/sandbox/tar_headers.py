"""Tar headers: ustar, with a pax header before it where ustar has no room (POSIX.1-2017, pax).

The standard library's tarfile can do this too, but slower, which counts in a layer of 12,000 files.
"""

from __future__ import annotations

from typing import NamedTuple

MTIME = 315619200
"""Seconds since 1970 that every entry carries: 1980-01-02T00:00:00Z, legal in a zip in any time zone."""

FILE, HARDLINK, SYMLINK, DIRECTORY = b"0", b"1", b"2", b"5"
"""Type flags."""

_NAME = 100  # bytes of ustar's fields
_PREFIX = 155
_MAX_ID = 0o7777777  # what fits the octal fields
_MAX_SIZE = 0o77777777777


class Owner(NamedTuple):
    """Permission bits and owner of an entry."""

    mode: int
    uid: int
    gid: int


def tar_header(name: str, flag: bytes, size: int, target: str, owner: Owner) -> bytes:
    """Make an entry's header: one block of 512 bytes, or a pax header's blocks and one.

    Args:
        name: full name; a directory's ends in "/".
        flag: type flag.
        size: bytes of the content that follows.
        target: what a link points to, otherwise empty.
        owner: mode and owner.
    """
    prefix, short, records = _split_name(name)
    short_target = target.encode("ascii", "replace")[:_NAME]
    if len(target) > _NAME or not target.isascii():
        records += _pax_record("linkpath", target)
    if size > _MAX_SIZE:
        records += _pax_record("size", str(size))
        size = 0
    mode, uid, gid = owner
    if uid > _MAX_ID:
        records += _pax_record("uid", str(uid))
        uid = 0
    if gid > _MAX_ID:
        records += _pax_record("gid", str(gid))
        gid = 0
    block = _block(prefix, short, flag, b"%07o\0%07o\0%07o\0%011o\0" % (mode, uid, gid, size), short_target)
    if not records:
        return block
    numbers = b"0000644\x000000000\x000000000\x00%011o\0" % len(records)
    head = _block(b"", b"PaxHeaders/" + short[-80:].strip(b"/"), b"x", numbers, b"")
    return head + records + bytes(-len(records) % 512) + block


def _split_name(name: str) -> tuple[bytes, bytes, bytes]:
    """Divide a name into ustar's prefix and name; where it does not fit, into a stump and a pax record."""
    raw = name.encode("ascii", "replace")
    if name.isascii():
        if len(raw) <= _NAME:
            return b"", raw, b""
        # The prefix ends at a slash that is not the name's own trailing one.
        cut = raw.find(b"/", len(raw) - _NAME - 1, -1)
        if 0 < cut <= _PREFIX:
            return raw[:cut], raw[cut + 1 :], b""
    return b"", raw[-_NAME:].lstrip(b"/"), _pax_record("path", name)


_MTIME_FIELD = b"%011o\0" % MTIME
_MIDDLE = b"ustar\x0000" + bytes(64) + b"0000000\x000000000\x00"
_CHECKSUM = sum(_MTIME_FIELD) + sum(_MIDDLE) + 8 * ord(" ")


def _block(prefix: bytes, name: bytes, flag: bytes, numbers: bytes, target: bytes) -> bytes:
    # The checksum is the sum of all bytes with its own field as eight spaces; empty fields add nothing.
    checksum = sum(name) + sum(numbers) + sum(flag) + sum(target) + sum(prefix) + _CHECKSUM
    return b"%b%b%b%06o\0 %b%b%b%b%b" % (
        name.ljust(_NAME, b"\0"),
        numbers,
        _MTIME_FIELD,
        checksum,
        flag,
        target.ljust(_NAME, b"\0"),
        _MIDDLE,
        prefix.ljust(_PREFIX, b"\0"),
        bytes(12),
    )


def _pax_record(key: str, value: str) -> bytes:
    """Make `length key=value` and a newline, where length counts itself."""
    rest = f" {key}={value}\n".encode()
    length = len(rest)
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return b"%d%b" % (length, rest)
