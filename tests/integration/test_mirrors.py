"""One declaration is one lock and one image, whoever serves the files and in whatever order they are asked for."""

from __future__ import annotations

import itertools
import secrets

import pytest
from small_index import Index, sdist, serving
from stores import other_store


@pytest.fixture(scope="module")
def token():
    """Begins names that no store has heard of."""
    return f"mirrored{secrets.token_hex(4)}"


@pytest.fixture(scope="module")
def files(token):
    """Wheels that depend on each other, and a package that only has a source distribution."""
    index = Index()
    index.add(f"{token}a", requires=[f"{token}c>=1"])
    index.add(f"{token}b", requires=[f"{token}c<3", f"{token}src"])
    for version in ("1.0", "2.0", "3.0"):
        index.add(f"{token}c", version)
    index.add(f"{token}d", "1.5")
    index.files[f"{token}src-1.0.tar.gz"] = sdist(f"{token}src")
    return index.files


@pytest.fixture
def mirrors(files):
    """Two servers that have the same files."""
    with serving(Index(dict(files))) as one, serving(Index(dict(files))) as other:
        yield one, other


def write(session_project, token, order, *, index=None, settings=""):
    project = session_project("mirrored")
    project.app([f"{token}{letter}" for letter in order])
    project.env |= {"UV_CACHE_DIR": str(project.folder.parent / f"uv-{project.folder.name}")}
    if index:
        project.env |= index.environment
    project.write("pyproject.toml", f"[tool.builder]\n{settings}\n")
    return project


def locked(project):
    said = project.run("lock", "app.py").out
    assert "written" in said
    return (project.folder / "pylock.app.toml").read_bytes()


def test_the_order_of_requirements_changes_nothing_in_the_lock(session_project, token, mirrors):
    orders = itertools.islice(itertools.permutations("abd"), 0, None, 2)
    projects = [write(session_project, token, order, index=mirrors[0]) for order in orders]
    first, *others = [locked(project) for project in projects]
    assert f'name = "{token}c"\nversion = "2.0"'.encode() in first
    assert others == [first, first]


@pytest.mark.parametrize("settings", ["portable = true", '[tool.builder.mirrors]\nindex = "{url}/simple"'])
def test_a_lock_does_not_say_which_mirror_it_was_made_against(session_project, token, mirrors, settings):
    texts = []
    for mirror, order in zip(mirrors, ("abd", "dba"), strict=True):
        project = write(session_project, token, order, index=mirror, settings=settings.format(url=mirror.url))
        texts.append(locked(project))
        assert mirror.asked
    assert texts[0] == texts[1]
    assert b"127.0.0.1" not in texts[0]


def test_a_lock_builds_against_another_mirror_when_its_own_is_gone(
    session_project, token, files, mirrors, tmp_path
):
    one, other = mirrors
    project = write(session_project, token, "abd", index=one)
    text = locked(project)
    assert f"{one.url}/files/{token}a-1.0".encode() in text
    first = project.build()
    one.down = True
    # In a store that has nothing yet.
    environment = {**other.environment, **other_store(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    again = project.build("app.py", "--frozen", "--no-link", env=environment)
    assert again["path"].startswith(str(tmp_path))
    assert again["digest"] == first["digest"]
    assert (project.folder / "pylock.app.toml").read_bytes() == text
    wanted = {name for name in files if not name.startswith((f"{token}c-1", f"{token}c-3"))}
    assert {name for name in files if other.requests_of(name)} >= wanted


def test_a_lock_that_is_made_against_another_mirror_gives_the_same_image(session_project, token, mirrors):
    one, other = mirrors
    built = [write(session_project, token, "abd", index=mirror).build() for mirror in (one, other)]
    assert built[0]["lock_digest"] == built[1]["lock_digest"]
    assert built[0]["digest"] == built[1]["digest"]
