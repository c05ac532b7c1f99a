"""Builds all apps of a repository together: what they have in common is evaluated and built once.

They are loaded and locked a few at a time, and built in one Nix run (`builder.rounds`). An app that fails, at whatever
stage, leaves the others as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder import memory, nix, parallel, process, session
from builder.errors import BuilderError, DeclarationError
from builder.load import declare
from builder.notes import Notes, Part
from builder.repository import find_apps
from builder.rounds import Round, Work, failing
from builder.session import Built, Request
from builder.variant import lock_file, variant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.binary_cache import BinaryCache
    from builder.progress import Display

# Apps that are loaded or locked at a time: each is a Python or a uv of its own, which take a core and some memory.
_WORKERS = 2


@dataclass(frozen=True)
class Outcome:
    """What came of one app.

    Attributes:
        target: the app, as a target relative to the repository's folder.
        name: its name; None where it could not be loaded.
        built: its image; None where it failed.
        error: why it failed.
    """

    target: str
    name: str | None
    built: Built | None = None
    error: BuilderError | None = None


def build_all(folder: Path, request: Request, *, link: bool, display: Display) -> list[Outcome]:
    """Load, lock and build every app of a repository, or find that it was done before.

    Args:
        folder: the repository's.
        request: what was asked for; its target is not looked at.
        link: whether to put links to the images, `result-<app>`, into the working directory.
        display: shows what goes on.

    Returns:
        what came of each app, in the order of their targets.

    Raises:
        DeclarationError: there is no app.
        ToolError: Nix is missing.
    """
    try:
        return _Run(folder, request, display).build(link=link)
    except BaseException:
        # Threads that nobody waits for any more have programs running.
        process.kill_all()
        raise


class _Run:
    def __init__(self, folder: Path, request: Request, display: Display) -> None:
        self.folder = folder.absolute()
        self.request = request
        self.display = display
        self.notes = Notes()
        self.lost: set[BinaryCache] = set()

    def build(self, *, link: bool) -> list[Outcome]:
        self.display.stage(f"Looking for apps in {self.folder}")
        works = [Work(target) for target in find_apps(self.folder)]
        self._each("Loading", works, self._load)
        _refuse_twins(works)
        for work in works:
            if work.is_open:
                with failing(work):
                    self._recall(work, link=link)
        if missing := [work for work in works if work.is_open]:
            nix.require()
            # The first has Debian's indexes fetched for all of them.
            self._each("Locking", missing[:1], self._lock)
            self._each("Locking", missing[1:], self._lock)
            while pending := [work for work in missing if work.is_open]:
                Round(
                    pending,
                    self.request,
                    self.display,
                    part=self._part,
                    remember=self._memory,
                    lost=self.lost,
                ).build()
                self.notes.tell(self.display)
            new = [work for work in missing if work.image is not None and work.steps]
            apps = [work.app for work in new if work.app]
            caches = (session.cache_of(app, self.request) for app in apps)
            images = (work.image for work in new if work.image)
            session.fill_caches(zip(caches, images, strict=True), self.display)
        if link:
            self._each("Linking", [work for work in works if work.image], self._keep)
        return [self._outcome(work) for work in works]

    def _part(self, work: Work) -> Display:
        """The display of one app."""
        return Part(work.name, self.notes, verbose=self.display.verbose)

    def _each(self, doing: str, works: Sequence[Work], function: Callable[[Work], None]) -> None:
        """Do something for several apps at a time; one that fails has its error."""
        if not works:
            return
        self.display.stage(f"{doing} {len(works)} apps" if len(works) > 1 else f"{doing} {works[0].name}")
        done = 0

        def one(work: Work) -> None:
            nonlocal done
            with failing(work):
                function(work)
            done += 1
            self.display.counted(done, len(works))

        parallel.each(one, works, workers=_WORKERS)
        self.notes.tell(self.display)

    def _load(self, work: Work) -> None:
        work.fields = declare(work.target, interpreter=self.request.interpreter, cwd=self.folder)

    def _label(self, work: Work) -> str:
        return variant(work.name, work.fields["architecture"], self.request.architecture)

    def _memory(self, work: Work) -> memory.Memory:
        """Where the image of an app, as it is now, is remembered."""
        options = (self.request.python, self.request.architecture)
        lock = lock_file(work.fields["root"], self._label(work))
        return memory.Memory(session.cache_folder(), memory.key(work.fields, lock, options))

    def _recall(self, work: Work, *, link: bool) -> None:
        work.link = Path(f"result-{self._label(work)}") if link else None
        if known := self._memory(work).recall():
            work.image, work.digest = known

    def _lock(self, work: Work) -> None:
        work.app = session.loaded(work.fields)
        work.locked = session.lock_app(work.app, self.request, display=self._part(work))

    def _keep(self, work: Work) -> None:
        if work.image and work.link:
            try:
                nix.keep(work.image.path, work.link)
            except BuilderError:
                work.image = None
                raise

    def _outcome(self, work: Work) -> Outcome:
        name = work.fields.get("name")
        if work.image is None:
            return Outcome(work.target, name, error=work.error)
        fields = work.fields
        return Outcome(
            work.target,
            name,
            Built(
                image=work.image,
                steps=work.steps,
                out_link=work.link,
                lock=lock_file(fields["root"], self._label(work)),
                lock_digest=work.digest,
                secrets=tuple(fields.get("secrets", ())),
                serves=bool(fields["endpoints"]) or fields["kind"] == "fal",
            ),
        )


def _refuse_twins(works: Sequence[Work]) -> None:
    """Fail apps of one name: their links, and what is pushed of them, would be one."""
    by_name: dict[str, list[Work]] = {}
    for work in works:
        if work.is_open:
            by_name.setdefault(work.name, []).append(work)
    for name, twins in by_name.items():
        for work in twins if len(twins) > 1 else ():
            others = ", ".join(twin.target for twin in twins if twin is not work)
            work.error = DeclarationError(
                f"{work.target}: its name, {name}, is also that of {others}",
                hint='Give one of them another: app_name = "..." in the class, or a table in [tool.builder.apps].',
            )
