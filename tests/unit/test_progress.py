"""What is shown of long work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.progress import Display

if TYPE_CHECKING:
    import pytest


def work(display: Display) -> None:
    with display:
        display.stage("Fetching https://me:canary@h.example/x")
        display.started("build", "layer-numpy-2.0", 1)
        display.said("layer-numpy-2.0", "from https://me:canary@h.example/x")
        display.finished(1)


def test_without_a_terminal_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    work(Display(enabled=False))
    assert capsys.readouterr() == ("", "")


def test_verbose_is_lines_without_credentials(capsys: pytest.CaptureFixture[str]) -> None:
    work(Display(verbose=True))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "Fetching https://***@h.example/x",
        "build layer-numpy-2.0",
        "layer-numpy-2.0> from https://***@h.example/x",
    ]
