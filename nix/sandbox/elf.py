"""Reads what a library needs and offers out of its bytes as they pass by (System V ABI, "Dynamic Linking").

The dynamic section says where the tables are, and most of them stand before it. So what has passed is kept until then:
the beginning of a file, where linkers put them, and the last of it, where tools that edit a library do (patchelf). Of
the few others it is told that they are there.

Symbols are told as sparingly as they can be. What a library lacks are names without a version: those with one are
answered for by the version, which is looked up by itself. What it offers is its own table for the loader,
`DT_GNU_HASH`, which has a number for each symbol and is copied as it is.
"""

from __future__ import annotations

import base64
import struct
import sys
from array import array
from collections import deque
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ELF = b"\x7fELF"
_64_BIT_LITTLE = b"\x02\x01"
# ELF header: type, machine, version, entry, phoff, shoff, flags, ehsize, phentsize, phnum.
_HEADER = struct.Struct("<16xHHIQQQIHHH")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_DYNAMIC = struct.Struct("<qQ")
_SYMBOL = struct.Struct("<IBBHQQ")
# The same, but for what a symbol that is only needed says nothing by.
_NEEDED = struct.Struct("<IBxH16x")
_HASHES = struct.Struct("<IIII")
_VERNEED, _VERNEED_AUX = struct.Struct("<HHIII"), struct.Struct("<IHHII")
_VERDEF, _VERDEF_AUX = struct.Struct("<HHHHIII"), struct.Struct("<II")
_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NULL, _DT_NEEDED, _DT_HASH, _DT_STRTAB, _DT_SYMTAB, _DT_STRSZ = 0, 1, 4, 5, 6, 10
_DT_SONAME, _DT_RPATH, _DT_RUNPATH = 14, 15, 29
_DT_GNU_HASH, _DT_VERSYM, _DT_VERDEF, _DT_VERNEED = 0x6FFFFEF5, 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFE
_TABLES = (_DT_STRTAB, _DT_SYMTAB, _DT_HASH, _DT_GNU_HASH, _DT_VERSYM, _DT_VERDEF, _DT_VERNEED)
# Other tags that hold an address, where the table before it has ended: PLTGOT, RELA, INIT, FINI, JMPREL, INIT_ARRAY,
# FINI_ARRAY, PREINIT_ARRAY, RELR.
_ADDRESSES = (*_TABLES, 3, 7, 12, 13, 23, 25, 26, 32, 36)
_EXECUTABLE, _SHARED = 2, 3
_STB_GLOBAL = 1
_VERSION_MASK, _FIRST_VERSION, _WEAK = 0x7FFF, 2, 2
_KEPT, _KEPT_LAST = 128 << 20, 16 << 20
_LARGEST_DYNAMIC = 1 << 20
_LARGEST_TABLE = 256 << 20
_MOST_PROGRAMS = 1000


class Library(NamedTuple):
    """What a shared library, or a program, says.

    Attributes:
        soname: what it is called, or None.
        needed: what it needs, in order.
        rpath: folders to look in, for it and for what it needs (DT_RPATH), separated by colons; "" for none.
        runpath: folders to look in for what it needs itself (DT_RUNPATH).
        versions_needed: by needed library, the versions of symbols that it has to offer (DT_VERNEED).
        versions: those that this one offers (DT_VERDEF).
        undefined: symbols without a version that it needs and that are not weak.
        symbols: what it offers: of each symbol the number that `symbol_number` gives, the last bit undefined, as 32-bit
            integers in little-endian order.
    """

    soname: str | None
    needed: tuple[str, ...]
    rpath: str = ""
    runpath: str = ""
    versions_needed: dict[str, tuple[str, ...]] = {}  # noqa: RUF012 - never written
    versions: tuple[str, ...] = ()
    undefined: tuple[str, ...] = ()
    symbols: bytes = b""


