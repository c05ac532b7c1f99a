"""What parsing an app's requirements gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from builder.settings import IndexStrategy


@dataclass(frozen=True)
class GitSource:
    """A git repository that a package is built from.

    Attributes:
        url: what git is given, without `git+`; may hold credentials.
        shown: the same without credentials; the user of an ssh URL is none.
        revision: branch, tag or commit; None for the default branch.
        subdirectory: the project's folder in it, or None.
    """

    url: str = field(repr=False)
    shown: str
    revision: str | None = None
    subdirectory: str | None = None


@dataclass(frozen=True)
class DirectorySource:
    """A local project that a package is built from.

    Attributes:
        path: its folder, absolute, which holds a pyproject.toml or a setup.py.
        digest: sha256 hex over the files in it that say what it depends on; its other files are app code, and
            decide nothing of a lock.
    """

    path: Path
    digest: str = ""


@dataclass(frozen=True)
class ArchiveSource:
    """An archive that a package is built from.

    Attributes:
        url: http, https or file URL without fragment; may hold credentials.
        filename: its last part, percent-decoded.
        subdirectory: the project's folder in it, or None.
    """

    url: str = field(repr=False)
    filename: str
    subdirectory: str | None = None


@dataclass(frozen=True)
class Requirement:
    """One package asked for, or one constraint upon what may be chosen.

    Attributes:
        name: normalized project name (PEP 503); None where only building tells it.
        line: what a resolver is given, with environment variables replaced: it may hold credentials. Empty where
            there is a source.
        shown: as written, credentials masked: for messages and locks.
        where: its place, "Upscale.requirements[2]" or "Upscale.requirements[3]: requirements.txt line 4".
        url: for a wheel named by URL or path, that URL with its credentials, without fragment; else None.
        filename: for such a wheel, its file name.
        source: what it is built from, where the requirement itself says so.
        extras: normalized, sorted.
        marker: PEP 508, or None.
        hashes: those that the file may have, as `algorithm:hex`, sorted; empty for any.
    """

    name: str | None
    line: str = field(repr=False)
    shown: str
    where: str
    url: str | None = field(default=None, repr=False)
    filename: str | None = None
    source: GitSource | DirectorySource | ArchiveSource | None = None
    extras: tuple[str, ...] = ()
    marker: str | None = None
    hashes: tuple[str, ...] = ()

    def canonical(self) -> str:
        """The requirement as text without secrets: all that decides what is chosen for it."""
        parts = [self.shown, *(f"--hash={value}" for value in self.hashes)]
        if isinstance(self.source, DirectorySource):
            parts.append(f"(build files {self.source.digest[:16]})")
        return " ".join(parts)


@dataclass(frozen=True)
class Step:
    """One install step.

    Attributes:
        requirements: in the order they stand, those of requirements files among them.
        constraints: what of a package may be chosen if it is; those of constraints files. None has a source.
        index_url: URL that replaces the default index; URLs here may hold credentials.
        extra_index_urls: further indexes, in order.
        find_links: pages or folders of files, as URLs.
        no_index: look on no index, only at find-links.
        index_strategy: uv's, or None.
        pre: whether pre-releases are wanted.
        no_binary: normalized names that are to be built from source, or ":all:". A name in `only_binary` is an
            exception to ":all:" here, and the other way round; no name is in both.
        only_binary: normalized names that are not to be built from source, or ":all:".
        no_deps: whether dependencies stay away.
        require_hashes: whether nothing may be chosen that no hash is written for.
        no_build_isolation: whether builds see what earlier steps installed, and nothing else.
        shown: the options that decide anything, as written, credentials masked, as `--option=value`.
    """

    requirements: tuple[Requirement, ...] = ()
    constraints: tuple[Requirement, ...] = ()
    index_url: str | None = field(default=None, repr=False)
    extra_index_urls: tuple[str, ...] = field(default=(), repr=False)
    find_links: tuple[str, ...] = field(default=(), repr=False)
    no_index: bool = False
    index_strategy: IndexStrategy | None = None
    pre: bool = False
    no_binary: tuple[str, ...] = ()
    only_binary: tuple[str, ...] = ()
    no_deps: bool = False
    require_hashes: bool = False
    no_build_isolation: bool = False
    shown: tuple[str, ...] = ()

    @property
    def has_options(self) -> bool:
        """Whether anything in it holds for its own packages and not for those of other steps."""
        return bool(self.shown or self.constraints or self.require_hashes)

    @property
    def urls(self) -> tuple[str, ...]:
        """Every URL its options name."""
        return (*((self.index_url,) if self.index_url else ()), *self.extra_index_urls, *self.find_links)

    def hashes(self, name: str) -> tuple[str, ...]:
        """The hashes that a package's file may have, by its normalized name; empty for any."""
        return tuple(sorted({value for line in self._hashed(name) for value in line.hashes}))

    def place(self, name: str) -> str:
        """Where the hashes of a package are written, for the beginning of an error; "" where there are none."""
        return next((f"{line.where}: " for line in self._hashed(name)), "")

    def _hashed(self, name: str) -> tuple[Requirement, ...]:
        """The lines that give a package hashes: requirements before constraints."""
        for lines in (self.requirements, self.constraints):
            found = tuple(line for line in lines if line.name == name and line.hashes)
            if found:
                return found
        return ()

    def canonical(self) -> tuple[str, ...]:
        """The step as text without secrets, the same whatever the order of its requirements."""
        return (
            *self.shown,
            *sorted({f"constraint: {constraint.canonical()}" for constraint in self.constraints}),
            *sorted({requirement.canonical() for requirement in self.requirements}),
        )


@dataclass(frozen=True)
class Requirements:
    """All steps of an app.

    Attributes:
        steps: in order; empty ones are left out.
        secrets: values that must appear in no file and no message.
    """

    steps: tuple[Step, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)


def declared_url(requirements: Requirements, filename: str) -> str | None:
    """The URL an app gives for a wheel or an archive, with the credentials that a lock's lacks.

    Args:
        requirements: the app's.
        filename: of the file.

    Returns:
        The URL; None when the app gives none.
    """
    for step in requirements.steps:
        for requirement in (*step.requirements, *step.constraints):
            source = requirement.source
            if isinstance(source, ArchiveSource) and source.filename == filename:
                return source.url
            if requirement.filename == filename:
                return requirement.url
    return None
