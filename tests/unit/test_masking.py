"""Credentials in files that come along."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builder import code
from builder.errors import DeclarationError
from builder.local.masking import Masker
from builder.project_tree import stage_project

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "canary_7f3aToken"


def copied(tmp_path: Path, text: str | bytes, *secrets: str) -> str:
    source = tmp_path / "source"
    source.write_bytes(text if isinstance(text, bytes) else text.encode())
    target = tmp_path / "target"
    return target.read_text() if Masker(secrets).copy(source, target) else source.read_text()


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"'git+https://{TOKEN}@h.example/r.git'", "'git+https://***@h.example/r.git'"),
        (f"TOKEN = {TOKEN!r}\nurl = f'https://{{TOKEN}}@h'", "TOKEN = '***'\nurl = f'https://{TOKEN}@h'"),
        (f"# é {TOKEN}{TOKEN}", "# é ******"),
        ("nothing", "nothing"),
    ],
)
def test_a_token_is_masked_wherever_it_stands(tmp_path: Path, text: str, masked: str) -> None:
    assert copied(tmp_path, text, TOKEN) == masked


def test_a_password_is_masked_as_it_is_and_percent_encoded(tmp_path: Path) -> None:
    text = "a = 'p/w@d 12'; b = 'https://u:p%2Fw%40d%2012@h'; c = 'https://u:p%2fw%40d+12@h'"
    assert copied(tmp_path, text, "p/w@d 12") == "a = '***'; b = 'https://u:***@h'; c = 'https://u:***@h'"


@pytest.mark.parametrize("word", ["main", "hunter", "simple-html", "12345678"])
def test_an_ordinary_word_is_masked_in_urls_alone(tmp_path: Path, word: str) -> None:
    text = f"{word} = 'https://u:{word}@h/{word}?a={word}&b={word}', '{word}'"
    assert copied(tmp_path, text, word) == f"{word} = 'https://u:***@h/***?a=***&b=***', '{word}'"


def test_what_is_too_short_to_be_told_from_anything_is_left(tmp_path: Path) -> None:
    assert copied(tmp_path, "https://abc@h/abc", "abc", "") == "https://abc@h/abc"


def test_a_file_that_is_no_text_and_holds_a_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="source would come along, and holds a credential") as caught:
        copied(tmp_path, b"\xff\xfe" + TOKEN.encode(), TOKEN)
    assert TOKEN not in str(caught.value)


def test_a_large_file_is_looked_through_and_not_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builder.local.masking._LARGEST", 10)
    monkeypatch.setattr("builder.local.masking._CHUNK", 7)
    assert copied(tmp_path, "x" * 100, TOKEN) == "x" * 100
    for before in range(20):
        with pytest.raises(DeclarationError, match="holds a credential"):
            copied(tmp_path, "x" * before + TOKEN + "y" * 20, TOKEN)


def test_what_comes_along_is_masked_and_the_user_is_told(tmp_path: Path) -> None:
    project, staged = tmp_path / "project", tmp_path / "staged"
    project.mkdir()
    for name in ("app.py", "pyproject.toml", "helper.py"):
        (project / name).write_text(f"# {TOKEN if name != 'helper.py' else ''}\n")
    (project / "app.py").chmod(0o755)
    shipped = code.Shipped(class_name="App", file=project / "app.py", app_files=(".",))
    staged.mkdir()
    (warning,) = code.stage(shipped, staged, Masker([TOKEN]))
    assert warning.startswith(
        "app.py, pyproject.toml: a credential of the app's requirements is written there"
    )
    assert (staged / "app.py").read_text() == "# ***\n"
    assert (staged / "app.py").stat().st_mode & 0o777 == 0o755
    assert (project / "app.py").read_text() == f"# {TOKEN}\n"
    (warning,) = stage_project(project, tmp_path / "source", Masker([TOKEN]))
    assert "app.py, pyproject.toml: a credential" in warning
    assert TOKEN not in (tmp_path / "source/pyproject.toml").read_text()
