"""Reads the index of a zip file, refusing every file that two readers could understand differently.

The format is PKWARE's APPNOTE. `zipfile` is more lenient than a build should be: it takes overlapping
entries, two of one name, and data around the archive.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

from gzip_members import PIECE, Deflated, LayerError, RangeReader, inflate

if TYPE_CHECKING:
    from collections.abc import Iterator

STORED, DEFLATED = 0, 8
"""Compression methods."""

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_MAX_COMMENT = 0xFFFF
_FULL_16, _FULL_32 = 0xFFFF, 0xFFFFFFFF
_ZIP64_FIELD = 1
_ENCRYPTED, _STRONGLY_ENCRYPTED, _UTF8 = 0x1, 0x40, 0x800


class ZipError(Exception):
    """A zip file that is damaged or ambiguous, or uses what is not supported.

    Attributes:
        entry: the entry that is at fault, or None where it is the file.
    """

    def __init__(self, message: str, entry: str | None = None) -> None:
        super().__init__(message)
        self.entry = entry


class ZipEntry(NamedTuple):
    """One entry.

    Attributes:
        name: its name as written, with "/" at the end where it is a directory.
        method: compression method.
        crc: CRC-32 of the content.
        compressed: bytes in the file.
        size: bytes of the content.
        mode: Unix mode, type bits included; 0 where the file was made without.
        header: offset of its local header.
    """

    name: str
    method: int
    crc: int
    compressed: int
    size: int
    mode: int
    header: int


class ZipIndex:
    """An open zip file's entries.

    Args:
        fd: descriptor of the file, which stays the caller's to close.

    Raises:
        ZipError: the file is not a zip, or is ambiguous.
        OSError: it cannot be read.

    Attributes:
        entries: sorted by their place in the file, no name twice, none overlapping another.
        source: reads the file.
    """

    def __init__(self, fd: int) -> None:
        self.source = RangeReader(fd)
        start, size, count = _find_directory(fd)
        self.entries = _parse_directory(os.pread(fd, size, start), count)
        self.entries.sort(key=lambda entry: entry.header)
        self._fd = fd
        self._ends: dict[int, int] = {}
        for number, entry in enumerate(self.entries, 1):
            end = self.entries[number].header if number < len(self.entries) else start
            if entry.header + _LOCAL.size + entry.compressed > end:
                raise ZipError("it overlaps what follows it", entry.name)
            self._ends[entry.header] = end

    def read(self, entry: ZipEntry) -> Iterator[bytes]:
        """Give out an entry's content in pieces, whatever its method, and check its size and CRC.

        Raises:
            ZipError: the content is damaged or not as described, or the method is not supported.
        """
        if entry.method == DEFLATED:
            part = Deflated(self.source, self.data_offset(entry), entry.compressed, entry.size, entry.crc)
            try:
                yield from inflate(part, None)
            except LayerError as error:
                raise ZipError(str(error), entry.name) from None
            return
        pieces = self._stored(entry) if entry.method == STORED else self._other(entry)
        crc = size = 0
        for piece in pieces:
            crc = zlib.crc32(piece, crc)
            size += len(piece)
            if size > entry.size:
                break
            yield piece
        if size != entry.size:
            raise ZipError(f"it declares {entry.size} bytes and has {size}", entry.name)
        if crc != entry.crc:
            raise ZipError(f"its CRC-32 is {crc:08x} and it declares {entry.crc:08x}", entry.name)

    def _stored(self, entry: ZipEntry) -> Iterator[bytes]:
        offset = self.data_offset(entry)
        end = offset + entry.compressed
        while offset < end:
            piece = self.source.read(offset, min(PIECE, end - offset))
            if not piece:
                return
            offset += len(piece)
            yield piece

    def _other(self, entry: ZipEntry) -> Iterator[bytes]:
        self.data_offset(entry)  # checks the header
        import zipfile  # knows how bzip2 and lzma are framed; wheels hardly ever have them

        with open(self._fd, "rb", closefd=False) as file:
            try:
                with zipfile.ZipFile(file) as archive:
                    info = next(one for one in archive.infolist() if one.header_offset == entry.header)
                    with archive.open(info) as content:
                        while True:
                            piece = content.read(PIECE)
                            if not piece:
                                return
                            yield piece
            except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, OSError) as error:
                raise ZipError(f"it cannot be decompressed: {error}", entry.name) from None

    def data_offset(self, entry: ZipEntry) -> int:
        """Find where an entry's data begin, checking its local header against the index.

        Raises:
            ZipError: the two disagree.
        """
        raw = self.source.read(entry.header, _LOCAL.size)
        if len(raw) < _LOCAL.size:
            raise ZipError("the file ends within its header", entry.name)
        magic, _, flags, method, _, _, _, _, _, name_size, extra_size = _LOCAL.unpack(raw)
        if magic != b"PK\x03\x04":
            raise ZipError("there is no header where the index says", entry.name)
        name = self.source.read(entry.header + _LOCAL.size, name_size)
        if _decode(name, flags) != entry.name or method != entry.method:
            raise ZipError("its header and the index disagree on its name or compression", entry.name)
        offset: int = entry.header + _LOCAL.size + name_size + extra_size
        if offset + entry.compressed > self._ends[entry.header]:
            raise ZipError("it overlaps what follows it", entry.name)
        return offset


def _find_directory(fd: int) -> tuple[int, int, int]:
    """Return the central directory's offset, size in bytes and number of entries."""
    total = os.fstat(fd).st_size
    tail_start = max(0, total - _END.size - _MAX_COMMENT)
    tail = os.pread(fd, total - tail_start, tail_start)
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0 and (
        len(tail) < at + _END.size or at + _END.size + _END.unpack_from(tail, at)[7] != len(tail)
    ):
        at = tail.rfind(b"PK\x05\x06", 0, at)
    if at < 0:
        raise ZipError("it is not a zip file, or is cut off")
    disk, first_disk, count_here, count, size, start = _END.unpack_from(tail, at)[1:7]
    end = tail_start + at
    locator = os.pread(fd, _LOCATOR.size, end - _LOCATOR.size) if end >= _LOCATOR.size else b""
    if locator[:4] == b"PK\x06\x07":
        _, _, end64, _ = _LOCATOR.unpack(locator)
        raw = os.pread(fd, _END64.size, end64)
        if len(raw) < _END64.size or raw[:4] != b"PK\x06\x06":
            raise ZipError("its zip64 directory is missing")
        disk, first_disk, count_here, count, size, start = _END64.unpack(raw)[4:]
        end = end64
    if disk or first_disk or count_here != count:
        raise ZipError("it is one part of several")
    if start + size != end:
        raise ZipError("there is something before, after or in between its parts")
    return start, size, count


