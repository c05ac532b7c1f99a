"""What is seen of a source before anything of it runs."""

from __future__ import annotations

import io
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from builder.errors import ResolveError
from builder.models import Crate
from builder.source_files import LEGACY_REQUIRES, look_into

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = '[build-system]\nrequires = ["flit_core>=3"]\n[project]\nname = "Some.Thing"\n'
CARGO = f"""[[package]]
name = "libc"
version = "0.2.1"
source = "registry+https://h.example/"
checksum = "{"1" * 64}"
"""


def tar(path: Path, files: dict[str, str], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return path


def zipped(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz", "zip", "folder"])
def test_every_kind_of_source_tells_its_files_and_what_it_is_built_with(tmp_path: Path, kind: str) -> None:
    files = {"thing-1.0/pyproject.toml": PROJECT, "thing-1.0/src/thing.c": "", "thing-1.0/Cargo.lock": CARGO}
    path = tmp_path / f"thing.{kind}"
    if kind == "zip":
        zipped(path, files)
    elif kind == "folder":
        (path / "src").mkdir(parents=True)
        (path / "pyproject.toml").write_text(PROJECT)
        (path / "src/thing.c").touch()
        (path / "Cargo.lock").write_text(CARGO)
    else:
        tar(path, files, f"w:{kind.rpartition('.')[2]}")
    seen = look_into(path, None, "here")
    assert seen.names == ("Cargo.lock", "pyproject.toml", "src/thing.c")
    assert seen.name == "Some.Thing"
    assert seen.requires == ("flit_core>=3",)
    assert seen.crates == (Crate(name="libc", version="0.2.1", sha256="1" * 64),)


def test_a_link_that_leads_nowhere_is_not_followed(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", {"x/pyproject.toml": PROJECT}, "w")
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("x/Cargo.lock")
        link.type, link.linkname = tarfile.SYMTYPE, "../../Cargo.lock"
        archive.addfile(link)
    assert look_into(path, None, "here").names == ("Cargo.lock", "pyproject.toml")


def test_a_project_without_pyproject_is_built_with_setuptools(tmp_path: Path) -> None:
    seen = look_into(tar(tmp_path / "x.tar.gz", {"x-1/setup.py": ""}), None, "here")
    assert (seen.name, seen.requires) == (None, LEGACY_REQUIRES)


def test_a_project_in_a_subdirectory_is_that_folder_alone(tmp_path: Path) -> None:
    files = {"repo/pyproject.toml": "", "repo/python/pyproject.toml": PROJECT, "repo/other.c": ""}
    seen = look_into(tar(tmp_path / "x.tar.gz", files), "python", "here")
    assert (seen.names, seen.name) == (("pyproject.toml",), "Some.Thing")


@pytest.mark.parametrize(
    ("files", "subdirectory", "message"),
    [
        ({"x/README": ""}, None, "here: it has neither pyproject.toml nor setup.py, so"),
        ({"x/setup.py": ""}, "python", "nor setup.py in python"),
        ({"x/pyproject.toml": "name ="}, None, "here: its pyproject.toml is malformed"),
        ({"x/pyproject.toml": "[build-system]\nrequires = 1"}, None, "is no list of strings"),
    ],
)
def test_what_is_no_project_is_refused(
    tmp_path: Path, files: dict[str, str], subdirectory: str | None, message: str
) -> None:
    with pytest.raises(ResolveError, match=message):
        look_into(tar(tmp_path / "x.tar.gz", files), subdirectory, "here")


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_text("<html>Please sign in</html>")
    with pytest.raises(ResolveError, match="here: it is no archive that can be read"):
        look_into(tmp_path / "x.tar.gz", None, "here")
