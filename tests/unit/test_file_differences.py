"""What is said of two results that should be the same."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from typing import TYPE_CHECKING

from builder.file_differences import FileDifference, differences

if TYPE_CHECKING:
    from pathlib import Path


def folders(root: Path, first: dict[str, bytes], second: dict[str, bytes]) -> list[FileDifference]:
    for name, files in (("first", first), ("second", second)):
        for path, data in files.items():
            (root / name / path).parent.mkdir(parents=True, exist_ok=True)
            (root / name / path).write_bytes(data)
    return list(differences(root / "first", root / "second"))


def layer(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    # A gzip file of two members, as layers are.
    text = buffer.getvalue()
    return gzip.compress(text[:512], mtime=0) + gzip.compress(text[512:], mtime=0)


def wheel(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


def test_equal_folders_do_not_differ(tmp_path: Path) -> None:
    assert folders(tmp_path, {"a": b"1", "b/c": b"2"}, {"a": b"1", "b/c": b"2"}) == []


def test_a_file_that_differs_is_told_with_its_first_byte_that_does(tmp_path: Path) -> None:
    assert folders(tmp_path, {"a": b"same", "b": b"0123"}, {"a": b"same", "b": b"01x3"}) == [
        FileDifference("b", 2)
    ]


def test_a_file_that_goes_on_differs_where_the_other_ends(tmp_path: Path) -> None:
    assert folders(tmp_path, {"a": b"01"}, {"a": b"0123"}) == [FileDifference("a", 2)]


def test_a_file_that_only_one_has_is_told(tmp_path: Path) -> None:
    assert folders(tmp_path, {"a": b"1"}, {"b": b"1"}) == [
        FileDifference("a", None),
        FileDifference("b", None),
    ]


def test_layers_and_wheels_are_looked_into(tmp_path: Path) -> None:
    first = {"blob": layer(same=b"1", other=b"abc"), "x.whl": wheel(one=b"12", gone=b"")}
    second = {"blob": layer(same=b"1", other=b"abd"), "x.whl": wheel(one=b"13")}
    assert folders(tmp_path, first, second) == [
        FileDifference("blob!other", 2),
        FileDifference("x.whl!gone", None),
        FileDifference("x.whl!one", 1),
    ]


def test_archives_whose_files_are_the_same_differ_as_files(tmp_path: Path) -> None:
    text = layer(same=b"1")
    [found] = folders(tmp_path, {"blob": text}, {"blob": text + gzip.compress(b"", mtime=0)})
    assert found == FileDifference("blob", len(text))
