"""The flake that is written for a repository."""

from importlib import metadata

import pytest

from builder import flake, resources
from builder.errors import DeclarationError, ToolError


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """A function that lets builder be installed from somewhere (PEP 610)."""

    def install(direct_url):
        class Distribution:
            def read_text(self, name):
                assert name == "direct_url.json"
                return direct_url

        monkeypatch.setattr(metadata, "distribution", lambda name: Distribution())

    return install


def test_the_input_is_the_commit_that_was_installed(installed):
    installed('{"url": "https://host/builder", "vcs_info": {"vcs": "git", "commit_id": "abc"}}')
    assert flake.own_input() == "git+https://host/builder?rev=abc"


def test_the_input_is_the_checkout_that_is_used(installed, tmp_path):
    installed(f'{{"url": "file://{tmp_path}", "dir_info": {{"editable": true}}}}')
    assert flake.own_input() == f"path:{tmp_path}"
    (tmp_path / ".git").mkdir()
    assert flake.own_input() == f"git+file://{tmp_path}"


@pytest.mark.parametrize("said", [None, '{"url": "https://host/builder.whl", "archive_info": {}}'])
def test_without_a_place_that_a_flake_can_name_the_user_is_asked(installed, said):
    installed(said)
    with pytest.raises(ToolError) as caught:
        flake.own_input()
    assert "--input" in caught.value.hint


def test_no_credential_is_written_down():
    with pytest.raises(DeclarationError) as caught:
        flake.check_input("git+https://user:Canary-12345@host/builder")
    assert "Canary" not in str(caught.value)
    assert flake.check_input("git+ssh://git@host/builder") == "git+ssh://git@host/builder"
    text = flake.flake_text("builder", {"debian": "https://user:Canary-12345@host/debian"})
    assert "Canary" not in text


def test_the_template_for_flake_init_is_what_is_written():
    written = (resources.templates() / "starter/flake.nix").read_text()
    assert written == flake.flake_text("flake:builder", {})
