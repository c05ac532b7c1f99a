from __future__ import annotations

import io
import struct
import zipfile
from typing import TYPE_CHECKING

import pytest
from zip_index import ZipError, ZipIndex

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOISE = bytes(range(256)) * 40


def archive(method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as made:
        made.writestr("a.txt", NOISE)
        made.writestr("folder/", b"")
        made.writestr("folder/b.txt", b"b" * 1000)
    return buffer.getvalue()


def opened(tmp_path: Path, data: bytes, check: Callable[[ZipIndex], object] = lambda index: None) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    with path.open("rb") as file:
        check(ZipIndex(file.fileno()))


def contents(index: ZipIndex) -> dict[str, bytes]:
    return {entry.name: b"".join(index.read(entry)) for entry in index.entries}


EXPECTED = {"a.txt": NOISE, "folder/": b"", "folder/b.txt": b"b" * 1000}


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_every_method_that_zipfile_writes_is_read(tmp_path, method):
    found = {}
    opened(tmp_path, archive(method), lambda index: found.update(contents(index)))
    assert found == EXPECTED


def test_sizes_that_follow_the_data_are_taken_from_the_index(tmp_path):
    class Pipe(io.RawIOBase):
        """A file that cannot seek, to which zipfile writes data descriptors."""

        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data) -> int:
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in EXPECTED.items():
            made.writestr(name, data)
    found = {}
    opened(tmp_path, pipe.data, lambda index: found.update(contents(index)))
    assert found == EXPECTED


def test_zip64_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    data = archive()
    assert b"PK\x06\x06" in data
    found = {}
    opened(tmp_path, data, lambda index: found.update(contents(index)))
    assert found == EXPECTED


def test_a_comment_may_hold_the_magic_of_the_end(tmp_path):
    buffer = io.BytesIO(archive())
    with zipfile.ZipFile(buffer, "a") as made:
        made.comment = b"PK\x05\x06" + bytes(40)
    found = {}
    opened(tmp_path, buffer.getvalue(), lambda index: found.update(contents(index)))
    assert found == EXPECTED


def change(data: bytes, magic: bytes, at: int, value: bytes, number: int = 0) -> bytes:
    """Overwrite bytes of the record with this magic, counted from the file's beginning."""
    start = -1
    for _ in range(number + 1):
        start = data.index(magic, start + 1)
    return data[: start + at] + value + data[start + at + len(value) :]


CENTRAL, LOCAL, END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not a zip file"),
        (b"x" * 5000, "not a zip file"),
        (archive()[:-1], "cut off"),
        (archive() + b"x", "not a zip file, or is cut off"),
        (b"#!/bin/sh\n" + archive(), "before, after or in between"),
        (change(archive(), END, 4, b"\1"), "one part of several"),
        (change(archive(), END, 8, b"\2\0\2\0"), "has 3 entries and should have 2"),
        (change(archive(), CENTRAL, 0, b"XX"), "index is damaged"),
        (change(archive(), CENTRAL, 28, b"\xff\xff"), "index is damaged"),
        (change(archive(), CENTRAL, 8, b"\1\0"), "encrypted"),
        (change(change(archive(), CENTRAL, 8, b"\0\x08"), CENTRAL, 46, b"\xff"), "not UTF-8"),
        (change(archive(), CENTRAL, 24, b"\xff\xff\xff\xff"), "missing from the index"),
        (change(archive(), CENTRAL, 42, struct.pack("<L", 0), number=2), "overlaps"),
        (change(archive(), CENTRAL, 20, struct.pack("<L", 5000)), "overlaps"),
    ],
)
def test_a_damaged_or_ambiguous_index_is_refused(tmp_path, data, problem):
    with pytest.raises(ZipError, match=problem):
        opened(tmp_path, data)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (change(archive(), LOCAL, 0, b"XX"), "no header where the index says"),
        (change(archive(), LOCAL, 30, b"b"), "disagree"),
        (change(archive(), LOCAL, 8, b"\0\0"), "disagree"),
        (change(archive(), LOCAL, 28, b"\xff\0"), "overlaps"),
        (change(archive(), CENTRAL, 16, b"1234"), "CRC-32"),
        (change(archive(zipfile.ZIP_STORED), CENTRAL, 16, b"1234"), "CRC-32"),
        (change(archive(zipfile.ZIP_LZMA), CENTRAL, 16, b"1234"), "CRC"),
        (change(archive(zipfile.ZIP_STORED), CENTRAL, 24, b"\1\0\0\0"), "declares 1 bytes"),
        (change(archive(), CENTRAL, 24, b"\1\0\0\0"), "more than the 1 bytes"),
        (change(change(archive(), CENTRAL, 10, b"\x63\0"), LOCAL, 8, b"\x63\0"), "cannot be decompressed"),
    ],
)
def test_an_entry_that_is_not_as_the_index_says_is_refused(tmp_path, data, problem):
    with pytest.raises(ZipError, match=problem) as caught:
        opened(tmp_path, data, contents)
    assert caught.value.entry == "a.txt"


def test_a_name_without_the_utf8_flag_is_in_code_page_437(tmp_path):
    data = change(change(archive(), CENTRAL, 46, b"\x81"), LOCAL, 30, b"\x81")
    found = {}
    opened(tmp_path, data, lambda index: found.update(contents(index)))
    assert found["ü.txt"] == NOISE


def test_two_entries_of_one_name_are_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            made.writestr("a", b"2")
    with pytest.raises(ZipError, match="two entries of this name"):
        opened(tmp_path, buffer.getvalue())


def test_entries_that_share_their_data_are_refused(tmp_path):
    data = archive(zipfile.ZIP_STORED)
    second = data.index(LOCAL, 1)
    # The first entry now claims everything up to the index: the way a small zip bomb is made.
    size = struct.pack("<L", data.index(CENTRAL) - 40)
    assert second
    with pytest.raises(ZipError, match="overlaps"):
        opened(tmp_path, change(change(data, CENTRAL, 20, size), CENTRAL, 24, size))
