"""What an index lists of one project."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from index_server import bare_machine, make_wheel, serve, sha256

from builder.credentials import Credentials
from builder.fetch import FetchError, Session
from builder.simple_index import file_version, list_project
from builder.uvtool import Indexes

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bare_machine(monkeypatch, tmp_path / "home")


@pytest.mark.parametrize(
    ("filename", "version"),
    [
        ("some_thing-1.0.tar.gz", "1.0"),
        ("Some.Thing-1.0rc1.zip", "1.0rc1"),
        ("some-thing-1.0.tar.bz2", "1.0"),
        ("some-thing-1.0-1.tar.gz", "1.0.post1"),
        ("some_thing-1.0-py3-none-any.whl", "1.0"),
        ("some_thing_else-1.0.tar.gz", None),
        ("some-thing-else-1.0.tar.gz", None),
        ("some_thing-1.0.exe", None),
        ("some_thing-dev.tar.gz", None),
        ("other-1.0-py3-none-any.whl", None),
        ("broken.whl", None),
    ],
)
def test_a_files_name_tells_its_version(filename: str, version: str | None) -> None:
    assert file_version(filename, "some-thing") == version


def test_the_first_index_that_has_a_project_is_the_one(tmp_path: Path) -> None:
    first, second = serve(tmp_path / "first"), serve(tmp_path / "second")
    made = make_wheel(first.files, "thing", "1.0")
    make_wheel(second.files, "thing", "2.0")
    make_wheel(second.files, "other", "1.0")
    indexes = Indexes(extra=(first.simple,))
    (found,) = list_project("thing", indexes, second.simple, Session())
    assert (found.version, found.filename, found.sha256) == ("1.0", made.name, sha256(made))
    assert [one.version for one in list_project("other", indexes, second.simple, Session())] == ["1.0"]
    assert list_project("nothing", indexes, second.simple, Session()) == ()


def test_pages_of_links_are_read_besides(tmp_path: Path) -> None:
    links = make_wheel(tmp_path / "links", "thing", "3.0")
    (tmp_path / "links" / "thing-4.0.tar.gz").touch()
    found = list_project("thing", Indexes(find_links=(links.parent.as_uri(),)), None, Session())
    assert [one.version for one in found] == ["3.0", "4.0"]


def test_an_index_with_a_login_is_asked_with_it(tmp_path: Path) -> None:
    index = serve(tmp_path / "files")
    make_wheel(index.files, "thing", "1.0")
    index.user, index.password = "me", "canary"
    url = index.with_login("/simple")
    session = Session(Credentials.of([url]))
    (found,) = list_project("thing", Indexes(default=url), url, session)
    assert found.url.startswith("http://me:canary@")
    with pytest.raises(FetchError, match="401"):
        list_project("thing", Indexes(), index.simple, Session())
