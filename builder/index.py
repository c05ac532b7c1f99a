"""Finds the files that a lock pins: on this machine, at the URLs it has, or on the configured indexes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from builder.credentials import Credentials
from builder.errors import DeclarationError, NowhereError
from builder.fetch import Session, download, public_url
from builder.local_index import local_path
from builder.machine_config import machine_config, without_name
from builder.requirements import Requirements, Step, declared_url
from builder.tags import Target
from builder.uvtool import Indexes, Query, UvError, compile_pins

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path

    from builder.machine_config import MachineConfig
    from builder.models import Lock, Wheel
    from builder.settings import Settings

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
    """Finds a lock's wheels.

    Args:
        lock: the lock.
        settings: the project's.
        folder: the project's folder, where uv runs.
        requirements: the app's, whose options name more indexes and whose URLs hold credentials.
        report: told what goes on.
    """

    def __init__(
        self,
        lock: Lock,
        settings: Settings,
        folder: Path,
        requirements: Requirements | None = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self.lock = lock
        self.settings = settings
        self.folder = folder
        self.requirements = requirements or Requirements()
        self.report = report or (lambda _: None)
        self.target = Target.of_base(lock.base, lock.architecture)
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
            Credentials.of(url for indexes in self.indexes for url in indexes.urls),
            cert=self.machine.cert,
            insecure_hosts=self.machine.insecure_hosts,
        )

    def locate(self, wanted: Collection[str] | None = None, gone: Collection[str] = ()) -> dict[str, Source]:
        """Say where wheels are to be had.

        A file on this machine is preferred, then the URL that the app itself gives, then the lock's, then
        what an index offers under that name with that hash; with a mirror in the settings, the index comes
        before the lock's URL.

        Args:
            wanted: sha256 of the wheels to find; None for all.
            gone: sha256 of the wheels whose URLs were tried and do not serve them any more.

        Returns:
            By sha256 (hex).

        Raises:
            NowhereError: a wheel is nowhere; the message names it and its hash.
            DeclarationError: a wheel needs a credential whose variable is not set.
        """
        wheels = [wheel for wheel in self.lock.wheels if wanted is None or wheel.sha256 in wanted]
        found: dict[str, Source] = {}
        rest: list[Wheel] = []
        mirrored = "index" in self.settings.mirrors
        for wheel in wheels:
            source = self._local(wheel) or self._declared(wheel, gone)
            if source is None and not mirrored and wheel.sha256 not in gone:
                source = self._hinted(wheel)
            if source is not None:
                found[wheel.sha256] = source
            else:
                rest.append(wheel)
        for indexes in self._variants() if rest else ():
            self.report(f"Looking for {len(rest)} wheels on the configured indexes")
            found |= self._on(indexes, rest)
            rest = [wheel for wheel in rest if wheel.sha256 not in found]
            if not rest:
                break
        for wheel in list(rest):
            source = self._hinted(wheel) if mirrored and wheel.sha256 not in gone else None
            if source is not None:
                found[wheel.sha256] = source
                rest.remove(wheel)
        if rest:
            unset = _unset(url for indexes in self.indexes for url in indexes.urls)
            names = "\n".join(
                f"  {wheel.filename} sha256 {wheel.sha256}{self._other(wheel)}" for wheel in rest
            )
            raise NowhereError(
                f"{_counted(len(rest), 'locked file is', 'locked files are')} neither on this machine nor on a "
                f"configured index:\n{names}",
                hint=f"Set {', '.join(unset)}, which the app's index URLs name, and build again."
                if unset
                else "Configure uv or pip for the index that has them, or lock anew: builder lock "
                + " ".join(f"--upgrade-package {wheel.name}" for wheel in rest),
            )
        return found

    def download(
        self,
        wheel: Wheel,
        source: Source,
        folder: Path,
        progress: Callable[[int, int | None], None] | None = None,
    ) -> Path:
        """Fetch a wheel from where `locate` found it. Raises FetchError; see `builder.fetch.download`."""
        url = source.private_url or source.url
        assert url is not None
        return download(
            url,
            sha256=wheel.sha256,
            size=wheel.size,
            folder=folder,
            session=self.session,
            progress=progress,
            filename=wheel.filename,
        )

    def _option_steps(self) -> Iterator[Step]:
        for step in self.requirements.steps:
            if step.has_options:
                yield replace(step, requirements=())

    def _local(self, wheel: Wheel) -> Source | None:
        return next((Source(path=path) for path in self._candidates(wheel) if _has_hash(path, wheel)), None)

    def _other(self, wheel: Wheel) -> str:
        """Names the files of this machine that have a wheel's name and another content."""
        paths = dict.fromkeys(path for path in self._candidates(wheel) if path.is_file())
        return "".join(f"\n    {path} has another content" for path in paths)

    def _candidates(self, wheel: Wheel) -> list[Path]:
        candidates = [local_path(wheel.url)] if wheel.url and wheel.url.startswith("file:") else []
        candidates += [self.folder / wheel.filename]
        for indexes in self.indexes:
            candidates += [
                local_path(url) / wheel.filename for url in indexes.find_links if url.startswith("file:")
            ]
        return candidates + self.local_files.get(wheel.filename, [])

    def _declared(self, wheel: Wheel, gone: Collection[str]) -> Source | None:
        url = declared_url(self.requirements, wheel.filename) if wheel.direct else None
        return self._source(url, wheel) if url and wheel.sha256 not in gone else None

    def _hinted(self, wheel: Wheel) -> Source | None:
        return self._source(wheel.url, wheel) if wheel.url and not wheel.url.startswith("file:") else None

    def _source(self, url: str, wheel: Wheel) -> Source | None:
        if url.startswith("file:"):
            return Source(path=local_path(url)) if _has_hash(local_path(url), wheel) else None
        url = url.partition("#")[0]
        if unset := _unset((url, *(self.session.credentials.find(url) or ()))):
            raise DeclarationError(
                f"{wheel.filename} has to be fetched, which needs the environment variable {unset[0]}: it is not set",
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

    def _on(self, indexes: Indexes, wheels: Iterable[Wheel]) -> dict[str, Source]:
        """What these indexes offer of the wheels."""
        # No constraint of the machine's counts: what is asked for is pinned already. An index whose credentials
        # are not here is left out; `locate` says so when that matters.
        indexes = replace(
            indexes,
            constraints=(),
            default=None if indexes.default and _unset((indexes.default,)) else indexes.default,
            extra=tuple(url for url in indexes.extra if not _unset((url,))),
            find_links=tuple(url for url in indexes.find_links if not _unset((url,))),
        )
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


def _unset(texts: Iterable[str]) -> list[str]:
    """The variables that are named and were not replaced, since they are not set (`parse_requirements`)."""
    return sorted({name for text in texts for name in re.findall(r"\$\{([A-Z0-9_]+)\}", text)})


def _counted(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"


def _has_hash(path: Path, wheel: Wheel) -> bool:
    try:
        if wheel.size is not None and path.stat().st_size != wheel.size:
            return False
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return False
    return digest.hexdigest() == wheel.sha256
