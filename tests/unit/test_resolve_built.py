"""How versions are chosen of packages that are built, and of those that need a hash; nothing is built here."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from index_server import Index, bare_machine, make_wheel, serve, sha256
from lock_samples import SHA, TARGET, app

from builder import nix
from builder.errors import ResolveError
from builder.fetch import Session
from builder.models import Built, Source
from builder.requirements import parse_requirements, parse_runtime
from builder.resolve import Question, Resolution, Sources, resolve
from builder.settings import Settings
from builder.simple_index import Listed, list_project
from builder.source_build import Fetched, Made
from builder.source_files import SourceFiles
from builder.uvtool import Indexes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from builder.source_build import SourceBuilder
    from builder.source_fetch import SourceFetcher


class Workshop:
    """Stands for what fetches and builds archives: what comes out depends on nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def listed(self, name: str, listed: Listed, _: Session) -> Fetched:
        source = Source(kind="archive", filename=listed.filename, sha256=SHA)
        path = nix.Added(self.folder, "archive", SHA, recursive=False)
        return Fetched(name, source, path, SourceFiles((), None, ()), f"{name} {listed.version}")

    def make(self, fetched: Fetched, _: object) -> Made:
        name, version = fetched.where.split()
        built = Built(name=name, version=version, source=fetched.source)
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        return Made(built, make_wheel(self.folder, name, version), metadata.encode())

    def finish(self, built: Sequence[Built]) -> tuple[Built, ...]:
        return tuple(built)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    """The machine's default index; it has two packages, of which one depends on the other."""
    bare_machine(monkeypatch, tmp_path / "home")
    index = serve(tmp_path / "files")
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.simple)
    make_wheel(index.files, "alpha", "1.0", requires=("beta",))
    make_wheel(index.files, "beta", "1.0")
    return index


def run(root: Path, *steps: tuple[str, ...], runtime: tuple[str, ...] = ()) -> Resolution:
    requirements = parse_requirements(app(root, *steps))
    workshop = Workshop(root / "built")
    sources = Sources(cast("SourceFetcher", workshop), cast("SourceBuilder", workshop))
    more = parse_runtime(runtime)
    return resolve(Question(requirements, TARGET, Settings(), root, more, sources=sources))


def versions(found: Resolution) -> dict[str, str]:
    return {package.name: package.version for package in (*found.wheels, *found.built)}


def archive(folder: Path, name: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).touch()


def test_without_an_index_packages_are_built_from_the_links_and_no_index_is_asked(
    index: Index, tmp_path: Path
) -> None:
    other = serve(tmp_path / "other")
    (tmp_path / "uv.toml").write_text(f'[[index]]\nurl = "{other.simple}"\n')
    archive(tmp_path / "links", "beta-0.5.tar.gz")
    make_wheel(tmp_path / "links", "gamma", "0.1", requires=("beta",))
    for server in (index, other):
        make_wheel(server.files, "gamma", "2.0")
    step = ("--no-index", "-f", "links", "--extra-index-url", other.simple, "gamma")
    found = run(tmp_path, step)
    assert versions(found) == {"beta": "0.5", "gamma": "0.1"}
    assert [package.name for package in found.built] == ["beta"]
    assert index.seen == other.seen == []
    with pytest.raises(ResolveError, match="alpha was not found"):
        run(tmp_path, (*step, "alpha"))
    assert index.seen == other.seen == []


def test_a_version_that_is_not_there_is_told_without_the_index_that_stands_for_archives(
    index: Index, tmp_path: Path
) -> None:
    archive(tmp_path / "links", "thing-1.0.tar.gz")
    with pytest.raises(ResolveError, match=r"no version of thing==2\.0") as caught:
        run(tmp_path, ("-f", "links", "--no-binary", "thing", "thing==2.0"))
    assert "127.0.0.1" not in str(caught.value)


def test_what_is_to_be_built_and_has_only_a_wheel_is_told_with_the_wheel(
    index: Index, tmp_path: Path
) -> None:
    index.user, index.password = "me", "canary"
    with pytest.raises(ResolveError, match="beta is to be built from source") as caught:
        run(tmp_path, ("--no-binary", "beta", "--index-url", index.with_login("/simple"), "beta"))
    assert f"only {index.root}/files/beta-1.0-py3-none-any.whl" in str(caught.value)


def test_the_archives_of_all_indexes_are_listed_where_the_best_match_is_wanted(
    index: Index, tmp_path: Path
) -> None:
    places = []
    for number in (1, 2):
        page = tmp_path / f"index{number}" / "thing" / "index.html"
        page.parent.mkdir(parents=True)
        page.write_text(f'<a href="thing-{number}.0.tar.gz">thing-{number}.0.tar.gz</a>')
        places.append(page.parents[1].as_uri())
    first = list_project("thing", Indexes(extra=tuple(places)), None, Session())
    assert [file.version for file in first] == ["1.0"]
    best = Indexes(extra=tuple(places), strategy="unsafe-best-match")
    assert [file.version for file in list_project("thing", best, None, Session())] == ["1.0", "2.0"]


def test_in_a_step_that_requires_hashes_dependencies_need_them_too(index: Index, tmp_path: Path) -> None:
    alpha, beta = (
        f"{name}==1.0 --hash=sha256:{sha256(index.files / f'{name}-1.0-py3-none-any.whl')}"
        for name in ("alpha", "beta")
    )
    with pytest.raises(ResolveError, match=r"depend on what has none: beta==1\.0") as caught:
        run(tmp_path, (alpha,))
    assert "--generate-hashes" in caught.value.hint
    whole = {"alpha": "1.0", "beta": "1.0"}
    assert versions(run(tmp_path, (alpha, beta))) == whole
    assert versions(run(tmp_path, (alpha, "--no-deps"))) == {"alpha": "1.0"}
    # What an earlier step has installed is not installed again, and what this program adds has no hash to give.
    assert versions(run(tmp_path, ("beta",), (alpha,))) == whole
    assert versions(run(tmp_path, (beta,), runtime=("alpha",))) == whole
