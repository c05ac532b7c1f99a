"""What tests of requirements share: an app's words, parsed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lock_samples import app

from builder.requirements import Requirement, Requirements, Step, parse_requirements

if TYPE_CHECKING:
    from pathlib import Path

SHA = "a1" * 32


def parse(root: Path, *steps: tuple[str, ...], **env: str) -> Requirements:
    return parse_requirements(app(root, *steps), env)


def step(root: Path, *words: str, **env: str) -> Step:
    (found,) = parse(root, words, **env).steps
    return found


def only(root: Path, *words: str, **env: str) -> Requirement:
    (found,) = step(root, *words, **env).requirements
    return found


def lines(found: Step) -> list[str]:
    return [requirement.line for requirement in found.requirements]


def project(folder: Path, content: str = "[project]\nname = 'x'\nversion = '1'\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(content)
    return folder
