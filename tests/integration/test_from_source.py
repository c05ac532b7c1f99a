"""Packages that are built from source, from the app file to the container."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = """[build-system]
requires = ["setuptools>=70"]
build-backend = "setuptools.build_meta"

[project]
name = "shared-code"
version = "1.0"
dependencies = ["iniconfig==2.1.0"]

[tool.setuptools]
py-modules = ["shared_code"]
"""


def locked(project, name="app"):
    lock = tomllib.loads((project.folder / f"pylock.{name}.toml").read_text())
    return {package["name"]: package for package in lock["packages"]}


def printed(project, code, target="app.py"):
    return project.run("run", target, "--", "python", "-c", code).out.strip()


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_package_without_a_wheel_is_built_and_locked_with_what_it_is_built_with(project):
    project.app(["docopt==0.6.2", "omegaconf==2.3.0"])
    first = project.run("build", "app.py", "--json")
    assert "docopt 0.6.2 has no wheel" in first.err
    packages = locked(project)
    ours = packages["docopt"]["tool"]["builder"]
    assert packages["docopt"]["sdist"]["hashes"]["sha256"]
    assert [tool["name"] for tool in ours["requires"]] == ["setuptools"]
    assert ours["compiled"] is False
    # omegaconf has a wheel, and needs one package that has none.
    assert "wheels" in packages["omegaconf"]
    assert "sdist" in packages["antlr4-python3-runtime"]
    assert printed(project, "import docopt, omegaconf; print(docopt.__version__)") == "0.6.2"
    again = project.build()
    assert again["digest"] == json.loads(first.out)["digest"]
    assert again["built"] == 0


def test_a_wheel_is_preferred_and_no_binary_builds_with_compilers(project):
    project.app(["--no-binary", "ujson", "ujson==5.11.0", "markupsafe"])
    first = project.build()
    packages = locked(project)
    ours = packages["ujson"]["tool"]["builder"]
    assert ours["compiled"] is True
    assert ours["wheel"]["name"].endswith("linux_x86_64.whl")
    assert "wheels" in packages["markupsafe"]
    assert printed(project, "import ujson; print(ujson.dumps([1]), ujson.__file__[-3:])") == "[1] .so"
    assert printed(project, "import shutil; print(shutil.which('gcc'))") == "None"
    # Relocking changes nothing.
    text = (project.folder / "pylock.app.toml").read_text()
    (project.folder / "pylock.app.toml").unlink()
    assert project.build()["digest"] == first["digest"]
    assert (project.folder / "pylock.app.toml").read_text() == text


def test_a_wheel_that_is_not_the_locked_one_is_refused(project):
    project.app(["docopt==0.6.2"])
    project.run("lock", "app.py")
    lock = project.folder / "pylock.app.toml"
    sha256 = locked(project)["docopt"]["tool"]["builder"]["wheel"]["hashes"]["sha256"]
    lock.write_text(lock.read_text().replace(sha256, "0" * 64))
    done = project.run("build", "app.py", check=False)
    assert done.code == 6
    assert sha256 in done.err
    assert "0" * 64 in done.err
    assert "docopt" in done.err


def test_a_local_project_comes_along_as_it_is_now(project):
    project.write("shared/pyproject.toml", PROJECT)
    project.write("shared/shared_code.py", "value = 1\n")
    project.app(["./shared"])
    first = project.build()
    assert locked(project)["shared-code"]["directory"]["path"] == "shared"
    assert locked(project)["iniconfig"]["version"] == "2.1.0"
    assert printed(project, "import shared_code, iniconfig; print(shared_code.value)") == "1"
    before = (project.folder / "pylock.app.toml").read_bytes()
    project.write("shared/shared_code.py", "value = 2\n")
    second = project.build("app.py", "--frozen")
    assert second["digest"] != first["digest"]
    assert printed(project, "import shared_code; print(shared_code.value)") == "2"
    assert (project.folder / "pylock.app.toml").read_bytes() == before


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    (folder / "python").mkdir(parents=True)
    (folder / "python/pyproject.toml").write_text(PROJECT)
    (folder / "python/shared_code.py").write_text("value = 'tagged'\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "one")
    git(folder, "tag", "v1")
    return folder


def test_a_git_requirement_locks_the_commit_of_its_tag(project, repository):
    project.app([f"git+file://{repository}@v1#subdirectory=python"])
    commit = git(repository, "rev-parse", "HEAD")
    first = project.build()
    vcs = locked(project)["shared-code"]["vcs"]
    assert (vcs["commit-id"], vcs["requested-revision"], vcs["subdirectory"]) == (commit, "v1", "python")
    assert printed(project, "import shared_code; print(shared_code.value)") == "tagged"
    # A tag that moves changes nothing until an upgrade is asked for.
    (repository / "python/shared_code.py").write_text("value = 'moved'\n")
    git(repository, "commit", "--quiet", "-am", "two")
    git(repository, "tag", "--force", "v1")
    assert project.build()["digest"] == first["digest"]
    project.run("lock", "app.py", "--upgrade")
    assert project.build()["digest"] != first["digest"]
    assert printed(project, "import shared_code; print(shared_code.value)") == "moved"
