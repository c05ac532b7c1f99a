"""The folders of source that a locked app is built from: commits of git repositories, and local projects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from builder import git, nix
from builder.credentials import Credentials
from builder.errors import DeclarationError, ResolveError
from builder.library import staged
from builder.machine_config import machine_config
from builder.project_tree import stage_project
from builder.requirements import GitSource, parse_requirements

if TYPE_CHECKING:
    from collections.abc import Collection

    from builder.local.masking import Masker
    from builder.models import AppSpec, Built, Lock
    from builder.progress import Display
    from builder.requirements import Requirements

#: The name that folders of source have in the store, whatever project is in them.
TREE = "source"


def commit_tree(sha256: str, path: Path | None = None) -> nix.Added:
    """A commit's files as a path of the store; `path` is where they lie on disk, for adding them."""
    return nix.Added(path or Path(TREE), TREE, sha256, recursive=True)


def stage_directory(folder: Path, target: Path, masker: Masker) -> tuple[nix.Added, tuple[str, ...]]:
    """Copy what of a local project is its source into a folder that is to be added to the store.

    Returns:
        the path of the store that it will be, and warnings about what was left out or masked.

    Raises:
        DeclarationError: see `builder.project_tree.stage_project`.
    """
    warnings = stage_project(folder, target, masker)
    return staged(target, TREE), warnings


def stage_projects(
    lock: Lock, root: Path, scratch: Path, masker: Masker
) -> tuple[dict[str, nix.Added], tuple[str, ...]]:
    """Copy an app's local projects as they are now.

    Args:
        lock: the lock.
        root: its folder.
        scratch: an empty folder, where the copies are made.
        masker: masks secrets in the copies.

    Returns:
        by package, the path of the store that its source will be; and warnings.

    Raises:
        DeclarationError: a project is gone, or has a file that cannot be copied.
    """
    projects: dict[str, nix.Added] = {}
    warnings: list[str] = []
    for built in lock.built:
        if built.source.kind != "directory":
            continue
        folder = (root / (built.source.path or ".")).resolve()
        if not folder.is_dir():
            raise DeclarationError(
                f"{built.name} is locked as the local project {built.source.path}, and there is no folder {folder}",
                hint="Put it there again, or take it out of the app's requirements.",
            )
        projects[built.name], told = stage_directory(folder, scratch / built.name / TREE, masker)
        warnings += told
    return projects, tuple(warnings)


def supply_commits(
    lock: Lock, spec: AppSpec, *, cache: Path, display: Display, there: Collection[str] = ()
) -> None:
    """Put the files of locked commits into the store.

    Args:
        lock: the lock.
        spec: the app, whose requirements may name credentials by variable.
        cache: this program's cache folder.
        display: shows what goes on.
        there: paths that a binary cache has.

    Raises:
        ResolveError: a repository cannot be reached, or does not have the commit any more.
    """
    wanted = {
        commit_tree(built.source.sha256): built
        for built in lock.built
        if built.source.kind == "git" and built.source.sha256
    }
    missing = nix.missing(wanted, there)
    if not missing:
        return
    requirements = parse_requirements(spec, unset_ok=True)
    machine = machine_config(spec.root)
    urls = [url for step in requirements.steps for url in step.urls]
    for built in (wanted[added] for added in missing):
        source = built.source
        assert source.sha256 is not None
        with git.checkout(
            _declared_url(requirements, built),
            revision=source.revision,
            commit=source.commit,
            cache=cache,
            credentials=Credentials.of(urls, machine=machine),
            cert=machine.cert,
            secrets=requirements.secrets,
            report=display.stage,
            where=built.name,
        ) as checkout:
            if checkout.nar_sha256 != source.sha256:
                raise ResolveError(
                    f"{built.name}: the files of commit {source.commit} of {source.url} are not those that were "
                    f"locked: expected the NAR sha256 {source.sha256}, got {checkout.nar_sha256}",
                    hint="A submodule may have moved. Lock it anew: "
                    f"builder lock --upgrade-package {built.name}",
                )
            nix.add([commit_tree(source.sha256, checkout.tree)])


def _declared_url(requirements: Requirements, built: Built) -> str:
    """The repository's URL with the credentials that the app gives, which a lock's has not."""
    for step in requirements.steps:
        for requirement in step.requirements:
            source = requirement.source
            if isinstance(source, GitSource) and source.shown == built.source.url:
                return source.url
    return built.source.url or ""