def _parse_directory(raw: bytes, count: int) -> list[ZipEntry]:
    entries = []
    seen = set()
    at = 0
    while at < len(raw):
        if len(raw) < at + _CENTRAL.size or raw[at : at + 4] != b"PK\x01\x02":
            raise ZipError("its index is damaged")
        fields = _CENTRAL.unpack_from(raw, at)
        _, _, _, flags, method, _, _, crc, compressed, size, name_size, extra_size, comment_size, disk = (
            fields[:14]
        )
        _, attributes, header = fields[14:]
        name_at = at + _CENTRAL.size
        extra_at = name_at + name_size
        at = extra_at + extra_size + comment_size
        if at > len(raw):
            raise ZipError("its index is damaged")
        name = _decode(raw[name_at:extra_at], flags)
        if name in seen:
            raise ZipError("there are two entries of this name", name)
        seen.add(name)
        if flags & (_ENCRYPTED | _STRONGLY_ENCRYPTED):
            raise ZipError("it is encrypted", name)
        if _FULL_32 in (size, compressed, header) or disk == _FULL_16:
            extra = raw[extra_at : extra_at + extra_size]
            size, compressed, header = _zip64(extra, size, compressed, header, name)
        entries.append(ZipEntry(name, method, crc, compressed, size, attributes >> 16, header))
    if len(entries) != count:
        raise ZipError(f"its index has {len(entries)} entries and should have {count}")
    return entries


def _zip64(extra: bytes, size: int, compressed: int, header: int, name: str) -> tuple[int, int, int]:
    """Replace the numbers that did not fit 32 bits by those of the zip64 field."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == _ZIP64_FIELD and at + 4 + length <= len(extra):
            numbers = iter(struct.unpack_from(f"<{length // 8}Q", extra, at + 4))
            try:
                return (
                    next(numbers) if size == _FULL_32 else size,
                    next(numbers) if compressed == _FULL_32 else compressed,
                    next(numbers) if header == _FULL_32 else header,
                )
            except StopIteration:
                break
        at += 4 + length
    raise ZipError("its size or place is missing from the index", name)


def _decode(name: bytes, flags: int) -> str:
    if name.isascii():
        return name.decode("ascii")
    try:
        return name.decode("utf-8" if flags & _UTF8 else "cp437")
    except UnicodeDecodeError:
        raise ZipError("its name is not UTF-8", name.decode("utf-8", "backslashreplace")) from None
