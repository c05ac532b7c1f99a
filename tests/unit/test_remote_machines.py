"""Machines that builds are handed to: how they are written, and what is done when one is lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from builder import nix, remote
from builder.errors import BuildError, DeclarationError
from builder.progress import Display
from builder.settings import Settings, read_settings

if TYPE_CHECKING:
    from pathlib import Path

    from builder.nix_log import Log


@pytest.fixture(autouse=True)
def own_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nix, "has_own_store", lambda: True)
    monkeypatch.delenv("BUILDER_BUILDERS", raising=False)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "id"
    path.write_text("a key")
    return path


def read(*texts: str, base: Path | None = None) -> list[str]:
    machines = remote.read_machines(texts, base or __import__("pathlib").Path.cwd(), where="--builders")
    return [" ".join(machine.words) for machine in machines]


def test_machines_are_written_as_nix_has_them(key: Path) -> None:
    full = f"ssh-ng://nix@one x86_64-linux,aarch64-linux {key} 8 1.5 kvm,big-parallel - QUJD"
    assert read(full) == [full]
    assert read("ssh-ng://one ; ssh://two\nssh-ng://three  # the new one") == [
        "ssh-ng://one",
        "ssh://two",
        "ssh-ng://three",
    ]
    assert read("ssh-ng://one - - 4") == ["ssh-ng://one - - 4"]
    assert read("") == []


def test_a_file_of_machines_is_read(tmp_path: Path) -> None:
    (tmp_path / "machines").write_text("# ours\nssh-ng://one\n\nssh-ng://two x86_64-linux\n")
    assert read("@machines", base=tmp_path) == ["ssh-ng://one", "ssh-ng://two x86_64-linux"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("one", "'one' is not the URL of a machine"),
        ("https://one", "is not the URL of a machine"),
        ("ssh-ng://", "is not the URL of a machine"),
        ("ssh-ng://me:hush@one", "has a password in it"),
        ("ssh-ng://one linux", "the system 'linux' is none"),
        ("ssh-ng://one - /no/such/key", "there is no key /no/such/key"),
        ("ssh-ng://one - - many", "the jobs 'many' are not a number"),
        ("ssh-ng://one - - 0", "the jobs '0' are not a number"),
        ("ssh-ng://one - - 1 fast", "the speed 'fast' is not a number"),
        ("ssh-ng://one - - 1 1 - - a:b", "the host key 'a:b' is not base64"),
        ("ssh-ng://one - - 1 1 - - QUJD more", "has 9 words"),
        ("@no-such-file", "cannot be read"),
    ],
)
def test_what_is_no_machine_is_refused_in_words(text: str, said: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        read(text)
    assert str(caught.value).startswith("--builders: ")
    assert said in str(caught.value)
    assert "hush" not in str(caught.value) + caught.value.hint


def test_a_key_that_only_the_daemon_can_see_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nix, "has_own_store", lambda: False)
    assert read("ssh-ng://one - /root/key") == ["ssh-ng://one - /root/key"]


def test_the_option_counts_before_the_variable_and_that_before_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.builder]\nbuilders = ["ssh-ng://c"]\n')
    settings = read_settings(tmp_path)

    def urls(*named: str) -> list[str]:
        return [machine.url for machine in remote.find_builders(settings, tmp_path, named=named)]

    assert urls() == ["ssh-ng://c"]
    monkeypatch.setenv("BUILDER_BUILDERS", "ssh-ng://b")
    assert urls() == ["ssh-ng://b"]
    assert urls("ssh-ng://a1", "ssh-ng://a2") == ["ssh-ng://a1", "ssh-ng://a2"]
    assert Settings.model_validate({"builders": "ssh-ng://d ; ssh-ng://e"}).builders == (
        "ssh-ng://d ; ssh-ng://e",
    )


def test_the_stores_url_has_the_keys_of_the_machine(key: Path) -> None:
    [machine] = remote.read_machines([f"ssh-ng://one - {key} 1 1 - - QU+/"], key.parent, where="")
    known = str(key).replace("/", "%2F")
    assert machine.store_url == f"ssh-ng://one?ssh-key={known}&base64-ssh-public-host-key=QU%2B%2F"


DRV = "/nix/store/abc-layer-numpy-2.0.drv"


def hand_over(log: Log, url: str) -> None:
    log.line("@nix " + json.dumps({"action": "start", "id": 1, "type": 105, "fields": [DRV, url, 1, 1]}))


def fail(log: Log, *before: str) -> None:
    for text in (*before, f"builder for '{DRV}' failed with exit code 1"):
        log.line("@nix " + json.dumps({"action": "msg", "level": 0, "msg": f"error: {text}"}))


class Site:
    """Machines, of which some are lost when they are first built on."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *, lost: list[str], unreachable: tuple[str, ...] = ()
    ) -> None:
        self.attempts: list[list[str]] = []
        self.lost = lost
        self.display = Display(enabled=False)

        def ping(url: str, _: object) -> None:
            if url in unreachable:
                raise BuildError("no route to host")

        monkeypatch.setattr(nix, "ping", ping)

    def build(self, *urls: str) -> str:
        machines = [remote.Machine(url, (url,)) for url in urls]
        return remote.build_with(machines, self.attempt, display=self.display)

    def attempt(self, log: Log, words: tuple[str, ...], variables: dict[str, str]) -> str:
        there = words[2].split(" ; ") if words else []
        assert bool(there) == ("NIX_SSHOPTS" in variables)
        self.attempts.append(there)
        for url in there:
            if url in self.lost:
                hand_over(log, url)
                fail(log, "unexpected end-of-file")
                raise log.failure()
        return "built"


def test_a_build_goes_on_without_machines_that_are_lost_and_at_last_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site = Site(monkeypatch, lost=["ssh-ng://a", "ssh-ng://b"])
    assert site.build("ssh-ng://a", "ssh-ng://b") == "built"
    assert site.attempts == [["ssh-ng://a", "ssh-ng://b"], ["ssh-ng://b"], []]
    said = capsys.readouterr().err
    assert "ssh-ng://a was lost in the middle of a build. It goes on with the others." in said
    assert "ssh-ng://b was lost in the middle of a build. It goes on here." in said


def test_a_machine_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site = Site(monkeypatch, lost=[], unreachable=("ssh-ng://a",))
    assert site.build("ssh-ng://a", "ssh-ng://b") == "built"
    assert site.attempts == [["ssh-ng://b"]]
    assert "ssh-ng://a is not of use, and is built without: no route to host" in capsys.readouterr().err


def test_a_step_that_fails_on_a_machine_is_not_tried_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nix, "ping", lambda *_: None)
    attempts = []

    def attempt(log: Log, *_: object) -> None:
        attempts.append(log)
        hand_over(log, "ssh-ng://a")
        fail(log, f"build of '{DRV}' on 'ssh-ng://a' failed: builder for '{DRV}' failed with exit code 1")
        raise log.failure()

    with pytest.raises(BuildError, match="layer-numpy"):
        remote.build_with(
            [remote.Machine("ssh-ng://a", ("ssh-ng://a",))], attempt, display=Display(enabled=False)
        )
    assert len(attempts) == 1


def test_the_users_own_ssh_options_have_the_first_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIX_SSHOPTS", "-o ConnectTimeout=3")
    assert remote.environment()["NIX_SSHOPTS"].startswith("-o ConnectTimeout=3 -o BatchMode=yes ")
