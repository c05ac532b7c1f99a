from __future__ import annotations

import stat
from pathlib import Path

import pytest

from builder import keyring, uv_credentials
from builder.credentials import Credentials, is_below
from builder.errors import DeclarationError
from builder.machine_config import MachineConfig
from builder.uv_credentials import Entry, read_entries

TOKENS = {"https://h.example/simple": "${INDEX_TOKEN}", "https://h.example/simple/deep": "${DEEP}"}


def with_tokens(**env: str) -> Credentials:
    return Credentials.of((), {"HOME": "/nowhere", **env}, tokens=TOKENS)


def test_a_token_is_for_its_url_and_what_is_below_and_the_longest_counts() -> None:
    known = with_tokens(INDEX_TOKEN="canary1", DEEP="canary2")
    assert known.bearer("https://h.example/simple/numpy/") == "canary1"
    assert known.bearer("https://h.example/simple/deep/x") == "canary2"
    assert known.authorization("https://h.example/simple") == "Bearer canary1"
    for other in (
        "https://h.example/simpler",
        "https://h.example/",
        "http://h.example/simple/x",
        "https://h.example:8443/simple/x",
        "https://evil.example/simple/x",
        "https://h.example.evil.example/simple/x",
    ):
        assert known.authorization(other) is None


def test_a_token_whose_variable_is_not_set_matters_where_it_is_needed() -> None:
    known = with_tokens(INDEX_TOKEN="canary1", DEEP="")
    assert known.bearer("https://h.example/simple/x") == "canary1"
    with pytest.raises(DeclarationError, match=r"tool.builder.tokens: .*DEEP, which is not set"):
        known.authorization("https://h.example/simple/deep/x")
    assert [entry.token for entry in known.entries()] == ["canary1"]


def test_no_token_shows_in_a_repr() -> None:
    assert "canary" not in repr(with_tokens(INDEX_TOKEN="canary1", DEEP="canary2"))


def test_a_user_in_the_url_counts_before_a_token() -> None:
    known = with_tokens(INDEX_TOKEN="canary1")
    assert known.authorization("https://me:pw@h.example/simple/x") == "Basic bWU6cHc="
    assert known.embed("https://h.example/simple/x") == "https://h.example/simple/x"


@pytest.mark.parametrize(
    ("url", "prefix", "below"),
    [
        ("https://h.example/a/b", "https://h.example/a/", True),
        ("https://h.example/a", "https://h.example/a/", True),
        ("https://h.example/ab", "https://h.example/a", False),
        ("https://h.example:443/a", "https://h.example", True),
        ("https://H.EXAMPLE/a", "https://h.example", True),
    ],
)
def test_a_url_is_below_another_in_whole_parts_of_its_path(url: str, prefix: str, *, below: bool) -> None:
    assert is_below(url, prefix) is below


def netrc(folder: Path, text: str) -> str:
    path = folder / "netrc"
    path.write_text(text)
    return str(path)


def test_netrcs_entry_for_any_host_is_not_for_one_that_a_redirect_leads_to(tmp_path: Path) -> None:
    env = {"NETRC": netrc(tmp_path, "machine a.example login a password 1\ndefault login d password 2\n")}
    known = Credentials.of((), env)
    assert known.find("https://b.example/x") == ("d", "2")
    assert known.find("https://b.example/x", redirected=True) is None
    assert known.find("https://a.example/x", redirected=True) == ("a", "1")


def stored(folder: Path, text: str) -> dict[str, str]:
    (folder / "credentials.toml").write_text(text)
    return {"UV_CREDENTIALS_DIR": str(folder), "HOME": "/nowhere"}


STORE = """
[[credential]]
service = "https://a.example/"
username = "me"
scheme = "basic"
password = "canary1"

[[credential]]
service = "https://b.example/simple"
scheme = "bearer"
token = "canary2"

[[credential]]
service = "https://c.example/"
scheme = "bearer"
token = "old"
expires-at = "2020-01-01T00:00:00Z"
"""


def test_what_uv_has_stored_is_used(tmp_path: Path) -> None:
    known = Credentials.of((), stored(tmp_path, STORE))
    assert known.find("https://a.example/x") == ("me", "canary1")
    assert known.authorization("https://b.example/simple/x/") == "Bearer canary2"
    assert known.authorization("https://b.example/files/x") is None
    assert known.authorization("https://c.example/x") is None
    assert "canary1" in known.secrets
    assert "canary2" in known.secrets


def test_a_store_that_is_not_there_or_not_understood_holds_nothing(tmp_path: Path) -> None:
    assert read_entries({"UV_CREDENTIALS_DIR": str(tmp_path)}) == ()
    assert read_entries(stored(tmp_path, "= broken")) == ()
    assert read_entries(stored(tmp_path, "credential = 1")) == ()