def to_json(library: Library, path: str) -> dict[str, Any]:
    """A library as an object of JSON, with the path where it lies; what it has not is left out."""
    found = {"path": path, **library._asdict(), "symbols": base64.b64encode(library.symbols).decode()}
    return {key: value for key, value in found.items() if value}


def from_json(found: Mapping[str, Any]) -> Library:
    """The library that `to_json` gave."""
    tuples = {key: tuple(found.get(key, ())) for key in ("needed", "versions", "undefined")}
    return Library(
        soname=found.get("soname"),
        rpath=found.get("rpath", ""),
        runpath=found.get("runpath", ""),
        versions_needed={key: tuple(names) for key, names in found.get("versions_needed", {}).items()},
        symbols=base64.b64decode(found.get("symbols", "")),
        **tuples,
    )


def symbol_number(name: bytes) -> int:
    """The number of a symbol in DT_GNU_HASH, but for the last bit, which is 1 here."""
    number = 5381
    for character in name:
        number = number * 33 + character & 0xFFFFFFFF
    return number | 1


def numbers(symbols: bytes) -> Iterator[int]:
    """The numbers of `Library.symbols`, comparable with `symbol_number`."""
    values = array("I", symbols)
    if sys.byteorder == "big":
        values.byteswap()
    return (value | 1 for value in values)


class _Segment(NamedTuple):
    kind: int
    offset: int
    address: int
    size: int


class _Part:
    """A part of the file that is waited for."""

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end
        self.data = bytearray()

    @property
    def is_whole(self) -> bool:
        return len(self.data) >= self.end - self.start

    def gather(self, piece: bytes, position: int) -> None:
        """Take what belongs here of a piece of the file."""
        have = self.start + len(self.data)
        if position <= have < position + len(piece):
            self.data += piece[have - position : self.end - position]


