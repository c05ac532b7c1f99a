from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builder.errors import DeclarationError
from builder.settings import Settings, expand, read_settings

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path, text: str) -> Path:
    (folder / "pyproject.toml").write_text(text)
    return folder


def test_a_folder_without_pyproject_has_the_defaults(tmp_path: Path) -> None:
    assert read_settings(tmp_path) == Settings()


def test_tokens_are_named_by_url_and_variable(tmp_path: Path) -> None:
    text = """[tool.builder.tokens]\n"https://h.example/simple" = "${INDEX_TOKEN}"\n"""
    assert read_settings(write(tmp_path, text)).tokens == {"https://h.example/simple": "${INDEX_TOKEN}"}


@pytest.mark.parametrize(
    ("url", "token", "said"),
    [
        (
            "https://h.example/",
            "canary-literal",
            "the token for https://h.example/ must be the name of an environment",
        ),
        ("https://h.example/", "x${TOKEN}", "must be the name of an environment variable"),
        ("http://h.example/", "${TOKEN}", "is not an https URL"),
        ("h.example", "${TOKEN}", "is not an https URL"),
        ("https://me:canary@h.example/", "${TOKEN}", "without a user"),
    ],
)
def test_a_token_in_the_file_or_for_an_open_connection_is_refused(
    tmp_path: Path, url: str, token: str, said: str
) -> None:
    with pytest.raises(DeclarationError, match=r"tool\.builder\.tokens: ") as caught:
        read_settings(write(tmp_path, f"[tool.builder.tokens]\n'{url}' = '{token}'\n"))
    assert said in str(caught.value)
    assert "canary" not in str(caught.value)


def test_every_setting_is_read_under_its_dashed_name(tmp_path: Path) -> None:
    settings = read_settings(
        write(
            tmp_path,
            """
            [tool.builder]
            portable = true
            bytecode = false
            python = "3.13"
            index-strategy = "unsafe-best-match"
            suites = { "3.12" = "trixie" }
            [tool.builder.mirrors]
            debian-security = "https://deb.example.org/debian-security"
            index = "https://${TOKEN}@example.org/simple"
            [tool.builder.apps.upscale]
            ref = "app.py::Upscale"
            """,
        )
    )
    assert settings.portable
    assert not settings.bytecode
    assert settings.python == "3.13"
    assert settings.index_strategy == "unsafe-best-match"
    assert settings.suites == {"3.12": "trixie"}
    assert settings.mirrors["debian-security"].endswith("/debian-security")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[tool.builder]\nportabel = true", ["tool.builder.portabel", "did you mean portable?"]),
        ("[tool.builder]\nzzz = 1", ["tool.builder.zzz", "there are: apps, builders"]),
        ("[tool.builder.mirrors]\ndebain = 'x'", ["tool.builder.mirrors.debain", "did you mean debian?"]),
        ("[tool.builder]\npython = 3.10", ["tool.builder.python", "must be a string"]),
        ("[tool.builder]\nportable = 'perhaps'", ["tool.builder.portable", "boolean"]),
        ("[tool.builder]\nindex-strategy = 'any'", ["tool.builder.index-strategy", "first-index"]),
        ("[tool.builder\n", ["not valid TOML", "line 1"]),
        ("tool.builder = 3", ["tool.builder is not a table"]),
    ],
)
def test_what_is_no_setting_is_refused_by_name_and_file(tmp_path: Path, text: str, parts: list[str]) -> None:
    with pytest.raises(DeclarationError) as caught:
        read_settings(write(tmp_path, text))
    for part in [str(tmp_path / "pyproject.toml"), *parts]:
        assert part in str(caught.value)


def test_a_missing_variable_is_named_with_the_setting_that_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESENT", "value")
    assert expand("https://${PRESENT}@h", "tool.builder.mirrors.index") == "https://value@h"
    with pytest.raises(DeclarationError, match=r"tool\.builder\.mirrors\.index names .* ABSENT_ONE"):
        expand("https://${ABSENT_ONE}@h", "tool.builder.mirrors.index")
