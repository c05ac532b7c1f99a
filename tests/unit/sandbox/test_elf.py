"""What libraries need and offer, read as they pass by."""

from __future__ import annotations

import struct

import pytest
from elf import Library, Reader
from hypothesis import given
from hypothesis import strategies as st


def elf(
    needed: tuple[str, ...], soname: str | None = None, *, table_first: bool = True, kind: int = 3
) -> bytes:
    """A shared library that is nothing but its headers, its dynamic section and the strings of that."""
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in (*needed, soname or ""))
    places, at = [], 1
    for name in (*needed, soname or ""):
        places.append(at)
        at += len(name) + 1
    entries = [(1, place) for place in places[:-1]] + ([(14, places[-1])] if soname else [])
    size = (len(entries) + 3) * 16
    first, second = (len(strings) + 40, size) if table_first else (size, len(strings))
    start = 64 + 2 * 56
    table, dynamic = (start, start + first) if table_first else (start + first, start)
    entries += [(5, 0x1000 + table), (10, len(strings)), (0, 0)]
    section = b"".join(struct.pack("<qQ", *entry) for entry in entries)
    body = bytearray(start + first + second)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", kind, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0
    )
    body[:64] = header
    body[64:120] = struct.pack("<IIQQQQQQ", 1, 4, 0, 0x1000, 0x1000, len(body), len(body), 0x1000)
    body[120:176] = struct.pack("<IIQQQQQQ", 2, 4, dynamic, 0x1000 + dynamic, 0, size, size, 8)
    body[table : table + len(strings)] = strings
    body[dynamic : dynamic + len(section)] = section
    return bytes(body)


def read(data: bytes, *cuts: int) -> Library | None:
    reader = Reader()
    for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        reader.update(data[start:end])
    return reader.library


@pytest.mark.parametrize("table_first", [True, False])
@given(cuts=st.lists(st.integers(0, 300), max_size=5))
def test_it_does_not_matter_how_the_bytes_come(table_first: bool, cuts: list[int]) -> None:
    data = elf(("libGL.so.1", "libc.so.6"), "libme.so.2", table_first=table_first)
    assert read(data, *sorted(min(cut, len(data)) for cut in cuts)) == Library(
        "libme.so.2", ("libGL.so.1", "libc.so.6")
    )


def test_a_library_may_have_no_name() -> None:
    assert read(elf(("libc.so.6",))) == Library(None, ("libc.so.6",))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK",
        b"\x7fELF" + bytes(200),
        elf(("libc.so.6",), kind=1),
        elf(("libc.so.6",))[:150],
        elf(("libc.so.6",))[:64] + b"\xff" * 400,
    ],
)
def test_what_is_no_library_is_none(data: bytes) -> None:
    assert read(data) is None


@given(place=st.integers(0, 300), value=st.integers(0, 255))
def test_a_damaged_library_is_read_or_is_none(place: int, value: int) -> None:
    data = bytearray(elf(("libGL.so.1",), "libme.so.2"))
    data[place % len(data)] = value
    read(bytes(data), 70, 180)
