"""Which Rust crates a project names, and where they are fetched from."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest
from lock_samples import SHA

from builder import crates, nix
from builder.cargo_lock import locked_crates
from builder.crates import crate_url, find_registry, supply_crates
from builder.errors import DeclarationError, ResolveError
from builder.fetch import Session
from builder.models import Crate
from builder.progress import Display
from builder.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

OTHER = SHA[::-1]
REGISTRY = "registry+https://h.example/index"
ADDER = Crate(name="adder", version="1.2.0+old", sha256=SHA)


def package(name: str = "adder", *, source: str | None = REGISTRY, checksum: str | None = SHA) -> str:
    lines = ["[[package]]", f'name = "{name}"', 'version = "1.2.0+old"']
    lines += [f'source = "{source}"'] if source else []
    lines += [f'checksum = "{checksum}"'] if checksum else []
    return "\n".join(lines) + "\n"


def crates_of(files: dict[str, str], project: str = "") -> tuple[Crate, ...]:
    texts = {name: text.encode() for name, text in files.items()}
    return locked_crates(texts, set(files), project, "here")


@pytest.mark.parametrize("number", [None, 3, 4])
def test_the_crates_of_registries_are_those_that_cargo_lock_has_hashes_of(number: int | None) -> None:
    own = package("app", source=None, checksum=None)
    git = package("fork", source="git+https://h.example/x#abc", checksum=None)
    header = f"version = {number}\n" if number else ""
    sparse = package("beta", source="sparse+https://h.example/", checksum=OTHER)
    assert crates_of({"Cargo.lock": header + sparse + own + git + package()}) == (
        ADDER,
        Crate(name="beta", version="1.2.0+old", sha256=OTHER),
    )


def test_the_first_format_of_cargo_lock_has_its_hashes_in_a_table_of_their_own() -> None:
    metadata = (
        f'[metadata]\n"checksum adder 1.2.0+old ({REGISTRY})" = "{SHA}"\n'
        f'"checksum fork 1.2.0+old ({REGISTRY})" = "<none>"\n'
    )
    files = {"Cargo.lock": package(checksum=None) + package("fork", checksum=None) + metadata}
    assert crates_of(files) == (ADDER,)


@pytest.mark.parametrize(
    ("name", "project", "counts"),
    [
        ("Cargo.lock", "", True),
        ("rust/Cargo.lock", "", True),
        ("x-1.0/Cargo.lock", "x-1.0/", True),
        ("x-1.0/Cargo.lock", "x-1.0/python/", True),
        ("x-1.0/other/Cargo.lock", "x-1.0/python/", False),
        ("tests/sample/Cargo.lock", "", False),
        ("Examples/Cargo.lock", "", False),
        ("tests/project/Cargo.lock", "tests/project/", True),
    ],
)
def test_the_lock_files_of_what_is_built_count_and_no_others(name: str, project: str, counts: bool) -> None:
    assert crates_of({name: package()}, project) == ((ADDER,) if counts else ())


def test_the_lock_file_of_a_vendored_crate_does_not_count() -> None:
    assert crates_of({"include/other/Cargo.lock": package(), "include/other/.cargo-checksum.json": ""}) == ()


@pytest.mark.parametrize("name", ["config", "config.toml"])
@pytest.mark.parametrize("folder", ["", "repo/", "repo/python/"])
def test_a_project_that_says_where_its_crates_are_needs_none(name: str, folder: str) -> None:
    replaced = '[source.crates-io]\nreplace-with = "v"\n[source.v]\ndirectory = "vendor"\n'
    files = {"repo/python/Cargo.lock": package(), f"{folder}.cargo/{name}": replaced}
    assert crates_of(files, "repo/python/") == ()
    files[f"{folder}.cargo/{name}"] = "[build]\njobs = 1\n"
    assert crates_of(files, "repo/python/") == (ADDER,)


def test_one_crate_of_several_lock_files_is_one_and_has_one_hash() -> None:
    assert crates_of({"Cargo.lock": package(), "rust/Cargo.lock": package()}) == (ADDER,)
    with pytest.raises(ResolveError, match=r"here: its Cargo.lock files have two hashes of .* adder 1.2.0"):
        crates_of({"Cargo.lock": package(), "rust/Cargo.lock": package(checksum=OTHER)})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[package", "here: its Cargo.lock is malformed: "),
        ("package = 1", "here: its Cargo.lock is malformed: "),
        ("[[package]]", "here: its Cargo.lock is malformed: 'name'"),
        (package("../../x"), "here: its Cargo.lock is malformed: '../../x' is no crate's name"),
        (package(checksum="12"), "here: its Cargo.lock is malformed: '12' is no crate's sha256"),
    ],
)
def test_a_malformed_lock_file_is_refused(text: str, message: str) -> None:
    with pytest.raises(ResolveError, match=message):
        crates_of({"Cargo.lock": text})


@pytest.mark.parametrize(
    ("template", "url"),
    [
        ("https://h.example/api", "https://h.example/api/adder/1.2.0+old/download"),
        ("https://h.example/api/", "https://h.example/api/adder/1.2.0+old/download"),
        ("https://h.example/{crate}-{version}.crate", "https://h.example/adder-1.2.0+old.crate"),
        ("https://h.example/{prefix}/{sha256-checksum}", f"https://h.example/ad/de/{SHA}"),
    ],
)
def test_a_template_gives_the_url_of_a_crate(template: str, url: str) -> None:
    assert crate_url(template, ADDER) == url


@pytest.mark.parametrize(
    ("name", "prefix", "lower"),
    [("A", "1", "1"), ("Ab", "2", "2"), ("Abc", "3/A", "3/a"), ("AbCdE", "Ab/Cd", "ab/cd")],
)
def test_a_crates_folder_follows_from_its_name(name: str, prefix: str, lower: str) -> None:
    crate = Crate(name=name, version="1.0.0", sha256=SHA)
    assert crate_url("{prefix}", crate) == prefix
    assert crate_url("{lowerprefix}", crate) == lower


def settings(url: str | None = None) -> Settings:
    return Settings.model_validate({"mirrors": {"crates": url} if url else {}})


def configured(folder: Path, text: str, name: str = "config.toml") -> dict[str, str]:
    """An environment in whose home cargo has this configuration."""
    (folder / ".cargo").mkdir(exist_ok=True)
    (folder / ".cargo" / name).write_text(text)
    return {"HOME": str(folder)}


REPLACED = '[source.crates-io]\nreplace-with = "near"\n'


def found(environment: dict[str, str], url: str | None = None) -> str | None:
    registry = find_registry(settings(url), environment)
    return registry.url if registry else None


def test_nothing_is_configured_until_somebody_does(tmp_path: Path) -> None:
    assert found({"HOME": str(tmp_path)}) is None
    assert found(configured(tmp_path, "[build]\njobs = 1\n")) is None


@pytest.mark.parametrize(
    "text",
    [
        REPLACED + '[source.near]\nregistry = "sparse+https://near.example/"\n',
        REPLACED + '[registries.near]\nindex = "sparse+https://near.example/"\n',
        REPLACED
        + '[source.near]\nreplace-with = "x"\n[source.x]\nregistry = "sparse+https://near.example/"\n',
    ],
)
def test_cargos_configuration_says_what_stands_in_for_the_public_registry(tmp_path: Path, text: str) -> None:
    assert found(configured(tmp_path, text)) == "sparse+https://near.example/"


def test_a_source_that_stands_in_for_itself_leads_nowhere(tmp_path: Path) -> None:
    assert found(configured(tmp_path, REPLACED + '[source.near]\nreplace-with = "crates-io"\n')) is None


def test_the_setting_counts_before_cargos_configuration_and_cargos_own_home_before_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def text(host: str) -> str:
        return REPLACED + f'[source.near]\nregistry = "sparse+https://{host}/"\n'

    environment = configured(tmp_path, text("user.example"))
    cargo = tmp_path / "cargo"
    cargo.mkdir()
    (cargo / "config.toml").write_text(text("new.example"))
    assert found(environment) == "sparse+https://user.example/"
    environment["CARGO_HOME"] = str(cargo)
    assert found(environment) == "sparse+https://new.example/"
    (cargo / "config").write_text(text("old.example"))
    assert found(environment) == "sparse+https://old.example/"
    monkeypatch.setenv("CRATES_USER", "me")
    assert found(environment, "https://${CRATES_USER}@set.example/") == "https://me@set.example/"


@pytest.mark.parametrize(
    ("url", "text", "message"),
    [
        ("h.example/index", "", "tool.builder.mirrors.crates: 'h.example/index' is no URL"),
        ("sparse+h.example", "", "tool.builder.mirrors.crates: .* is no URL"),
        (None, "[source", r"\.cargo/config\.toml cannot be read"),
        (None, REPLACED + '[source.near]\nregistry = "https://h.example/index"\n', "is no sparse index"),
    ],
)
def test_a_registry_that_is_not_understood_is_refused(
    tmp_path: Path, url: str | None, text: str, message: str
) -> None:
    with pytest.raises(DeclarationError, match=message):
        found(configured(tmp_path, text), url)


class Store:
    """What Nix is asked for, without Nix."""

    def __init__(self) -> None:
        self.added: dict[str, bytes] = {}

    def missing(self, paths: object, there: object = ()) -> list[nix.Added]:
        return [path for path in paths if path.name not in self.added]  # type: ignore[attr-defined]

    def add(self, paths: list[nix.Added]) -> None:
        self.added |= {path.name: path.path.read_bytes() for path in paths}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    store = Store()
    monkeypatch.setattr(nix, "missing", store.missing)
    monkeypatch.setattr(nix, "add", store.add)
    monkeypatch.setenv("CARGO_HOME", str(tmp_path / "nothing"))
    return store


def supply(url: str | None, *needed: Crate) -> None:
    supply_crates({"thing 1.0": needed}, Session, settings(url), display=Display(enabled=False))


def published(folder: Path, *names: str) -> list[Crate]:
    made = []
    for name in names:
        (folder / f"{name}-1.0.0.crate").write_text(name)
        sha256 = hashlib.sha256(name.encode()).hexdigest()
        made.append(Crate(name=name, version="1.0.0", sha256=sha256))
    return made


def test_missing_crates_are_fetched_and_put_into_the_store(store: Store, tmp_path: Path) -> None:
    made = published(tmp_path, *(f"crate{number}" for number in range(20)))
    supply(f"{tmp_path.as_uri()}/{{crate}}-{{version}}.crate", *made)
    assert store.added == {crate.filename: crate.name.encode() for crate in made}


def test_no_registry_is_needed_for_what_the_store_has(store: Store) -> None:
    store.added[ADDER.filename] = b""
    supply(None, ADDER)
    supply(None)
    assert list(store.added) == [ADDER.filename]


def test_without_a_registry_the_message_says_who_needs_how_many_crates_and_what_to_do(
    store: Store, tmp_path: Path
) -> None:
    made = published(tmp_path, "one", "two")
    with pytest.raises(ResolveError) as caught:
        supply(None, *made)
    assert str(caught.value) == (
        "thing 1.0: its Cargo.lock names 2 Rust crates that must be fetched, and no registry is known: neither "
        f"tool.builder.mirrors.crates nor {tmp_path}/nothing/config.toml names one"
    )
    assert '[tool.builder.mirrors]  crates = "sparse+' in caught.value.hint
    assert "[source.crates-io] with replace-with" in caught.value.hint


def test_another_crate_under_the_name_is_refused_with_both_hashes(store: Store, tmp_path: Path) -> None:
    [crate] = published(tmp_path, "one")
    (tmp_path / "one-1.0.0.crate").write_text("another")
    with pytest.raises(ResolveError, match=r"thing 1.0: hash mismatch for one-1.0.0.crate") as caught:
        supply(f"{tmp_path.as_uri()}/{{crate}}-{{version}}.crate", crate)
    assert crate.sha256 in str(caught.value)
    assert hashlib.sha256(b"another").hexdigest() in str(caught.value)
    assert caught.value.hint.startswith("tool.builder.mirrors.crates says where crates are fetched from")
    assert not store.added


def test_who_we_are_at_an_index_we_are_at_its_crates_on_the_same_server_and_nowhere_else(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Session]] = []

    def read(url: str, session: Session, *, accept: str) -> tuple[str, str, str]:
        asked.append((url, session))
        return json.dumps({"dl": "https://h.example/api"}), accept, url

    def download(url: str, *, session: Session, folder: Path, filename: str, **_: object) -> Path:
        asked.append((url, session))
        (folder / filename).touch()
        return folder / filename

    monkeypatch.setattr(crates, "read_text", read)
    monkeypatch.setattr(crates, "download", download)
    supply("sparse+https://me:word@h.example/index/", ADDER)
    index, archive = asked
    assert index[0] == "https://me:word@h.example/index/config.json"
    assert archive[0] == "https://h.example/api/adder/1.2.0+old/download"
    assert archive[1].credentials.find(archive[0]) == ("me", "word")
    assert archive[1].credentials.find("https://elsewhere.example/api") is None
