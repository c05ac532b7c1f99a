"""What the commands have in common: load the app, get its lock, build its image."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import nix
from builder.errors import BuilderError, LockError, ResolveError
from builder.load import declare
from builder.variant import lock_file, variant

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from builder.binary_cache import BinaryCache
    from builder.build import Result
    from builder.layout import Image
    from builder.links import LinkError, Report
    from builder.lock import Origin, Recorded
    from builder.models import Addition, AppSpec, Architecture, Lock
    from builder.progress import Display
    from builder.settings import Settings


def cache_folder() -> Path:
    """Where this program keeps what it can do without (XDG base directory specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "builder"


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        target: the app, as typed.
        interpreter: the Python that loads the app file; None to choose one.
        architecture: the image's; None for what the machine type has.
        python: the image's Python ("3.11"); None for what is declared.
        frozen: refuse to write the lock.
        verbose: say each step, and what builds print.
        cache: URL of a binary cache; None for the one that is configured, if any.
        cache_key: the file with the key that signs what is pushed to it; None for the one that is configured, if any.
        builders: machines that steps are handed to, in Nix's words; none for those that are configured, if any.
    """

    target: str
    interpreter: str | None = None
    architecture: Architecture | None = None
    python: str | None = None
    frozen: bool = False
    verbose: bool = False
    cache: str | None = None
    cache_key: Path | None = None
    builders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Loaded:
    """An app and its project's settings.

    Attributes:
        spec: the app as declared.
        settings: `[tool.builder]` of its project.
    """

    spec: AppSpec
    settings: Settings


@dataclass(frozen=True)
class Locked:
    """An app's lock.

    Attributes:
        lock: the lock.
        path: the lock file.
        digest: see `builder.lock.lock_digest`.
        changed: whether this call wrote it.
    """

    lock: Lock
    path: Path
    digest: str
    changed: bool


@dataclass(frozen=True)
class Built:
    """An app's image.

    Attributes:
        image: the image.
        steps: derivations built for it, downloads among them; 0 when it was there already.
        out_link: the link that keeps it from garbage collection, or None.
        lock: the lock file.
        lock_digest: its digest, `sha256:<hex>`.
        secrets: names of the environment variables that the running app gets.
        serves: whether the running app listens on port 8080.
    """

    image: Image
    steps: int
    out_link: Path | None
    lock: Path
    lock_digest: str
    secrets: tuple[str, ...]
    serves: bool


def load_app(request: Request) -> Loaded:
    """Load a target and its project's settings. Raises what `builder.load.declare` and `read_settings` raise."""
    return loaded(declare(request.target, interpreter=request.interpreter))


def loaded(fields: dict[str, Any]) -> Loaded:
    """An app out of its declaration, with its project's settings. Raises what `read_settings` raises."""
    # The models and what reads them are slow to import, and an unchanged app needs neither.
    from builder.models import AppSpec
    from builder.settings import read_settings

    spec = AppSpec(**fields)
    return Loaded(spec, read_settings(spec.root))


def lock_app(
    app: Loaded,
    request: Request,
    *,
    display: Display,
    upgrade: bool = False,
    upgrade_packages: Sequence[str] = (),
    additions: Sequence[Addition] = (),
) -> Locked:
    """Get an app's lock, written anew where its declaration has changed.

    Args:
        app: the app.
        request: what was asked for.
        display: shows what goes on.
        upgrade: choose every version anew.
        upgrade_packages: names of packages to choose anew.
        additions: what its packages' libraries need besides.

    Raises:
        LockError, ResolveError, DeclarationError: see `builder.locking.ensure_lock`.
    """
    from builder.lock import lock_digest, read_lock
    from builder.locking import ensure_lock

    lock, path, changed = ensure_lock(
        app.spec,
        app.settings,
        architecture=request.architecture,
        python=request.python,
        upgrade=upgrade,
        upgrade_packages=upgrade_packages,
        frozen=request.frozen,
        additions=additions,
        cache=cache_folder(),
        report=display.stage,
        note=display.note,
        display=display,
    )
    return Locked(lock, path, lock_digest(read_lock(path)), changed)


@dataclass(frozen=True)
class Traced:
    """An app's image, and what it was made from.

    Attributes:
        app: the app.
        image: the image.
        derivation: the path of its derivation.
        locked: its lock.
        origin: what decides the image, by hashes.
        recorded: the image that the lock has recorded, if any.
    """

    app: Loaded
    image: Image
    derivation: str
    locked: Locked
    origin: Origin
    recorded: Recorded | None


def trace(request: Request, *, display: Display) -> Traced:
    """Build an app, and say what it was made from. No binary cache is filled.

    Args:
        request: what was asked for.
        display: shows what goes on.

    Raises:
        BuilderError: any of the stages failed; see `builder.errors`.
    """
    from builder import build, record
    from builder.lock import read_lock

    fields = declare(request.target, interpreter=request.interpreter)
    built = build_app(request, out_link=None, link=False, display=display, fields=fields, fill=False)
    app = loaded(fields)
    locked = lock_app(app, replace(request, frozen=True), display=display)
    with build.plan(app.spec, locked.lock, locked.digest, app.settings, note=display.note) as plan:
        derivation = build.derivation(plan, app.settings, cache=cache_folder(), display=display)
        origin = record.origin(plan, locked.digest)
    return Traced(app, built.image, derivation, locked, origin, read_lock(locked.path).recorded)


def record_digest(request: Request, *, display: Display) -> tuple[Recorded, bool]:
    """Build an app, and write the image's digest into its lock.

    Returns:
        what is recorded now, and whether that has changed the lock's file.

    Raises:
        LockError: the lock may not be written.
        BuilderError: any of the stages failed; see `builder.errors`.
    """
    from builder import locking, record

    if request.frozen:
        raise LockError("--frozen forbids what --record-digest asks for", hint="Leave one of the two out.")
    traced = trace(request, display=display)
    recorded = record.record(traced.image, traced.origin)
    return recorded, locking.record(traced.app.spec, request.architecture, recorded)


def _build_or_add(
    app: Loaded,
    locked: Locked,
    request: Request,
    *,
    out_link: Path | None,
    display: Display,
    binary_cache: BinaryCache | None,
) -> tuple[Result | None, tuple[Addition, ...]]:
    """Build a locked app, and find what its lock should have besides for libraries that are lacking.

    Returns:
        the build, None where it failed for that lack; and what to add, which then is something.

    Raises:
        BuilderError: the build failed, and nothing that could be added would mend it.
    """
    from builder import build
    from builder.links import LinkError
    from builder.remote import find_builders

    root = app.spec.root
    try:
        with build.plan(app.spec, locked.lock, locked.digest, app.settings, note=display.note) as plan:
            result = build.build(
                plan,
                app.settings,
                cache=cache_folder(),
                out_link=out_link,
                display=display,
                binary_cache=binary_cache,
                machines=find_builders(app.settings, root, named=request.builders),
            )
    except LinkError as error:
        return None, lacking(app, locked, request, error, display=display)
    return result, lacking(app, locked, request, result.links, display=display)


def lacking(
    app: Loaded, locked: Locked, request: Request, links: Report | LinkError | None, *, display: Display
) -> tuple[Addition, ...]:
    """What a lock should have besides, for libraries that an image lacks.

    Args:
        app: the app.
        locked: its lock.
        request: what was asked for.
        links: what the image's check found: an error where that failed it, None where nothing is lacking.
        display: shows what goes on.

    Raises:
        LinkError: the image failed, and nothing that could be added would mend it.
        ResolveError, ToolError: Debian's indexes cannot be had.
    """
    from builder import additions
    from builder.links import LinkError

    cache = cache_folder()
    if links is None:
        return ()
    if isinstance(links, LinkError):
        display.stage("Looking for Debian packages that have what is missing")
        return additions.for_imports(
            links, app.spec, locked.lock, app.settings, cache=cache, frozen=request.frozen, note=display.note
        )
    if request.frozen:
        needs = (*links.wanted, *links.optional)
        parts = additions.cuda_parts(needs, app.spec, locked.lock)
        if absent := [part for part in parts if part not in locked.lock.additions]:
            display.note(
                f"{locked.path.name} lacks what a build without --frozen would add: {in_words(absent)}"
            )
        return ()
    return additions.for_parts(links, app.spec, locked.lock, app.settings, cache=cache, note=display.note)


def cache_of(app: Loaded, request: Request) -> BinaryCache | None:
    """The binary cache that is asked for or configured. Raises what `builder.binary_cache.find_cache` raises."""
    from builder.binary_cache import find_cache

    return find_cache(app.settings, app.spec.root, url=request.cache, secret_key=request.cache_key)


def fill_caches(built: Iterable[tuple[BinaryCache | None, Image]], display: Display) -> None:
    """Copy images into the binary caches of their apps, where there are such and a key to sign with."""
    from builder import binary_cache
    from builder.nix_log import Log

    paths: dict[BinaryCache, list[str]] = {}
    for cache, image in built:
        if cache is not None and cache.secret_key is not None:
            paths.setdefault(cache, []).append(str(image.path))
    for cache, some in paths.items():
        display.stage(f"Copying to {cache.shown}")
        try:
            binary_cache.push(cache, *some, log=Log(display))
        except BuilderError as error:
            # The images are built, and here.
            display.note(f"{cache.shown} could not be filled: {error}")


def in_words(additions: Sequence[Addition]) -> str:
    """Additions in words: each name, and what needs it."""
    names: dict[str, list[Addition]] = {}
    for addition in additions:
        names.setdefault(addition.name, []).append(addition)
    return ", ".join(
        f"{name} ({some[0].library} for {some[0].package})" for name, some in sorted(names.items())
    )


def build_app(
    request: Request,
    *,
    out_link: Path | None,
    link: bool,
    display: Display,
    fields: dict[str, Any] | None = None,
    fill: bool = True,
) -> Built:
    """Load, lock and build an app, or find that all of it was done before.

    Args:
        request: what was asked for.
        out_link: where to put a link to the image; None for `result-<app>`, see `builder.variant`.
        link: whether to put one at all.
        display: shows what goes on.
        fields: the declaration, where it has been loaded.
        fill: whether to copy what is built into the binary cache, where there is one and a key.

    Raises:
        BuilderError: any of the stages failed; see `builder.errors`.
    """
    from builder.memory import Memory, key

    fields = fields or declare(request.target, interpreter=request.interpreter)
    options = (request.python, request.architecture)
    label = variant(fields["name"], fields["architecture"], request.architecture)
    lock = lock_file(fields["root"], label)
    target = (out_link or Path(f"result-{label}")) if link else None
    steps = 0
    known = Memory(cache_folder(), key(fields, lock, options)).recall()
    if known:
        image, digest = known
        if target:
            nix.keep(image.path, target)
    else:
        nix.require()
        app = loaded(fields)
        cache = cache_of(app, request)
        locked = lock_app(app, request, display=display)
        while True:
            # The lock may be new, so the key is. It is taken before the code is staged: a file that is edited while the
            # image is built belongs to the next run, not to what is remembered of this one.
            memory = Memory(cache_folder(), key(fields, lock, options))
            result, additions = _build_or_add(
                app, locked, request, out_link=target, display=display, binary_cache=cache
            )
            if result is not None:
                image, digest, steps = result.image, locked.digest, steps + result.steps
            if not additions:
                break
            try:
                locked = lock_app(app, request, display=display, additions=additions)
            except ResolveError as error:
                if result is None:
                    raise
                display.note(f"{in_words(additions)} cannot be added: {error}")
                break
            display.note(f"added to {lock.name}: {in_words(additions)}")
        memory.keep(image, digest)
        if steps and fill:
            fill_caches([(cache, image)], display)
    return Built(
        image=image,
        steps=steps,
        out_link=target,
        lock=lock,
        lock_digest=digest,
        secrets=tuple(fields.get("secrets", ())),
        serves=bool(fields["endpoints"]) or fields["kind"] == "fal",
    )
