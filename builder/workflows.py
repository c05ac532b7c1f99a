"""Writes the workflow by which a forge builds, checks, compares and pushes a repository's images."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import jinja2

from builder import process, resources
from builder.errors import DeclarationError
from builder.redact import redact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.app_search import FoundApp

Forge = Literal["github", "gitlab"]
FILES: dict[Forge, Path] = {
    "github": Path(".github/workflows/images.yml"),
    "gitlab": Path(".gitlab-ci.yml"),
}
"""Where each forge looks for it, from the top of the repository."""


def workflow(forge: Forge, apps: Sequence[FoundApp], *, requirement: str, branch: str) -> str:
    """A workflow's text.

    Args:
        forge: whose it is.
        apps: what it builds.
        requirement: what pip installs to have this program.
        branch: the one whose images are pushed.

    Raises:
        DeclarationError: the requirement is none, or has credentials in it.
    """
    if redact(requirement) != requirement:
        raise DeclarationError(
            f"{redact(requirement)!r} has credentials in it, and a workflow is in the repository",
            hint="Leave them out; pip reads them from its configuration or from netrc.",
        )
    if not requirement.strip() or requirement.startswith("-") or "\n" in requirement:
        raise DeclarationError(
            f"{requirement!r} is nothing that pip installs", hint="Write builder==1.0, or builder @ URL."
        )
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resources.templates()),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - it is YAML; values go through `yaml`
    )
    environment.filters["yaml"] = json.dumps  # JSON's strings are YAML's
    template = environment.get_template(f"ci/{forge}.yml.j2")
    return template.render(apps=apps, requirement=requirement, branch=branch)


def require_top(folder: Path) -> None:
    """See that a folder is the top of its repository, where forges look for workflows, or in no repository.

    Raises:
        DeclarationError: it is below the top.
    """
    if (folder / ".git").exists():
        return
    for parent in folder.parents:
        if (parent / ".git").exists():
            raise DeclarationError(
                f"{folder} is not the top of the repository, where forges look for workflows",
                hint=f"Run this in {parent}, and name the targets: {folder.relative_to(parent)}/app.py::Class.",
            )


def default_branch(folder: Path) -> str:
    """The branch that a repository's clone was made from, or the one that is checked out, or `main`."""
    for words in (
        ["symbolic-ref", "--short", "refs/remotes/origin/HEAD"],
        ["symbolic-ref", "--short", "HEAD"],
    ):
        try:
            done = process.run(["git", "-C", str(folder), *words], stderr=subprocess.DEVNULL)
        except OSError:
            break
        if done.returncode == 0:
            return done.stdout.strip().removeprefix("origin/")
    return "main"
