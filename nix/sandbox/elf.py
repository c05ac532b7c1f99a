"""Reads what a library needs and is called out of its bytes as they pass by (System V ABI, "Dynamic Linking").

The dynamic section names the needed libraries by their places in a string table that may stand before it. So the
beginning of a file is kept until then, where nearly all files have that table; of the few others nothing is told.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_ELF = b"\x7fELF"
_64_BIT_LITTLE = b"\x02\x01"
# ELF header: type, machine, version, entry, phoff, shoff, flags, ehsize, phentsize, phnum.
_HEADER = struct.Struct("<16xHHIQQQIHHH")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_DYNAMIC = struct.Struct("<qQ")
_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_SONAME = 0, 1, 5, 10, 14
_SHARED = 3
_KEPT = 128 << 20
_LARGEST_DYNAMIC = 1 << 20
_LARGEST_TABLE = 256 << 20
_MOST_PROGRAMS = 1000


class Library(NamedTuple):
    """What a shared library says.

    Attributes:
        soname: what it is called, or None.
        needed: what it needs, in order.
    """

    soname: str | None
    needed: tuple[str, ...]


class _Segment(NamedTuple):
    kind: int
    offset: int
    address: int
    size: int


class Reader:
    """Takes a file's bytes, piece by piece, as a hash object does.

    Attributes:
        library: what was read, or None: no shared library of a 64-bit little-endian machine, or not understood.
    """

    def __init__(self) -> None:
        self.library: Library | None = None
        self._done = False
        # The file from its beginning on, as the pieces came: none of it is copied.
        self._kept: list[bytes] = []
        self._kept_size = 0
        self._position = 0
        self._segments: list[_Segment] | None = None
        # A part of the file that is waited for: its beginning, its end, and what is there of it.
        self._start = self._end = 0
        self._part: bytearray | None = None
        self._entries: dict[int, list[int]] = {}

    def update(self, piece: bytes) -> None:
        """Take the next piece."""
        if self._done:
            return
        if self._kept_size == self._position < _KEPT:
            self._kept.append(piece)
            self._kept_size += len(piece)
        self._gather(piece, self._position)
        self._position += len(piece)
        try:
            self._step()
        except (struct.error, UnicodeDecodeError):
            self._stop()

    def _stop(self) -> None:
        self._done = True
        self._kept.clear()
        self._part = None

    def _step(self) -> None:
        """Go on with what is known by now."""
        if self._segments is None:
            self._read_headers()
        while not self._done and self._part is not None and len(self._part) >= self._end - self._start:
            part, self._part = bytes(self._part), None
            if self._entries:
                self._finish(part)
            else:
                self._read_dynamic(part)

    def _read_headers(self) -> None:
        if self._kept_size < _HEADER.size:
            return
        header = self._passed(0, _HEADER.size)
        if not header.startswith(_ELF + _64_BIT_LITTLE):
            self._stop()
            return
        kind, _, _, _, phoff, _, _, _, phentsize, phnum = _HEADER.unpack(header)
        if kind != _SHARED or phentsize < _PROGRAM.size or phnum > _MOST_PROGRAMS or phoff > _KEPT:
            self._stop()
            return
        if self._kept_size < phoff + phentsize * phnum:
            if self._kept_size < self._position:
                self._stop()
            return
        self._segments = []
        programs = self._passed(phoff, phoff + phentsize * phnum)
        for number in range(phnum):
            segment, _, offset, address, _, size, _, _ = _PROGRAM.unpack_from(programs, number * phentsize)
            self._segments.append(_Segment(segment, offset, address, size))
        dynamic = next((segment for segment in self._segments if segment.kind == _PT_DYNAMIC), None)
        if dynamic is None or dynamic.size > _LARGEST_DYNAMIC:
            self._stop()
        else:
            self._want(dynamic.offset, dynamic.size)

    def _read_dynamic(self, part: bytes) -> None:
        for tag, value in _DYNAMIC.iter_unpack(part[: len(part) // _DYNAMIC.size * _DYNAMIC.size]):
            if tag == _DT_NULL:
                break
            self._entries.setdefault(tag, []).append(value)
        address, size = (self._entries.get(tag, [0])[0] for tag in (_DT_STRTAB, _DT_STRSZ))
        loaded = next(
            (
                segment
                for segment in self._segments or ()
                if segment.kind == _PT_LOAD and segment.address <= address < segment.address + segment.size
            ),
            None,
        )
        if loaded is None or not 0 < size <= _LARGEST_TABLE:
            self._stop()
        else:
            self._want(address - loaded.address + loaded.offset, size)

    def _finish(self, table: bytes) -> None:
        def text(place: int) -> str:
            return table[place : table.index(b"\0", place)].decode("utf-8")

        try:
            sonames = [text(place) for place in self._entries.get(_DT_SONAME, ())]
            needed = tuple(text(place) for place in self._entries.get(_DT_NEEDED, ()))
        except ValueError:
            self._stop()
            return
        self.library = Library(sonames[0] if sonames else None, needed)
        self._stop()

    def _want(self, start: int, size: int) -> None:
        """Wait for a part of the file; what of it has passed is taken from what is kept."""
        self._start, self._end, self._part = start, start + size, bytearray()
        passed = min(self._position, self._end) - start
        if passed > 0:
            if start + passed > self._kept_size:
                self._stop()
                return
            self._part += self._passed(start, start + passed)

    def _passed(self, start: int, end: int) -> bytes:
        """A part of what is kept."""
        found, position = [], 0
        for piece in self._kept:
            if position < end and position + len(piece) > start:
                found.append(piece[max(start - position, 0) : end - position])
            position += len(piece)
        return b"".join(found)

    def _gather(self, piece: bytes, position: int) -> None:
        if self._part is not None:
            have = self._start + len(self._part)
            if position <= have < position + len(piece):
                self._part += piece[have - position : self._end - position]
