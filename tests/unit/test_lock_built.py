"""Packages that are built from source, in a lock."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from lock_samples import SHA, lock_file, wheel
from packaging.pylock import Pylock

from builder.errors import LockError
from builder.lock import LockFile, dumps, read_lock, write_lock
from builder.models import Built, Crate, Source

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from pathlib import Path

OTHER = SHA[::-1]
TOOLS = (wheel("setuptools", "80.9.0"), wheel("cython", "3.1.2", url="https://h.example/get/7"))


def made(name: str, source: Source, **more: object) -> Built:
    values: dict[str, object] = {
        "requires": tuple(sorted(TOOLS, key=lambda one: one.name)),
        "compiled": True,
        "filename": f"{name}-1.0-cp311-cp311-linux_x86_64.whl",
        "sha256": OTHER,
        "size": 20,
        **more,
    }
    return Built.model_validate({"name": name, "version": "1.0", "source": source, **values})


def archive(filename: str, **more: object) -> Source:
    values: dict[str, object] = {"url": f"https://h.example/{filename}", "size": 30, **more}
    return Source.model_validate({"kind": "archive", "filename": filename, "sha256": SHA, **values})


def folder(path: str) -> Built:
    source = Source(kind="directory", path=path, direct=True)
    return made("folder", source, filename=None, sha256=None, size=None, compiled=False)


COMMIT = Source(
    kind="git",
    sha256=SHA,
    url="https://h.example/org/repo.git",
    commit="a" * 40,
    revision="v1",
    subdirectory="python",
    direct=True,
)
BUILT = (
    made("byhand", archive("main.zip", direct=True, subdirectory="python")),
    made("committed", COMMIT, variables={"SETUPTOOLS_SCM_PRETEND_VERSION": "1.0"}),
    folder("../shared"),
    made("named", archive("named-1.0.tar.gz")),
    made("nowhere", archive("nowhere-1.0.tar.gz", url=None)),
    made("old", archive("Old_1.0.tar.bz2")),
    made("rusty", archive("rusty-1.0.tar.gz"), crates=(Crate(name="libc", version="0.2.1+a", sha256=OTHER),)),
)


def locked(*built: Built, portable: bool = False) -> LockFile:
    content = lock_file(wheel("alpha"), portable=portable)
    return LockFile(content.lock.model_copy(update={"built": built}), content.declared)


def test_packages_that_are_built_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_lock(tmp_path / "lock.toml", locked(*BUILT))
    assert read_lock(tmp_path / "lock.toml") == locked(*BUILT)


def test_each_source_stands_where_the_standard_has_a_place_for_it() -> None:
    pylock = Pylock.from_dict(tomllib.loads(dumps(locked(*BUILT))))
    pylock.validate()
    found = {package.name: package for package in pylock.packages}
    byhand, committed = found["byhand"].archive, found["committed"].vcs
    assert byhand is not None
    assert (byhand.url, byhand.subdirectory) == ("https://h.example/main.zip", "python")
    assert committed is not None
    assert (committed.type, committed.commit_id, committed.requested_revision) == ("git", "a" * 40, "v1")
    assert found["folder"].directory is not None
    assert found["folder"].directory.path == "../shared"
    assert found["named"].sdist is not None
    assert found["old"].archive is not None


def test_a_portable_lock_of_built_packages_names_no_index(tmp_path: Path) -> None:
    portable = tuple(
        one.model_copy(
            update={
                "source": one.source.model_copy(update={"url": None})
                if one.source.kind == "archive"
                else one.source,
                "requires": tuple(tool.model_copy(update={"url": None}) for tool in one.requires),
            }
        )
        for one in BUILT
    )
    content = locked(*BUILT, portable=True)
    write_lock(tmp_path / "lock.toml", content)
    text = (tmp_path / "lock.toml").read_text()
    assert "h.example/main.zip" not in text
    assert "h.example/get" not in text
    assert "https://h.example/org/repo.git" in text
    assert read_lock(tmp_path / "lock.toml").lock.built == portable


def test_each_crate_has_a_line_of_its_own_and_a_package_without_any_has_no_word_of_them() -> None:
    crates = tuple(Crate(name=name, version="1.0.0", sha256=SHA) for name in ("adder", "beta"))
    package = made("named", archive("named-1.0.tar.gz"))
    assert "crates" not in dumps(locked(package))
    lines = dumps(locked(package.model_copy(update={"crates": crates}))).splitlines()
    assert f'    {{ name = "adder", version = "1.0.0", sha256 = "{SHA}" }},' in lines
    assert f'    {{ name = "beta", version = "1.0.0", sha256 = "{SHA}" }},' in lines


def test_every_file_that_builds_need_is_among_a_locks_files() -> None:
    other = wheel("setuptools", "80.9.0", sha256=OTHER)
    one = made("named", archive("named-1.0.tar.gz"), requires=(other,))
    assert [file.filename for file in locked(one).lock.files] == [
        "alpha-1.0-py3-none-any.whl",
        other.filename,
    ]
    assert locked(one).lock.built[0].archive is not None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[packages.tool.builder]", "[packages.tool.other]", r"packages\[1\].tool.builder: is missing"),
        ("compiled = true", 'compiled = "maybe"', r"packages\[1\].tool.builder.compiled: .*boolean"),
        ('type = "git"', 'type = "hg"', "'hg' is not a version control system"),
        ('tree-sha256 = "0', 'tree-sha256 = "x', r"tool.builder.sha256: string should match"),
        ("requires = [\n", "requires = [\n1,", "is malformed"),
        ('name = "setuptools-80.9.0', 'name = "setuptools/80.9.0', "not the name of a wheel"),
        ('name = "libc"', 'name = "../libc"', r"tool.builder.crates.0.name: string should match"),
    ],
)
def test_an_edited_lock_of_built_packages_is_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = tmp_path / "lock.toml"
    tools = (wheel("setuptools", "80.9.0", url="https://h.example/get/7"),)
    crates = (Crate(name="libc", version="0.2.1", sha256=OTHER),)
    write_lock(path, locked(made("committed", COMMIT, requires=tools, crates=crates)))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(LockError, match=message):
        read_lock(path)
