"""One Nix run for several apps: their images are evaluated as one expression and built together.

What a single build does after its Nix run is done for each app here: files that are gone are looked for elsewhere, and
what libraries lack is added to its lock. An app that this is done for takes part in the next run.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import build, memory, nix, session, sources
from builder.binary_cache import BinaryCache, UnreachableError, build_flags, offered
from builder.derivations import Graph
from builder.errors import BuilderError, BuildError, NowhereError, ResolveError, of_the_machine
from builder.layout import read_image
from builder.links import LinkError, Report, read_report
from builder.nix_failure import PinnedFileError
from builder.nix_log import Log
from builder.remote import Machine, build_with, find_builders
from builder.render import nix_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from builder.layout import Image
    from builder.progress import Display
    from builder.session import Request
    from builder.sources import Supply


@dataclass
class Work:
    """An app on its way; `image` or `error` is set at the end of it.

    Attributes:
        target: the app, as a target.
        fields: its declaration, as `builder.load.declare` returns it.
        error: why it failed.
        image: its image.
        digest: its lock's.
        steps: derivations built for it.
        link: where to put a link to the image, or None.
        gone: files that are not where they should be, by sha256.
        disappointed: whether a cache has not given it a file that it says it has.
        app, locked: set when it is locked.
    """

    target: str
    fields: dict[str, Any] = field(default_factory=dict)
    error: BuilderError | None = None
    image: Image | None = None
    digest: str = ""
    steps: int = 0
    link: Path | None = None
    gone: dict[str, PinnedFileError] = field(default_factory=dict)
    disappointed: bool = False
    app: session.Loaded | None = None
    locked: session.Locked | None = None

    @property
    def name(self) -> str:
        """What it is called: as the target where it could not be loaded."""
        return str(self.fields.get("name", self.target))

    @property
    def is_open(self) -> bool:
        """Whether it has neither an image nor an error yet."""
        return self.image is None and self.error is None


@contextlib.contextmanager
def failing(work: Work) -> Iterator[None]:
    """Let an app have the error that the block ends with."""
    try:
        yield
    except BuilderError as error:
        work.error = error
    except OSError as error:
        work.error = of_the_machine(error)


@dataclass(frozen=True)
class _Entry:
    """An app's part of the expression.

    Attributes:
        work: the app.
        plan: what decides its image.
        expression: the rendered expression, in the store.
        memory: where its image is to be remembered.
    """

    work: Work
    plan: build.Plan
    expression: nix.Added
    memory: memory.Memory


@dataclass(frozen=True)
class _Image:
    """What evaluation gives for an app: store paths.

    Attributes:
        drv: the image's derivation.
        out: the image.
        links_drv: the derivation of what its libraries lack.
        links: that report.
    """

    drv: str
    out: str
    links_drv: str
    links: str


class Round:
    """One Nix run, for apps that are locked and not built yet.

    Args:
        works: the apps.
        request: what was asked for.
        display: shows what goes on.
        part: the display of one app.
        remember: where the image of an app, as it is now, is remembered.
        lost: caches that are of no use, and are not asked; those that turn out so are added.
    """

    def __init__(
        self,
        works: Sequence[Work],
        request: Request,
        display: Display,
        *,
        part: Callable[[Work], Display],
        remember: Callable[[Work], memory.Memory],
        lost: set[BinaryCache],
    ) -> None:
        self.works = works
        self.request = request
        self.display = display
        self.part = part
        self.remember = remember
        self.lost = lost
        self.caches: list[BinaryCache] = []
        self.offers: frozenset[str] = frozenset()
        self.logs: list[Log] = []
        self.graph = Graph()

    def build(self) -> None:
        """Build: at the end each app has an image, or an error, or another lock or place to have a file from."""
        entries = self._planned()
        self.caches = self._caches()
        images: dict[str, _Image] = {}
        if self.caches:
            images = self._evaluated(entries, {})
            entries = self._from_caches(entries, images)
        supplies = self._supplied(entries)
        entries = [entry for entry in entries if entry.work.error is None]
        if not entries:
            return
        images |= self._evaluated(entries, supplies)
        entries = [entry for entry in entries if entry.work.error is None]
        self._realise([images[entry.work.target].drv for entry in entries])
        there = nix.valid(images[entry.work.target].out for entry in entries)
        for entry in (entry for entry in entries if entry.work.error is None):
            image = images[entry.work.target]
            with failing(entry.work):
                if image.out in there:
                    self._finish(entry, image)
                else:
                    self._mend(entry, image, supplies[entry.work.target])

    def _planned(self) -> list[_Entry]:
        """Gather what decides the images, and put it into the store."""
        self.display.stage("Gathering files")
        planned: list[tuple[Work, build.Plan, memory.Memory]] = []
        with contextlib.ExitStack() as stack:
            common = stack.enter_context(build.common_parts())
            for work in self.works:
                app, locked = _locked(work)
                with failing(work):
                    # As in a single build: the key is taken before the code is staged.
                    memory = self.remember(work)
                    plan = stack.enter_context(
                        build.plan(
                            app.spec,
                            locked.lock,
                            locked.digest,
                            app.settings,
                            note=self.part(work).note,
                            common=common,
                        )
                    )
                    planned.append((work, plan, memory))
            expressions = build.add_plans([plan for _, plan, _ in planned]) if planned else []
        return [
            _Entry(work, plan, expression, memory)
            for (work, plan, memory), expression in zip(planned, expressions, strict=True)
        ]

    def _caches(self) -> list[BinaryCache]:
        caches = []
        for work in self.works:
            with failing(work):
                app, _ = _locked(work)
                cache = session.cache_of(app, self.request)
                if cache is not None and cache not in caches and cache not in self.lost:
                    caches.append(cache)
        return caches

    def _lose_caches(self, reason: str) -> None:
        """Do without caches from now on; none is asked for each step again."""
        self.display.note(f"{reason}; what it may have is built here")
        self.lost.update(self.caches)
        self.caches = []

    def _from_caches(self, entries: list[_Entry], images: dict[str, _Image]) -> list[_Entry]:
        """Have what images there are from binary caches, and return the apps that are left."""
        names = ", ".join(cache.shown for cache in self.caches)
        self.display.stage(f"Asking {names}")
        wanted = [images[entry.work.target].out for entry in entries if entry.work.target in images]
        log = build.log_of(self.display, *self.caches)
        try:
            nix.realise(wanted, log=log, flags=build_flags(*self.caches))
        except UnreachableError as error:
            self._lose_caches(str(error))
        except PinnedFileError as error:
            self._lose_caches(f"{names} cannot be reached: {error.problem}")
        except BuildError:
            # What they lack is built here.
            pass
        build.note_distrust(log, self.display, *self.caches)
        there = nix.valid(wanted)
        left = []
        for entry in entries:
            image = images.get(entry.work.target)
            if image is not None and image.out in there:
                with failing(entry.work):
                    self._finish(entry, image)
            elif entry.work.error is None:
                left.append(entry)
        return left

    def _supplied(self, entries: list[_Entry]) -> dict[str, Supply]:
        """Put into the store what Nix cannot fetch; where the rest is, by target."""
        self.display.stage("Looking for files")
        files = {
            entry.work.target: {added.store_path: added for added in sources.pinned(entry.plan.lock)}
            for entry in entries
        }
        every = {path: added for some in files.values() for path, added in some.items()}
        missing = {added.store_path for added in nix.missing(every.values())}
        self.offers = offered(missing, *self.caches)
        supplies = {}
        for entry in entries:
            work, lock = entry.work, entry.plan.lock
            app, _ = _locked(work)
            offers = frozenset[str]() if work.disappointed else self.offers
            if not missing.difference(offers) & files[work.target].keys():
                mirrors = sources.known_mirrors(app.settings)
                supplies[work.target] = sources.Supply(mirrors=mirrors, urls={})
                continue
            with failing(work):
                try:
                    supplies[work.target] = sources.supply(
                        lock,
                        app.spec,
                        app.settings,
                        cache=session.cache_folder(),
                        display=self.part(work),
                        gone=tuple(work.gone),
                        there=offers,
                    )
                except NowhereError as error:
                    if not work.gone:
                        raise
                    raise build.nowhere(error, list(work.gone.values())) from error
        return supplies

    def _evaluated(self, entries: Sequence[_Entry], supplies: dict[str, Supply]) -> dict[str, _Image]:
        """Evaluate all images as one expression; by target. An app whose image does not evaluate has its error."""
        if not entries:
            return {}
        self.display.stage(f"Evaluating {len(entries)} images")
        try:
            found = nix.evaluate(_expression(entries, supplies))
        except BuildError as error:
            if len(entries) == 1:
                entries[0].work.error = error
                return {}
            half = len(entries) // 2
            return {
                **self._evaluated(entries[:half], supplies),
                **self._evaluated(entries[half:], supplies),
            }
        return {target: _Image(**paths) for target, paths in found.items()}

    def _realise(self, drvs: list[str]) -> None:
        """Build derivations; which failed is seen by what is there, and why is in the logs."""
        machines: dict[str, Machine] = {}
        for work in self.works:
            with failing(work):
                app, _ = _locked(work)
                found = find_builders(app.settings, app.spec.root, named=self.request.builders)
                machines |= {machine.url: machine for machine in found}
        self.display.stage(f"Building {len(drvs)} images" if len(drvs) > 1 else "Building an image")

        def attempt(log: Log, words: tuple[str, ...], variables: dict[str, str]) -> None:
            self.logs.append(log)
            flags = (*build_flags(*self.caches), *words)
            nix.realise(drvs, log=log, flags=flags, environment=variables)

        while True:
            try:
                build_with(
                    tuple(machines.values()),
                    attempt,
                    display=self.display,
                    log_of=lambda: build.log_of(self.display, *self.caches),
                )
            except UnreachableError as error:
                self._lose_caches(str(error))
                continue
            except BuilderError:
                pass
            build.note_distrust(self.logs[-1], self.display, *self.caches)
            return

    def _finish(self, entry: _Entry, image: _Image) -> None:
        """Take an image that is built, or let its app be built again with what its libraries lack."""
        work = entry.work
        built = read_image(work.name, Path(image.out))
        if self.logs:
            made = self.graph.closure(image.drv)
            work.steps += sum(1 for log in self.logs for drv in log.built if drv in made)
        build.note_labels(built, self.part(work))
        if build.UNMET in built.labels:
            nix.realise([image.links_drv], log=Log(self.display))
            if self._add(work, read_report(Path(image.links)), image=built):
                return
        _, locked = _locked(work)
        work.image, work.digest = built, locked.digest
        entry.memory.keep(built, locked.digest)

    def _mend(self, entry: _Entry, image: _Image, supply: Supply) -> None:
        """Do what can be done about an image that failed.

        Raises:
            BuilderError: that is nothing.
        """
        work = entry.work
        error = self._error(image.drv)
        is_missing = isinstance(error, PinnedFileError) or build.is_withheld(error)
        if is_missing and self.offers and not work.disappointed:
            # A cache has not given what it has: the files' own servers are asked.
            work.disappointed = True
            return
        if isinstance(error, PinnedFileError):
            build.note_gone(entry.plan, supply, work.gone, error)
            self.part(work).note(f"{error} Looking for it elsewhere.")
            return
        if isinstance(error, BuildError) and nix.valid([image.links]):
            lacks = read_report(Path(image.links)).error
            if lacks is not None and self._add(work, lacks, image=None):
                return
        raise error

    def _error(self, drv: str) -> BuilderError:
        """Why a derivation was not built: the error of the first that failed of those it is made of."""
        if not self.logs:
            return BuildError("Nix was not run.")
        log = self.logs[-1]
        closure = self.graph.closure(drv)
        for failed in log.failed:
            if failed in closure:
                return log.failure_of(failed)
        return log.failure()

    def _add(self, work: Work, links: LinkError | Report, *, image: Image | None) -> bool:
        """Add what libraries lack to an app's lock; whether that was something.

        Raises:
            LinkError, ResolveError: the image failed, and cannot be mended.
        """
        app, locked = _locked(work)
        part = self.part(work)
        additions = session.lacking(app, locked, self.request, links, display=part)
        if not additions:
            return False
        words = session.in_words(additions)
        try:
            work.locked = session.lock_app(app, self.request, display=part, additions=additions)
        except ResolveError as error:
            if image is None:
                raise
            part.note(f"{words} cannot be added: {error}")
            return False
        part.note(f"added to {locked.path.name}: {words}")
        return True


def _locked(work: Work) -> tuple[session.Loaded, session.Locked]:
    assert work.app is not None
    assert work.locked is not None
    return work.app, work.locked


def _expression(entries: Sequence[_Entry], supplies: dict[str, Supply]) -> str:
    """One expression for several images: by target, the paths of `_Image`.

    The library is called once for all of them, but where their mirrors differ.
    """
    urls = {sha256: url for supply in supplies.values() for sha256, url in supply.urls.items()}
    mirrors = [supply.mirrors if (supply := supplies.get(entry.work.target)) else {} for entry in entries]
    libraries = [known for place, known in enumerate(mirrors) if known not in mirrors[:place]]
    lines = ["let"]
    for place, known in enumerate(libraries):
        call = build.library_call(entries[0].plan, mirrors=known, urls=urls)
        lines.append(f"library{place} = {call};")
    lines += ["in builtins.mapAttrs (_: image: {", "  drv = image.drvPath; out = image.outPath;"]
    lines += ["  links_drv = image.links.drvPath; links = image.links.outPath;", "}) {"]
    for entry, known in zip(entries, mirrors, strict=True):
        call = build.image_call(entry.plan, f"library{libraries.index(known)}", expression=entry.expression)
        lines.append(f"{nix_value(entry.work.target)} = {call};")
    return "\n".join([*lines, "}"])
