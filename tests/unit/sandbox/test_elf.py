"""What libraries need, read as they pass by, and what of it is nowhere in an image."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from elf import Library, Reader
from hypothesis import given
from hypothesis import strategies as st
from link_check import Missing, find_missing, labels


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
        elf(("libc.so.6",), kind=2),
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


SITE = "lib/python3.11/site-packages"


def package(name: str, **libraries: tuple[str, ...]) -> dict[str, Any]:
    found = [
        {"path": f"{SITE}/{name}/{path.replace('__', '.')}", "soname": None, "needed": list(needed)}
        for path, needed in libraries.items()
    ]
    return {"name": name, "version": "1.0", "libraries": found}


BASE = {"contents": [{"name": "libc6", "version": "2"}], "libraries": ["libc.so.6", "libz.so.1"]}


def test_what_the_base_or_any_package_has_is_there() -> None:
    one = package("one", a__abi3__so=("libc.so.6", "other.so", "libcuda.so.1"))
    assert find_missing([BASE, {"contents": [one, package("two", other__so=("libz.so.1",))]}]) == []


def test_an_extension_module_that_cannot_be_loaded_is_told_from_a_plugin() -> None:
    cv2 = package("cv2", cv2__abi3__so=("gui.so",), gui__so=("libGL.so.1",), plugin__so=("libX.so.1",))
    found = find_missing([BASE, {"contents": [cv2]}])
    assert found == [
        Missing("cv2 1.0", "libGL.so.1", f"{SITE}/cv2/cv2.abi3.so", True),
        Missing("cv2 1.0", "libX.so.1", f"{SITE}/cv2/plugin.so", False),
    ]
    assert labels(found) == {
        "builder.link.missing": "cv2 1.0: libGL.so.1 for cv2/cv2.abi3.so",
        "builder.link.optional": "cv2 1.0: libX.so.1 for cv2/plugin.so",
    }


def test_libraries_that_need_each_other_are_no_endless_loop() -> None:
    loop = package("loop", a__so=("b.so", "libX.so.1"), b__so=("a.so",))
    assert [one.soname for one in find_missing([BASE, {"contents": [loop]}])] == ["libX.so.1"]


def test_an_image_that_lacks_nothing_says_nothing() -> None:
    assert labels(find_missing([BASE])) == {}