class Reader:
    """Takes a file's bytes, piece by piece, as a hash object does.

    Attributes:
        library: what was read, or None: no shared library or program of a 64-bit little-endian machine, or not
            understood.
        is_elf: whether it is such a file, understood or not.
    """

    def __init__(self) -> None:
        self.library: Library | None = None
        self.is_elf = False
        self._done = False
        # The file from its beginning on, as the pieces came: none of it is copied.
        self._kept: list[bytes] = []
        self._kept_size = 0
        # The last pieces, where the beginning is as long as may be.
        self._last: deque[bytes] = deque()
        self._last_size = 0
        self._position = 0
        self._segments: list[_Segment] | None = None
        self._dynamic: _Part | None = None
        self._tables: dict[int, _Part] = {}
        self._entries: dict[int, list[int]] = {}

    def update(self, piece: bytes) -> None:
        """Take the next piece."""
        if self._done:
            return
        if self._kept_size == self._position < _KEPT:
            self._kept.append(piece)
            self._kept_size += len(piece)
        else:
            self._last.append(piece)
            self._last_size += len(piece)
            while self._last_size - len(self._last[0]) >= _KEPT_LAST:
                self._last_size -= len(self._last.popleft())
        for part in (*([self._dynamic] if self._dynamic else []), *self._tables.values()):
            part.gather(piece, self._position)
        self._position += len(piece)
        try:
            self._step()
        except (struct.error, ValueError, IndexError):
            self._stop()

    def _stop(self) -> None:
        self._done = True
        self._kept.clear()
        self._last.clear()
        self._dynamic = None
        self._tables.clear()

    def _step(self) -> None:
        """Go on with what is known by now."""
        if self._segments is None:
            self._read_headers()
        if self._dynamic is not None and self._dynamic.is_whole:
            part, self._dynamic = bytes(self._dynamic.data), None
            self._read_dynamic(part)
        if self._tables and all(part.is_whole for part in self._tables.values()):
            tables = {tag: bytes(part.data) for tag, part in self._tables.items()}
            self.library = _library(self._entries, tables)
            self._stop()

    def _read_headers(self) -> None:
        if self._kept_size < _HEADER.size:
            return
        header = self._passed(0, _HEADER.size)
        if not header.startswith(_ELF + _64_BIT_LITTLE):
            self._stop()
            return
        kind, _, _, _, phoff, _, _, _, phentsize, phnum = _HEADER.unpack(header)
        if (
            kind not in {_SHARED, _EXECUTABLE}
            or phentsize < _PROGRAM.size
            or phnum > _MOST_PROGRAMS
            or phoff > _KEPT
        ):
            self._stop()
            return
        if self._kept_size < phoff + phentsize * phnum:
            if self._kept_size < self._position:
                self._stop()
            return
        self.is_elf = True
        self._segments = []
        programs = self._passed(phoff, phoff + phentsize * phnum)
        for number in range(phnum):
            segment, _, offset, address, _, size, _, _ = _PROGRAM.unpack_from(programs, number * phentsize)
            self._segments.append(_Segment(segment, offset, address, size))
        dynamic = next((segment for segment in self._segments if segment.kind == _PT_DYNAMIC), None)
        if dynamic is None or dynamic.size > _LARGEST_DYNAMIC:
            self._stop()
        else:
            self._dynamic = self._want(dynamic.offset, dynamic.offset + dynamic.size)

    def _read_dynamic(self, part: bytes) -> None:
        for tag, value in _DYNAMIC.iter_unpack(part[: len(part) // _DYNAMIC.size * _DYNAMIC.size]):
            if tag == _DT_NULL:
                break
            self._entries.setdefault(tag, []).append(value)
        for tag in _TABLES:
            place = self._place(tag)
            part_wanted = self._want(*place) if place else None
            if part_wanted is not None:
                self._tables[tag] = part_wanted
            elif tag == _DT_STRTAB:
                self._stop()
                return

    def _place(self, tag: int) -> tuple[int, int] | None:
        """Where in the file a table begins, and where it has ended at the latest; None where there is none."""
        if tag not in self._entries:
            return None
        address = self._entries[tag][0]
        segment = next(
            (
                one
                for one in self._segments or ()
                if one.kind == _PT_LOAD and one.address <= address < one.address + one.size
            ),
            None,
        )
        if segment is None:
            return None
        ends = [segment.address + segment.size, address + _LARGEST_TABLE]
        if tag == _DT_STRTAB:
            ends.append(address + self._entries.get(_DT_STRSZ, [0])[0])
        else:
            # Other tables' sizes are nowhere: each ends where the next thing begins.
            ends += [
                self._entries[other][0] for other in _ADDRESSES if self._entries.get(other, [0])[0] > address
            ]
            ends += [
                one.address
                for one in self._segments or ()
                if one.kind == _PT_DYNAMIC and one.address > address
            ]
        start = address - segment.address + segment.offset
        end = min(ends) - segment.address + segment.offset
        return (start, end) if end > start else None

    def _want(self, start: int, end: int) -> _Part | None:
        """Wait for a part of the file; what of it has passed is taken from what is kept.

        Returns:
            None where some of it has passed and is not kept.
        """
        part = _Part(start, end)
        passed = min(self._position, end)
        if passed > start:
            found = self._passed(start, passed)
            if len(found) < passed - start:
                return None
            part.data += found
        return part

    def _passed(self, start: int, end: int) -> bytes:
        """A part of what has passed, as far as it is kept in one piece."""
        found = []
        is_first = end <= self._kept_size
        position = 0 if is_first else self._position - self._last_size
        for piece in self._kept if is_first else self._last:
            if position >= end:
                break
            if position + len(piece) > start:
                found.append(piece[max(start - position, 0) : end - position])
            position += len(piece)
        return b"".join(found)


def _library(entries: dict[int, list[int]], tables: dict[int, bytes]) -> Library:
    """Put together what the tables say.

    Raises:
        ValueError, IndexError, struct.error: they are damaged.
    """
    strings = tables[_DT_STRTAB]

    def texts(tag: int) -> list[str]:
        return [_text(strings, place) for place in entries.get(tag, ())]

    undefined: tuple[str, ...] = ()
    symbols = b""
    if _DT_SYMTAB in tables:
        table = tables[_DT_SYMTAB]
        if _DT_GNU_HASH in tables:
            first, symbols = _hashes(tables[_DT_GNU_HASH])
            if not symbols:
                # Of a library that offers none GNU ld does not say here how many it needs; each has a version.
                first = max(first, len(tables.get(_DT_VERSYM, b"")) // 2)
            undefined = tuple(_undefined(table[: first * _SYMBOL.size], strings, tables.get(_DT_VERSYM, b"")))
        elif _DT_HASH in tables:
            _, count = struct.unpack_from("<II", tables[_DT_HASH])
            table = table[: count * _SYMBOL.size]
            undefined = tuple(_undefined(table, strings, tables.get(_DT_VERSYM, b"")))
            symbols = _defined(table, strings)
    return Library(
        soname=next(iter(texts(_DT_SONAME)), None),
        needed=tuple(texts(_DT_NEEDED)),
        rpath=":".join(texts(_DT_RPATH)),
        runpath=":".join(texts(_DT_RUNPATH)),
        versions_needed=_versions_needed(tables.get(_DT_VERNEED, b""), strings),
        versions=tuple(_versions(tables.get(_DT_VERDEF, b""), strings)),
        undefined=undefined,
        symbols=symbols,
    )


def _text(strings: bytes, place: int) -> str:
    return strings[place : strings.index(b"\0", place)].decode("utf-8")


def _hashes(table: bytes) -> tuple[int, bytes]:
    """The first symbol in DT_GNU_HASH, before which are those that are needed, and the numbers of all in it."""
    buckets, first, words, _ = _HASHES.unpack_from(table)
    start = _HASHES.size + 8 * words
    last = max(struct.unpack_from(f"<{buckets}I", table, start), default=0)
    chain = start + 4 * buckets
    if last < first:
        return first, b""
    end = chain + 4 * (last - first)
    # A chain ends where the last bit is set.
    while not table[end] & 1:
        end += 4
        if end >= len(table):
            raise ValueError("a chain of symbols has no end")
    return first, table[chain : end + 4]


def _undefined(table: bytes, strings: bytes, versions: bytes) -> Iterator[str]:
    """Names of symbols that are needed, have no version and are not weak."""
    of_symbol = struct.unpack_from(f"<{len(versions) // 2}H", versions)
    for (name, info, section), version in zip(_NEEDED.iter_unpack(table), chain(of_symbol, repeat(0))):  # noqa: B905
        if not section and info >> 4 == _STB_GLOBAL and version & _VERSION_MASK < _FIRST_VERSION and name:
            yield strings[name : strings.index(b"\0", name)].decode("utf-8")


def _defined(table: bytes, strings: bytes) -> bytes:
    """The numbers of what a library without DT_GNU_HASH offers."""
    found = [
        symbol_number(_text(strings, name).encode())
        for name, info, _, section, _, _ in _SYMBOL.iter_unpack(table)
        if section and name and info >> 4
    ]
    return struct.pack(f"<{len(found)}I", *found)


def _versions_needed(table: bytes, strings: bytes) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    place, step = 0, 1 if table else 0
    while step:
        _, count, file, aux, step = _VERNEED.unpack_from(table, place)
        names = []
        at = place + aux
        for _ in range(count):
            _, flags, _, name, following = _VERNEED_AUX.unpack_from(table, at)
            if not flags & _WEAK:
                names.append(_text(strings, name))
            at += following
        found[_text(strings, file)] = tuple(names)
        place += step
    return found


def _versions(table: bytes, strings: bytes) -> Iterator[str]:
    place, step = 0, 1 if table else 0
    while step:
        _, _, _, _, _, aux, step = _VERDEF.unpack_from(table, place)
        yield _text(strings, _VERDEF_AUX.unpack_from(table, place + aux)[0])
        place += step
