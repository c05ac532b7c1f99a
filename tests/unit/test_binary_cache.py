"""Which binary cache is used, and with which keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder import binary_cache
from builder.binary_cache import BinaryCache, check_url, find_cache
from builder.errors import DeclarationError, ToolError
from builder.settings import Settings, read_settings

TEAM, OWN = f"team-1:{'A' * 43}=", f"me:{'B' * 43}="


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("BUILDER_CACHE", "BUILDER_CACHE_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "conf"))
    monkeypatch.setattr(binary_cache, "public_key", lambda path: f"{path.stem}:{'B' * 43}=")


def test_without_a_cache_there_is_none(tmp_path: Path) -> None:
    assert find_cache(Settings(), tmp_path) is None


def test_the_command_line_counts_before_the_environment_and_that_before_the_project(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = Settings(cache="https://project.example/")

    def url(given: str | None = None) -> str:
        found = find_cache(settings, tmp_path, url=given)
        assert found is not None
        return found.url

    assert url() == "https://project.example/"
    monkeypatch.setenv("BUILDER_CACHE", "s3://environment")
    assert url() == "s3://environment"
    assert url("ssh://me@host") == "ssh://me@host"


def test_a_path_in_the_settings_is_relative_to_the_project_and_one_that_is_typed_to_where_it_is_typed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    found = find_cache(Settings(cache="cache"), tmp_path / "project")
    assert found == BinaryCache(f"file://{tmp_path}/project/cache")
    typed = find_cache(Settings(), tmp_path / "project", url="cache")
    assert typed == BinaryCache(f"file://{tmp_path}/cache")


def test_what_this_user_signs_is_trusted_besides_what_the_project_names(tmp_path: Path) -> None:
    key = tmp_path / "conf/builder/cache.key"
    key.parent.mkdir(parents=True)
    key.write_text("secret")
    found = find_cache(Settings(cache="cache", cache_keys=(TEAM,)), tmp_path)
    assert found is not None
    assert found.public_keys == (TEAM, f"cache:{'B' * 43}=")
    assert found.secret_key == key


def test_a_key_that_is_named_counts_before_the_users_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BUILDER_CACHE_KEY", str(tmp_path / "ci.key"))
    found = find_cache(Settings(cache="cache"), tmp_path)
    assert found is not None
    assert found.secret_key == tmp_path / "ci.key"
    typed = find_cache(Settings(cache="cache"), tmp_path, secret_key=Path("typed.key"))
    assert typed is not None
    assert typed.secret_key == Path("typed.key")


def test_what_is_written_is_signed_and_not_compressed_again() -> None:
    cache = BinaryCache("https://host/cache?priority=10", secret_key=Path("/keys/team.key"))
    expected = "https://host/cache?compression=none&secret-key=/keys/team.key&priority=10"
    assert cache.writable_url() == expected
    # A store that is reached by ssh has no such words: its paths are signed before.
    assert BinaryCache("ssh://host", secret_key=Path("/k")).writable_url() == "ssh://host"


def test_without_a_key_nothing_is_written() -> None:
    with pytest.raises(ToolError, match="no key to sign"):
        BinaryCache("file:///cache").writable_url()


@pytest.mark.parametrize("url", ["gopher://host", "ftp://host/"])
def test_what_is_no_url_of_a_cache_is_refused_with_what_is(url: str, tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="is no URL of a binary cache") as caught:
        check_url(url, tmp_path)
    assert "s3" in caught.value.hint


def test_credentials_in_a_url_are_refused_and_not_shown(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="has credentials") as caught:
        check_url("https://me:hush@host/", tmp_path)
    assert "hush" not in str(caught.value)


def test_a_key_in_the_settings_must_be_a_public_one(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(f'[tool.builder]\ncache-keys = ["{TEAM}"]\n')
    assert read_settings(tmp_path).cache_keys == (TEAM,)
    secret = f"team-1:{'A' * 86}=="
    (tmp_path / "pyproject.toml").write_text(f'[tool.builder]\ncache-keys = ["{secret}"]\n')
    with pytest.raises(DeclarationError, match="no public key") as caught:
        read_settings(tmp_path)
    assert "A" * 60 not in str(caught.value)


def test_a_keys_name_has_no_blanks(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="is no name for a key"):
        binary_cache.make_key("my team", tmp_path / "key")
