"""Brings sources into the store: archives, commits of git repositories, folders of this machine."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from builder import git, nix
from builder.fetch import download, fetching_for
from builder.files import scratch_folder
from builder.local.masking import Masker
from builder.models import PinnedFile, Source
from builder.redact import strip_url
from builder.requirements import ArchiveSource, DirectorySource, GitSource
from builder.simple_index import file_version
from builder.source_build import Fetched
from builder.source_files import look_into
from builder.sources import package_file
from builder.trees import TREE, commit_tree, stage_directory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.fetch import Session
    from builder.models import Built
    from builder.progress import Display
    from builder.requirements import Requirement
    from builder.simple_index import Listed

_CHUNK = 1 << 20


class SourceFetcher:
    """Fetches what packages are built from.

    Args:
        folder: that of the lock, which local projects' paths are relative to.
        cache: this program's cache folder.
        keep: packages of an earlier lock: a branch stays at the commit it had then.
        secrets: values that must be in no message, and in nothing that is copied.
        mirrored: whether the settings name a mirror of the default index, which a lock does not tell.
        display: shows what goes on.
    """

    def __init__(
        self,
        folder: Path,
        cache: Path,
        keep: Sequence[Built],
        secrets: tuple[str, ...],
        *,
        mirrored: bool,
        display: Display,
    ) -> None:
        self._folder = folder
        self._cache = cache
        self._keep = keep
        self._secrets = secrets
        self._mirrored = mirrored
        self._display = display

    def listed(self, name: str, listed: Listed, session: Session) -> Fetched:
        """An archive that an index lists.

        Raises:
            FetchError: it cannot be had.
            ResolveError: it is no archive of a Python project.
        """
        where = f"{name} {listed.version}"
        source = Source(
            kind="archive",
            filename=listed.filename,
            sha256=listed.sha256,
            url=None if self._mirrored else strip_url(listed.url, self._secrets),
        )
        return self._archive(name, source, listed.url, session, where)

    def required(self, requirement: Requirement, session: Session) -> Fetched:
        """The source that a requirement names itself.

        Raises:
            FetchError: it cannot be had.
            ResolveError: there is no such commit, or it holds no Python project.
            DeclarationError: a folder's files cannot be read.
            ToolError: git is missing.
        """
        source = requirement.source
        if isinstance(source, GitSource):
            return self._git(requirement, source, session)
        if isinstance(source, DirectorySource):
            return self._directory(requirement, source)
        assert isinstance(source, ArchiveSource)
        where = f"{requirement.where}: {requirement.shown}"
        pinned = Source(
            kind="archive",
            filename=source.filename,
            sha256=next((value[7:] for value in requirement.hashes if value.startswith("sha256:")), None),
            url=strip_url(source.url, self._secrets),
            subdirectory=source.subdirectory,
            direct=True,
        )
        return self._archive(requirement.name or "", pinned, source.url, session, where)

    def _archive(self, name: str, source: Source, url: str, session: Session, where: str) -> Fetched:
        assert source.filename is not None
        there = _in_store(name, source)
        if there is None:
            self._display.stage(f"Fetching {source.filename}")
            with scratch_folder() as scratch, fetching_for(where):
                path = download(
                    url,
                    sha256=source.sha256,
                    size=None,
                    folder=scratch,
                    session=session,
                    filename=source.filename,
                )
                source = source.model_copy(update={"sha256": _sha256(path)})
                there = package_file(_pinned(name, source), path)
                nix.add([there])
        path = Path(there.store_path)
        source = source.model_copy(update={"size": path.stat().st_size})
        files = look_into(path, source.subdirectory, where)
        return Fetched(name or _name(files.name, source.filename or ""), source, there, files, where)

    def _git(self, requirement: Requirement, source: GitSource, session: Session) -> Fetched:
        where = f"{requirement.where}: {requirement.shown}"
        kept = next(
            (
                built.source.commit
                for built in self._keep
                if built.source.kind == "git"
                and (built.source.url, built.source.revision) == (source.shown, source.revision)
            ),
            None,
        )
        with git.checkout(
            source.url,
            revision=source.revision,
            commit=kept,
            cache=self._cache,
            credentials=session.credentials,
            cert=session.cert,
            secrets=self._secrets,
            report=self._display.stage,
            where=where,
        ) as checkout:
            added = commit_tree(checkout.nar_sha256, checkout.tree)
            nix.add([added])
            files = look_into(checkout.tree, source.subdirectory, where)
            variables = git.version_variables(checkout.version) if checkout.version else {}
            pinned = Source(
                kind="git",
                sha256=checkout.nar_sha256,
                url=source.shown,
                commit=checkout.commit,
                revision=source.revision,
                subdirectory=source.subdirectory,
                direct=True,
            )
        repository = source.shown.rstrip("/").rpartition("/")[2].removesuffix(".git")
        name = requirement.name or _name(files.name, repository)
        return Fetched(name, pinned, added, files, where, variables)

    def _directory(self, requirement: Requirement, source: DirectorySource) -> Fetched:
        where = f"{requirement.where}: {requirement.shown}"
        path = Path(os.path.relpath(source.path, self._folder)).as_posix()
        pinned = Source(kind="directory", path=path, direct=True)
        with scratch_folder() as scratch:
            added, warnings = stage_directory(source.path, scratch / TREE, Masker(self._secrets))
            for warning in warnings:
                self._display.note(warning)
            nix.add([added])
            files = look_into(scratch / TREE, None, where)
        return Fetched(requirement.name or _name(files.name, source.path.name), pinned, added, files, where)


def _pinned(name: str, source: Source) -> PinnedFile:
    assert source.filename is not None
    assert source.sha256 is not None
    version = file_version(source.filename, name) or ""
    return PinnedFile(name=name, version=version, filename=source.filename, sha256=source.sha256)


def _in_store(name: str, source: Source) -> nix.Added | None:
    if source.sha256 is None:
        return None
    added = package_file(_pinned(name, source))
    return None if nix.missing([added]) else added


def _name(declared: str | None, otherwise: str) -> str:
    """What a project is called until its build says it: by its pyproject.toml, or else by its file or folder."""
    name = declared or otherwise
    return str(canonicalize_name(name)) if name.strip("-_.") else "project"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
