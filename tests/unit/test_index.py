from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from index_server import Index, bare_machine, make_wheel, serve, sha256
from lock_samples import app, lock_file

from builder.errors import DeclarationError, ResolveError
from builder.index import Finder, Source
from builder.models import Lock, Wheel
from builder.requirements import Requirements, parse_requirements
from builder.settings import Settings
from builder.tags import Target

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    bare_machine(monkeypatch, tmp_path / "home")
    index = serve(tmp_path / "files")
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.simple)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    for name in ("alpha", "beta"):
        make_wheel(index.files, name, "1.0")
    (tmp_path / "app").mkdir()
    return index


def pinned(path: Path, url: str | None = None, *, direct: bool = False) -> Wheel:
    name, version = path.name.split("-")[:2]
    return Wheel(
        name=name, version=version, filename=path.name, sha256=sha256(path), size=None, url=url, direct=direct
    )


def finder(
    root: Path, *wheels: Wheel, settings: Settings | None = None, steps: tuple[tuple[str, ...], ...] = ()
) -> Finder:
    requirements: Requirements = parse_requirements(app(root / "app", *steps), unset_ok=True)
    lock: Lock = lock_file(*wheels).lock
    target = Target.of_base(lock.base, lock.architecture)
    return Finder(lock.files, target, settings or Settings(), root / "app", requirements)


def test_a_public_url_is_passed_on_as_it_is_in_the_lock(index: Index, tmp_path: Path) -> None:
    wheel = pinned(
        index.files / "alpha-1.0-py3-none-any.whl", "https://files.example.org/alpha-1.0-py3-none-any.whl"
    )
    assert finder(tmp_path, wheel).locate() == {wheel.sha256: Source(url=wheel.url)}
    assert index.seen == []


def test_only_what_is_wanted_is_looked_for(index: Index, tmp_path: Path) -> None:
    wheel = pinned(index.files / "alpha-1.0-py3-none-any.whl")
    assert finder(tmp_path, wheel).locate(wanted=()) == {}


def test_a_file_of_this_machine_is_taken_when_its_hash_is_right(index: Index, tmp_path: Path) -> None:
    path = make_wheel(tmp_path / "here", "alpha", "1.0")
    wheel = pinned(path, path.as_uri())
    assert finder(tmp_path, wheel).locate() == {wheel.sha256: Source(path=path)}
    path.write_bytes(b"changed")
    (source,) = finder(tmp_path, wheel).locate().values()
    assert source == Source(url=f"{index.root}/files/{path.name}")


