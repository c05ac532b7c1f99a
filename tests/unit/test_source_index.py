"""The index that offers archives as if they were wheels."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest
from lock_samples import TARGET

from builder.errors import BuildError
from builder.simple_index import Listed
from builder.source_index import SourceIndex


def listed(filename: str, version: str, **more: str) -> Listed:
    return Listed(version, filename, f"https://me:canary@h.example/{filename}", **more)


FILES = (
    listed("thing-1.0.zip", "1.0"),
    listed("thing-1.0.tar.gz", "1.0", sha256="a" * 64),
    listed("thing-2.0.tar.gz", "2.0"),
    listed("thing-2.0-cp311-cp311-manylinux_2_28_x86_64.whl", "2.0"),
    listed("thing-3.0.tar.gz", "3.0", requires_python=">=3.12"),
    listed("thing-4.0.tar.gz", "4.0", yanked="broken"),
    listed("thing-4.0-cp311-cp311-win_amd64.whl", "4.0"),
)


def index(**more: object) -> SourceIndex:
    values: dict[str, object] = {
        "listing": lambda name: FILES if name == "thing" else (),
        "metadata": lambda name, file: f"Name: {name}\nVersion: {file.version}\n".encode(),
        "offered": lambda name: name != "hidden",
        "forced": lambda name: False,
        **more,
    }
    return SourceIndex(TARGET, **values)  # type: ignore[arg-type]


def page(url: str, name: str = "thing") -> dict[str, dict[str, object]]:
    with urllib.request.urlopen(f"{url}/{name}/") as answer:
        assert answer.headers.get_content_type() == "application/vnd.pypi.simple.v1+json"
        return {file["filename"]: file for file in json.load(answer)["files"]}


def test_a_version_without_a_fitting_wheel_is_offered_as_if_it_had_one() -> None:
    with index().serving() as url:
        files = page(url)
    assert set(files) == {
        "thing-1.0-py3-none-any.whl",
        "thing-2.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        "thing-4.0-py3-none-any.whl",
    }
    assert files["thing-4.0-py3-none-any.whl"]["yanked"] == "broken"
    assert files["thing-2.0-cp311-cp311-manylinux_2_28_x86_64.whl"]["core-metadata"] is False


def test_no_wheel_of_a_package_that_is_to_be_built_is_offered() -> None:
    with index(forced=lambda name: True).serving() as url:
        assert "thing-2.0-py3-none-any.whl" in page(url)


def test_metadata_is_made_when_it_is_asked_for_and_leads_back_to_the_archive() -> None:
    offers = index()
    with offers.serving() as url:
        entry = page(url)["thing-1.0-py3-none-any.whl"]
        assert isinstance(entry["url"], str)
        with urllib.request.urlopen(entry["url"] + ".metadata") as answer:
            assert answer.read() == b"Name: thing\nVersion: 1.0\n"
        assert offers.find("thing", entry["url"]) == FILES[1]
    assert offers.find("thing", FILES[3].url) is None


def test_what_was_told_holds_when_uv_is_asked_again() -> None:
    offers = index()
    with offers.serving() as url:
        first = page(url)["thing-1.0-py3-none-any.whl"]["url"]
    with offers.serving() as url:
        again = page(url)["thing-1.0-py3-none-any.whl"]["url"]
        with urllib.request.urlopen(f"{again}.metadata") as answer:
            assert answer.read().startswith(b"Name: thing")
    for told in (first, again):
        assert isinstance(told, str)
        assert offers.find("thing", told) == FILES[1]


def test_what_is_not_offered_is_looked_for_elsewhere() -> None:
    with index().serving() as url:
        for name in ("hidden", "unknown"):
            with pytest.raises(urllib.error.HTTPError, match="404") as refused:
                page(url, name)
            refused.value.close()


def test_a_stranger_on_this_machine_learns_nothing() -> None:
    with index().serving() as url:
        other = url.rsplit("/", 2)[0]
        for path in ("/simple/thing/", "/guess/simple/thing/"):
            with pytest.raises(urllib.error.HTTPError, match="404") as refused:
                urllib.request.urlopen(other + path)
            refused.value.close()


def test_a_build_that_fails_is_remembered_for_who_waits_for_uv() -> None:
    def fail(name: str, file: Listed) -> bytes:
        raise BuildError("no compiler")

    offers = index(metadata=fail)
    with offers.serving() as url:
        entry = page(url)["thing-1.0-py3-none-any.whl"]
        with pytest.raises(urllib.error.HTTPError, match="404") as refused:
            urllib.request.urlopen(f"{entry['url']}.metadata")
        refused.value.close()
    assert str(offers.failure) == "no compiler"
