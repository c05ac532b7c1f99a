"""Which binary cache is used, and with which keys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder import binary_cache
from builder.binary_cache import BinaryCache, PacedLog, UnreachableError, check_url, find_cache
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


class Quiet:
    """Shows nothing."""

    def counted(self, done: int, expected: int) -> None: ...
    def started(self, kind: str, name: str, key: int) -> None: ...
    def progressed(self, key: int, done: int, expected: int) -> None: ...
    def finished(self, key: int) -> None: ...
    def said(self, name: str, line: str) -> None: ...


def fetched(rate: float, *, url: str = "https://host/cache/nar/a.nar", seconds: int = 60) -> None:
    """Let a log hear that a file comes at some bytes a second."""
    now = 1000.0
    log = PacedLog(Quiet(), BinaryCache("https://host/cache"), clock=lambda: now)
    lines: list[dict[str, object]] = [{"action": "start", "id": 1, "type": 101, "fields": [url]}]
    for second in range(seconds):
        done = int(rate * second)
        lines.append({"action": "result", "id": 1, "type": 105, "fields": [done, 10**9, 0, 0]})
    lines.append({"action": "stop", "id": 1})
    for line in lines:
        log.line("@nix " + json.dumps(line))
        now += 1


def test_a_cache_that_trickles_is_given_up_and_one_that_does_not_is_waited_for() -> None:
    fetched(1_000_000)
    fetched(20_000)
    # What is downloaded from elsewhere takes as long as it takes.
    fetched(100, url="https://other/file.whl")
    with pytest.raises(UnreachableError, match=r"https://host/cache is too slow: 2 kB in 2\d seconds"):
        fetched(100)


def test_what_a_distrusting_daemon_says_is_heard_and_its_administrator_told_what_to_write() -> None:
    cache = BinaryCache("https://host/cache", (TEAM,))
    log = PacedLog(Quiet(), cache)
    assert not log.is_distrusted
    text = "warning: ignoring untrusted substituter 'https://host/cache'"
    log.line("@nix " + json.dumps({"action": "msg", "level": 0, "msg": text}))
    assert log.is_distrusted
    assert f"  extra-trusted-public-keys = {TEAM}\n" in cache.instruction
    assert "  extra-trusted-substituters = https://host/cache\n" in cache.instruction
