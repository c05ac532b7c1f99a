"""The expression as a file: which files it lists, and when it is stale."""

import pytest
from test_render import make_lock

from builder.errors import DeclarationError, LockError
from builder.expression_file import check_expression, expression_path, expression_text, write_expression
from builder.local.masking import Masker
from builder.models import AppSpec
from builder.settings import Settings

DIGEST = "sha256:" + "1" * 64


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "repository/.git").mkdir(parents=True)
    folder = tmp_path / "repository/app"
    folder.mkdir()
    (folder / "app.py").write_text("")
    return folder


def text_of(folder, secrets=(), **changes):
    spec = AppSpec(
        **{
            "name": "app",
            "class_name": "App",
            "file": folder / "app.py",
            "root": folder,
            "local_python": "3.11",
            "requirements_context_dir": folder,
            "local_modules": {},
            **changes,
        }
    )
    return expression_text(spec, make_lock(), DIGEST, Settings(), Masker(secrets))


def listing(text):
    return [line.strip() for line in text.partition("code ?")[2].partition("};")[0].splitlines()]


def test_files_that_lie_as_they_do_in_the_image_are_named(folder):
    (folder / "data").mkdir()
    (folder / "data/a.txt").write_text("")
    lines = listing(text_of(folder, app_files=("data",)))
    assert "root = ./.;" in lines
    assert '"data/a.txt"' in lines
    assert not any(line.startswith("placed") for line in lines)


def test_a_link_to_what_does_not_come_along_is_that_file_placed_there(folder):
    (folder / "data").mkdir()
    (folder / "other.txt").write_text("")
    (folder / "data/link").symlink_to("../other.txt")
    lines = listing(text_of(folder, app_files=("data",)))
    assert '"data/link" = "other.txt";' in lines


def test_a_folder_above_the_lock_is_named_by_the_way_up(folder):
    (folder.parent / "shared.py").write_text("")
    lines = listing(text_of(folder, app_files=("shared.py",), app_files_context_dir=folder.parent))
    assert "root = ./.." + ";" in lines
    assert '"shared.py"' in lines
    assert '"app/app.py"' in lines


def test_files_outside_the_repository_are_refused(folder):
    outside = folder.parent.parent
    (outside / "shared.py").write_text("")
    with pytest.raises(DeclarationError, match="can read no more than"):
        text_of(folder, app_files=("shared.py",), app_files_context_dir=outside)


def test_a_file_that_would_be_masked_is_refused(folder):
    (folder / "app.py").write_text("https://user:Canary-12345@host/simple")
    with pytest.raises(DeclarationError, match=r"app\.py has a credential") as caught:
        text_of(folder, secrets=["Canary-12345"])
    assert "Canary" not in str(caught.value)


def test_the_file_lies_beside_the_lock(tmp_path):
    assert expression_path(tmp_path / "pylock.app-aarch64.toml") == tmp_path / "image.app-aarch64.nix"


def test_what_is_written_passes_the_check_and_is_not_written_again(tmp_path):
    path = tmp_path / "image.app.nix"
    assert write_expression(path, "one\ntwo\n")
    check_expression(path, "one\ntwo\n", "app.py")
    assert not write_expression(path, "one\ntwo\n")


def test_a_stale_file_is_told_with_its_first_change(tmp_path):
    path = tmp_path / "image.app.nix"
    with pytest.raises(LockError, match="is missing"):
        check_expression(path, "one\n", "app.py")
    write_expression(path, "one\ntwo\n")
    with pytest.raises(LockError, match="line 2 says 'two', and would say 'three'") as caught:
        check_expression(path, "one\nthree\n", "app.py")
    assert caught.value.hint == "builder render --write app.py"
    with pytest.raises(LockError, match="it has 2 lines, and would have 1"):
        check_expression(path, "one\n", "app.py")


def test_an_app_file_list_does_not_name_the_expression_itself(folder):
    (folder / "image.app.nix").write_text("")
    (folder / "flake.lock").write_text("")
    (folder / "flake.nix").write_text("")
    lines = listing(text_of(folder, app_files=(".",)))
    assert '"flake.nix"' in lines
    assert '"image.app.nix"' not in lines
    assert '"flake.lock"' not in lines