def test_find_links_folders_are_searched_by_file_name(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_wheel(tmp_path / "links", "gamma", "1.0")
    wheel = pinned(path)
    by_step = finder(tmp_path, wheel, steps=(("--find-links", str(path.parent), "gamma"),))
    assert by_step.locate() == {wheel.sha256: Source(path=path)}
    monkeypatch.setenv("UV_FIND_LINKS", str(path.parent))
    assert finder(tmp_path, wheel).locate() == {wheel.sha256: Source(path=path)}


def test_local_indexes_are_searched_by_file_name(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_wheel(tmp_path / "local/files", "gamma", "1.0")
    (tmp_path / "local/simple/gamma").mkdir(parents=True)
    (tmp_path / "local/simple/gamma/index.html").write_text(
        f'<a href="../../files/{path.name}">{path.name}</a>'
    )
    monkeypatch.setenv("UV_INDEX", f"mine={(tmp_path / 'local/simple').as_uri()}")
    wheel = pinned(path)
    assert finder(tmp_path, wheel).locate() == {wheel.sha256: Source(path=path)}


def test_a_portable_locks_files_are_found_on_the_index_by_name_and_hash(index: Index, tmp_path: Path) -> None:
    wheels = [pinned(index.files / f"{name}-1.0-py3-none-any.whl") for name in ("alpha", "beta")]
    assert finder(tmp_path, *wheels).locate() == {
        wheel.sha256: Source(url=f"{index.root}/files/{wheel.filename}") for wheel in wheels
    }


def test_a_file_whose_url_is_gone_is_found_elsewhere(index: Index, tmp_path: Path) -> None:
    wheel = pinned(
        index.files / "alpha-1.0-py3-none-any.whl", "https://gone.example.org/alpha-1.0-py3-none-any.whl"
    )
    found = finder(tmp_path, wheel).locate(gone={wheel.sha256})
    assert found == {wheel.sha256: Source(url=f"{index.root}/files/{wheel.filename}")}


def test_a_mirror_in_the_settings_comes_before_the_locks_url(index: Index, tmp_path: Path) -> None:
    mirror = serve(tmp_path / "mirror")
    alpha = pinned(
        make_wheel(mirror.files, "alpha", "1.0"), "https://files.example.org/alpha-1.0-py3-none-any.whl"
    )
    beta = pinned(
        index.files / "beta-1.0-py3-none-any.whl", "https://files.example.org/beta-1.0-py3-none-any.whl"
    )
    found = finder(tmp_path, alpha, beta, settings=Settings(mirrors={"index": mirror.simple})).locate()
    assert found[alpha.sha256] == Source(url=f"{mirror.root}/files/{alpha.filename}")
    assert found[beta.sha256] == Source(url=beta.url)


def test_a_file_of_an_index_with_a_login_is_for_this_program_to_fetch(index: Index, tmp_path: Path) -> None:
    private = serve(tmp_path / "private")
    private.user, private.password = "me", "can@ry"
    path = make_wheel(private.files, "delta", "1.0")
    steps = (("--extra-index-url", private.with_login("/simple"), "delta"),)
    for url in (None, f"{private.root}/files/{path.name}"):
        wheel = pinned(path, url)
        search = finder(tmp_path, wheel, steps=steps)
        source = search.locate()[wheel.sha256]
        assert source.url is None
        assert source.path is None
        assert "can" not in repr(source)
        assert sha256(search.download(wheel, source, tmp_path / "out")) == wheel.sha256


def test_a_signed_url_of_the_app_is_for_this_program_to_fetch(index: Index, tmp_path: Path) -> None:
    path = index.files / "alpha-1.0-py3-none-any.whl"
    url = f"{index.root}/files/{path.name}"
    wheel = pinned(path, url, direct=True)
    search = finder(tmp_path, wheel, steps=((url + "?X-Signature=canary",),))
    source = search.locate()[wheel.sha256]
    assert source == Source(private_url=url + "?X-Signature=canary")
    assert search.download(wheel, source, tmp_path / "out").is_file()
    assert finder(tmp_path, wheel, steps=((url,),)).locate()[wheel.sha256] == Source(url=url)


def test_a_variable_matters_only_when_a_file_needs_it(index: Index, tmp_path: Path) -> None:
    private = serve(tmp_path / "private")
    delta = pinned(
        make_wheel(private.files, "delta", "1.0"), f"{private.root}/files/delta-1.0-py3-none-any.whl"
    )
    alpha = pinned(index.files / "alpha-1.0-py3-none-any.whl")
    steps = (("--extra-index-url", f"http://me:${{MY_TOKEN}}@127.0.0.1:{private.port}/simple", "delta"),)
    assert (
        finder(tmp_path, alpha, steps=steps).locate()[alpha.sha256].url
        == f"{index.root}/files/{alpha.filename}"
    )
    with pytest.raises(DeclarationError, match=r"delta-1\.0.*needs the environment variable MY_TOKEN"):
        finder(tmp_path, delta, steps=steps).locate()
    with pytest.raises(ResolveError) as caught:
        finder(tmp_path, delta, steps=steps).locate(gone={delta.sha256})
    assert "Set MY_TOKEN" in caught.value.hint
    assert private.seen == []


def test_of_two_indexes_with_a_version_the_one_with_the_hash_is_found(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = serve(tmp_path / "other")
    make_wheel(other.files, "alpha", "1.0", requires=("beta",))
    monkeypatch.setenv("UV_INDEX", other.simple)
    first = pinned(other.files / "alpha-1.0-py3-none-any.whl")
    second = pinned(index.files / "alpha-1.0-py3-none-any.whl")
    assert first.sha256 != second.sha256
    assert finder(tmp_path, first).locate()[first.sha256].url == f"{other.root}/files/{first.filename}"
    assert finder(tmp_path, second).locate()[second.sha256].url == f"{index.root}/files/{second.filename}"


def test_a_file_that_is_nowhere_is_named_with_its_hash(index: Index, tmp_path: Path) -> None:
    gone = pinned(make_wheel(tmp_path / "elsewhere", "omega", "1.0"))
    replaced = pinned(make_wheel(tmp_path / "elsewhere", "alpha", "1.0", requires=("beta",)))
    there = pinned(index.files / "beta-1.0-py3-none-any.whl")
    with pytest.raises(ResolveError, match="2 locked files are neither") as caught:
        finder(tmp_path, gone, replaced, there).locate()
    for wheel in (gone, replaced):
        assert f"{wheel.filename} sha256 {wheel.sha256}" in str(caught.value)
    assert there.filename not in str(caught.value)
