"""The flake that is written for a repository."""

import pytest

from builder import flake, resources
from builder.errors import DeclarationError, ToolError
from builder.installed_from import check_reference, flake_reference


def test_the_input_is_the_commit_that_was_installed():
    said = '{"url": "https://host/builder", "vcs_info": {"vcs": "git", "commit_id": "abc"}}'
    assert flake_reference(said) == "git+https://host/builder?rev=abc"


def test_the_input_is_the_checkout_that_is_used(tmp_path):
    said = f'{{"url": "file://{tmp_path}", "dir_info": {{"editable": true}}}}'
    assert flake_reference(said) == f"path:{tmp_path}"
    (tmp_path / ".git").mkdir()
    assert flake_reference(said) == f"git+file://{tmp_path}"


@pytest.mark.parametrize("said", ["", '{"url": "https://host/builder.whl", "archive_info": {}}'])
def test_without_a_place_that_a_flake_can_name_the_user_is_asked(said):
    with pytest.raises(ToolError) as caught:
        flake_reference(said)
    assert "--input" in caught.value.hint


def test_no_credential_is_written_down():
    with pytest.raises(DeclarationError) as caught:
        check_reference("git+https://user:Canary-12345@host/builder")
    assert "Canary" not in str(caught.value)
    assert check_reference("git+ssh://git@host/builder") == "git+ssh://git@host/builder"
    text = flake.flake_text("builder", {"debian": "https://user:Canary-12345@host/debian"})
    assert "Canary" not in text


def test_the_template_for_flake_init_is_what_is_written():
    written = (resources.templates() / "starter/flake.nix").read_text()
    assert written == flake.flake_text("flake:builder", {})
