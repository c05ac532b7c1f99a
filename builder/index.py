"""Finds the files of packages that a lock pins: on this machine, at the URLs it has, or on the configured indexes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from packaging.version import Version

from builder import cuda
from builder.credentials import Credentials
from builder.errors import DeclarationError, NowhereError
from builder.fetch import FetchError, Session, download, fetching_for, public_url
from builder.local_index import local_path
from builder.machine_config import machine_config, without_name
from builder.requirements import Requirements, Step, declared_url
from builder.settings import mirror_logins, pytorch_mirror
from builder.simple_index import list_project
from builder.uvtool import Indexes, Query, UvError, compile_pins, default_index

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from builder.machine_config import MachineConfig
    from builder.models import PinnedFile
    from builder.settings import Settings
    from builder.tags import Target

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Source:
    """Where one file is to be had; exactly one of the three is set.

    Attributes:
        path: a file on this machine, whose hash has been checked.
        url: a URL that anyone can fetch: fit for Nix, a derivation and a log.
        private_url: a URL that needs the credentials that it holds or that are configured for it: for
            `Finder.download` only.
    """

    path: Path | None = None
    url: str | None = None
    private_url: str | None = field(default=None, repr=False)


class Finder:
    """Finds pinned files.

    Args:
        files: what may be asked for.
        target: what they were chosen for.
        settings: the project's.
        folder: the project's folder, where uv runs.
        requirements: the app's, whose options name more indexes and whose URLs hold credentials.
        report: told what goes on.
        note: told of attempts that failed and are made again.
    """

    def __init__(
        self,
        files: Sequence[PinnedFile],
        target: Target,
        settings: Settings,
        folder: Path,
        requirements: Requirements | None = None,
        report: Callable[[str], None] | None = None,
        note: Callable[[str], None] | None = None,
    ) -> None:
        self.files = tuple(files)
        self.target = target
        self.settings = settings
        self.folder = folder
        self.requirements = requirements or Requirements()
        self.report = report or (lambda _: None)
        self.machine: MachineConfig = machine_config(folder)
        self.indexes = [
            Indexes.of(step, settings, self.machine)
            for step in dict.fromkeys((Step(), *self._option_steps()))
        ]
        # By name, what the extra indexes hold that are folders of this machine.
        self.local_files: dict[str, list[Path]] = {}
        for link in dict.fromkeys(link for indexes in self.indexes for link in indexes.links):
            if link.url.startswith("file:"):
                self.local_files.setdefault(link.filename, []).append(local_path(link.url))
        self.session = Session(
            Credentials.of(
                (*(url for indexes in self.indexes for url in indexes.urls), *mirror_logins(settings)),
                machine=self.machine,
                tokens=settings.tokens,
            ),
            cert=self.machine.cert,
            insecure_hosts=self.machine.insecure_hosts,
            report=note,
        )

    def locate(self, wanted: Collection[str] | None = None, gone: Collection[str] = ()) -> dict[str, Source]:
        """Say where files are to be had.

        A file on this machine is preferred, then the URL that the app itself gives, then the lock's, then
        what an index offers under that name with that hash; with a mirror in the settings, the index comes
        before the lock's URL.

        Args:
            wanted: sha256 of the files to find; None for all.
            gone: sha256 of the files whose URLs were tried and do not serve them any more.

        Returns:
            By sha256 (hex).

        Raises:
            NowhereError: a file is nowhere; the message names it and its hash.
            DeclarationError: a file needs a credential whose variable is not set.
        """
        files = [file for file in self.files if wanted is None or file.sha256 in wanted]
        found: dict[str, Source] = {}
        rest: list[PinnedFile] = []
        mirrored = "index" in self.settings.mirrors
        for file in files:
            source = self._local(file) or self._declared(file, gone)
            if source is None and not mirrored and file.sha256 not in gone:
                source = self._hinted(file)
            if source is not None:
                found[file.sha256] = source
            else:
                rest.append(file)
        for indexes in self._variants() if rest else ():
            self.report(f"Looking for {len(rest)} files on the configured indexes")
            found |= self._on(indexes, [file for file in rest if file.filename.endswith(".whl")])
            found |= self._archives_on(indexes, [file for file in rest if not file.filename.endswith(".whl")])
            rest = [file for file in rest if file.sha256 not in found]
            if not rest:
                break
        for indexes, wheels in self._torch_builds(rest):
            found |= self._on(indexes, wheels)
        rest = [file for file in rest if file.sha256 not in found]
        for file in list(rest):
            source = self._hinted(file) if mirrored and file.sha256 not in gone else None
            if source is not None:
                found[file.sha256] = source
                rest.remove(file)
        if rest:
            unset = _unset(url for indexes in self.indexes for url in indexes.urls)
            names = "\n".join(f"  {file.filename} sha256 {file.sha256}{self._other(file)}" for file in rest)
            raise NowhereError(
                f"{_counted(len(rest), 'locked file is', 'locked files are')} neither on this machine nor on a "
                f"configured index:\n{names}",
                hint=f"Set {', '.join(unset)}, which the app's index URLs name, and build again."
                if unset
                else "Configure uv or pip for the index that has them, or lock anew: builder lock "
                + " ".join(f"--upgrade-package {file.name}" for file in rest),
            )
        return found

    def download(
        self,
        file: PinnedFile,
        source: Source,
        folder: Path,
        progress: Callable[[int, int | None], None] | None = None,
    ) -> Path:
        """Fetch a file from where `locate` found it. Raises FetchError; see `builder.fetch.download`."""
        url = source.private_url or source.url
        assert url is not None
        with fetching_for(self._asked_by(file)):
            return download(
                url,
                sha256=file.sha256,
                size=file.size,
                folder=folder,
                session=self.session,
                progress=progress,
                filename=file.filename,
            )

    def _asked_by(self, file: PinnedFile) -> str:
        """The requirement that names a file's package, or else the package, as a dependency."""
        for step in self.requirements.steps:
            for requirement in step.requirements:
                if requirement.name == file.name:
                    return f"{requirement.where}: {requirement.shown}"
        return f"{file.name} {file.version}"

    def _option_steps(self) -> Iterator[Step]:
        for step in self.requirements.steps:
            if step.has_options:
                yield replace(step, requirements=())

    def _local(self, file: PinnedFile) -> Source | None:
        return next((Source(path=path) for path in self._candidates(file) if _has_hash(path, file)), None)

    def _other(self, file: PinnedFile) -> str:
        """Names the files of this machine that have a file's name and another content."""
        paths = dict.fromkeys(path for path in self._candidates(file) if path.is_file())
        return "".join(f"\n    {path} has another content" for path in paths)

    def _candidates(self, file: PinnedFile) -> list[Path]:
        candidates = [local_path(file.url)] if file.url and file.url.startswith("file:") else []
        candidates += [self.folder / file.filename]
        for indexes in self.indexes:
            candidates += [
                local_path(url) / file.filename for url in indexes.find_links if url.startswith("file:")
            ]
        return candidates + self.local_files.get(file.filename, [])

    def _declared(self, file: PinnedFile, gone: Collection[str]) -> Source | None:
        url = declared_url(self.requirements, file.filename) if file.direct else None
        return self._source(url, file) if url and file.sha256 not in gone else None

    def _hinted(self, file: PinnedFile) -> Source | None:
        return self._source(file.url, file) if file.url and not file.url.startswith("file:") else None

    def _source(self, url: str, file: PinnedFile) -> Source | None:
        if url.startswith("file:"):
            return Source(path=local_path(url)) if _has_hash(local_path(url), file) else None
        url = url.partition("#")[0]
        if unset := _unset((url, *(self.session.credentials.find(url) or ()))):
            raise DeclarationError(
                f"{file.filename} has to be fetched, which needs the environment variable {unset[0]}: it is not set",
                hint=f"Set it where you build: export {unset[0]}=...",
            )
        public = public_url(url, self.session)
        return Source(url=public) if public else Source(private_url=url)

    def _variants(self) -> Iterator[Indexes]:
        """As configured, then each index by itself: of two that have a version uv shows one's files."""
        yield from self.indexes
        for url in dict.fromkeys(url for indexes in self.indexes for url in indexes.extra):
            yield replace(self.indexes[0], default=without_name(url), extra=())
        if self.indexes[0].extra:
            yield replace(self.indexes[0], extra=())

    def _torch_builds(self, files: Sequence[PinnedFile]) -> Iterator[tuple[Indexes, list[PinnedFile]]]:
        """PyTorch's index of each build that is locked (`+cu128`), and what of some files may be there."""
        own = [file for file in files if file.name in cuda.packages()]
        builds = {Version(file.version).local or "" for file in self.files if file.name in cuda.packages()}
        for build in sorted(build for build in builds if build == "cpu" or cuda.cuda_of(build)):
            # triton's files have no build in their version.
            wheels = [file for file in own if Version(file.version).local in (build, None)]
            if wheels:
                url = cuda.index_of(build, pytorch_mirror(self.settings))
                yield replace(self.indexes[0], default=url, extra=(), find_links=(), links=()), wheels

    def _on(self, indexes: Indexes, wheels: Sequence[PinnedFile]) -> dict[str, Source]:
        """What these indexes offer of some wheels."""
        if not wheels:
            return {}
        indexes = _reachable(indexes)
        pinned = {(wheel.name, wheel.version): wheel for wheel in wheels}
        lines = tuple(f"{name}=={version}" for name, version in pinned)
        found: dict[str, Source] = {}
        try:
            candidates = compile_pins(
                Query(lines=lines, deps=False, pre=True, secrets=self.requirements.secrets),
                self.target,
                indexes,
                self.folder,
            )
        except UvError:
            if len(pinned) == 1:
                return {}
            for wheel in pinned.values():
                found |= self._on(indexes, [wheel])
            return found
        for candidate in candidates:
            match = pinned.get((candidate.name, candidate.version))
            for wheel, file in ((match, file) for file in candidate.files if match):
                # An index that gives no hash is believed in the name: the file is checked when it is here.
                if file.sha256 == wheel.sha256 or (file.sha256 is None and file.filename == wheel.filename):
                    source = self._source(self.session.credentials.embed(file.url), wheel)
                    if source is not None:
                        found[wheel.sha256] = source
        return found

    def _archives_on(self, indexes: Indexes, archives: Sequence[PinnedFile]) -> dict[str, Source]:
        """What these indexes offer of some archives, of which uv tells nothing."""
        if not archives:
            return {}
        indexes = _reachable(indexes)
        default = default_index(indexes, self.folder)
        found: dict[str, Source] = {}
        for archive in archives:
            try:
                listed = list_project(archive.name, indexes, default, self.session)
            except FetchError:
                continue
            for file in listed:
                if file.sha256 == archive.sha256 or (
                    file.sha256 is None and file.filename == archive.filename
                ):
                    source = self._source(file.url, archive)
                    if source is not None:
                        found[archive.sha256] = source
        return found


def _reachable(indexes: Indexes) -> Indexes:
    """Those of some indexes whose credentials are here; `locate` says so when others matter.

    No constraint of the machine's counts: what is asked for is pinned already.
    """
    return replace(
        indexes,
        constraints=(),
        default=None if indexes.default and _unset((indexes.default,)) else indexes.default,
        extra=tuple(url for url in indexes.extra if not _unset((url,))),
        find_links=tuple(url for url in indexes.find_links if not _unset((url,))),
    )


def _unset(texts: Iterable[str]) -> list[str]:
    """The variables that are named and were not replaced, since they are not set (`parse_requirements`)."""
    return sorted({name for text in texts for name in re.findall(r"\$\{([A-Z0-9_]+)\}", text)})


def _counted(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"


def _has_hash(path: Path, pinned: PinnedFile) -> bool:
    try:
        if pinned.size is not None and path.stat().st_size != pinned.size:
            return False
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return False
    return digest.hexdigest() == pinned.sha256