def test_uvs_store_for_one_run_holds_ours_and_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    env = stored(tmp_path / "own", STORE)
    ours = [Entry("https://a.example", "you", "new"), Entry("https://d.example/simple", token="t0ken")]
    made = uv_credentials.environment(ours, env, tmp_path)
    path = Path(made["UV_CREDENTIALS_DIR"]) / "credentials.toml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    found = {entry.service: entry for entry in read_entries(made)}
    assert (found["https://a.example"].user, found["https://a.example"].password) == ("you", "new")
    assert found["https://b.example/simple"].token == "canary2"
    assert found["https://d.example/simple"].token == "t0ken"
    assert "https://a.example/" not in found


def test_uv_gets_no_store_where_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert uv_credentials.environment([], {"HOME": "/nowhere"}, tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_netrc_that_says_something_else_of_a_host_is_kept_from_uv(tmp_path: Path) -> None:
    text = (
        "machine a.example login x password 1\n"
        'machine b.example\nlogin "y z"\npassword "q\\"w"\n'
        "default login d password 2\n"
    )
    env = {"NETRC": netrc(tmp_path, text), "HOME": "/nowhere"}
    made = uv_credentials.environment([Entry("https://a.example", token="t")], env, tmp_path)
    known = Credentials.of((), made)
    assert known.find("https://a.example/x") is None
    assert known.find("https://b.example/x") == ("y z", 'q"w')
    assert known.find("https://c.example/x") is None
    assert stat.S_IMODE(Path(made["NETRC"]).stat().st_mode) == 0o600


def test_a_netrc_that_says_nothing_of_it_stays_where_it_is(tmp_path: Path) -> None:
    env = {"NETRC": netrc(tmp_path, "machine b.example login x password 1\n"), "HOME": "/nowhere"}
    assert "NETRC" not in uv_credentials.environment([Entry("https://a.example", token="t")], env, tmp_path)


def test_a_configured_user_counts_above_its_url_until_another_is_there() -> None:
    urls = (
        "https://a:1@h.example/team-a/simple",
        "https://b:2@h.example/team-b/simple",
        "https://c:3@i.example/s",
    )
    found = {entry.service: entry.user for entry in Credentials(urls).entries()}
    assert found == {
        "https://h.example/team-a/simple": "a",
        "https://h.example/team-a": "a",
        "https://h.example/team-b/simple": "b",
        "https://h.example/team-b": "b",
        "https://i.example/s": "c",
        "https://i.example": "c",
    }


def test_what_uv_would_not_take_from_its_store_stays_in_the_url() -> None:
    known = Credentials(("http://a:1@far.example/simple", "http://b:2@127.0.0.1:8080/simple"))
    assert [entry.user for entry in known.entries() if entry.service.endswith("simple")] == ["b"]
    assert known.bare("http://a:1@far.example/simple") == "http://a:1@far.example/simple"
    assert known.bare("http://b:2@127.0.0.1:8080/simple") == "http://127.0.0.1:8080/simple"
    assert known.bare("https://${TOKEN}@h.example/simple") == "https://${TOKEN}@h.example/simple"


@pytest.fixture
def keyring_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `keyring` that knows one password, and notes what it is asked."""
    program = tmp_path / "bin" / "keyring"
    program.parent.mkdir()
    log = tmp_path / "asked"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {log}\n[ "$2 $3" = "k.example:8443 me" ] && echo canary && exit 0\nexit 1\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    keyring.password.cache_clear()
    return log


def test_the_keyring_is_asked_for_a_user_without_a_password_once(keyring_command: Path) -> None:
    url = "https://me@k.example:8443/simple"
    known = Credentials.of((url,), {"HOME": "/nowhere"}, machine=MachineConfig(keyring=True))
    assert known.find("https://k.example:8443/files/x.whl") == ("me", "canary")
    assert known.find(url) == ("me", "canary")
    asked = ["get https://k.example:8443/simple me", "get k.example:8443 me"]
    assert keyring_command.read_text().splitlines() == asked
    assert known.bare(url) == "https://k.example:8443/simple"


def test_without_the_setting_a_user_alone_is_a_token(keyring_command: Path) -> None:
    known = Credentials.of(("https://t0ken@k.example/simple",), {"HOME": "/nowhere"}, machine=MachineConfig())
    assert known.find("https://k.example/x") == ("t0ken", "")
    assert not keyring_command.exists()


def test_no_keyring_command_is_no_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    keyring.password.cache_clear()
    assert keyring.password("https://k.example/simple", "me") is None
