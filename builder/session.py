"""What the commands have in common: load the app, get its lock, build its image."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import nix
from builder.errors import BuilderError, ResolveError
from builder.load import declare
from builder.variant import lock_file, variant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.binary_cache import BinaryCache
    from builder.build import Result
    from builder.layout import Image
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
    """

    target: str
    interpreter: str | None = None
    architecture: Architecture | None = None
    python: str | None = None
    frozen: bool = False
    verbose: bool = False
    cache: str | None = None
    cache_key: Path | None = None


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
    """An app by what `builder.load.declare` gave. Raises what `builder.settings.read_settings` raises."""
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


def derivation_of(request: Request, *, display: Display) -> tuple[Image, str]:
    """Build an app, and say what Nix built it from.

    Args:
        request: what was asked for.
        display: shows what goes on.

    Returns:
        the image, and the path of its derivation.

    Raises:
        BuilderError: any of the stages failed; see `builder.errors`.
    """
    from builder import build

    built = build_app(request, out_link=None, link=False, display=display)
    app = load_app(request)
    locked = lock_app(app, replace(request, frozen=True), display=display)
    with build.plan(app.spec, locked.lock, locked.digest, app.settings, note=display.note) as plan:
        derivation = build.derivation(plan, app.settings, cache=cache_folder(), display=display)
    return built.image, derivation


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
    from builder import additions, build
    from builder.links import LinkError

    cache = cache_folder()
    try:
        with build.plan(app.spec, locked.lock, locked.digest, app.settings, note=display.note) as plan:
            result = build.build(
                plan,
                app.settings,
                cache=cache,
                out_link=out_link,
                display=display,
                binary_cache=binary_cache,
            )
    except LinkError as error:
        display.stage("Looking for Debian packages that have what is missing")
        found = additions.for_imports(
            error, app.spec, locked.lock, app.settings, cache=cache, frozen=request.frozen, note=display.note
        )
        return None, found
    if result.links is None:
        return result, ()
    if request.frozen:
        needs = (*result.links.wanted, *result.links.optional)
        parts = additions.cuda_parts(needs, app.spec, locked.lock)
        if lacking := [part for part in parts if part not in locked.lock.additions]:
            display.note(
                f"{locked.path.name} lacks what a build without --frozen would add: {_named(lacking)}"
            )
        return result, ()
    found = additions.for_parts(
        result.links, app.spec, locked.lock, app.settings, cache=cache, note=display.note
    )
    return result, found


def cache_of(app: Loaded, request: Request) -> BinaryCache | None:
    """The binary cache that is asked for or configured. Raises what `builder.binary_cache.find_cache` raises."""
    from builder.binary_cache import find_cache

    return find_cache(app.settings, app.spec.root, url=request.cache, secret_key=request.cache_key)


def _fill_cache(cache: BinaryCache | None, image: Image, display: Display) -> None:
    """Copy what was built into the binary cache, where there is one and a key to sign with."""
    from builder import binary_cache
    from builder.nix_log import Log

    if cache is None or cache.secret_key is None:
        return
    display.stage(f"Copying to {cache.shown}")
    try:
        binary_cache.push(cache, str(image.path), log=Log(display))
    except BuilderError as error:
        # The image is built, and here.
        display.note(f"{cache.shown} could not be filled: {error}")


def _named(additions: Sequence[Addition]) -> str:
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
                display.note(f"{_named(additions)} cannot be added: {error}")
                break
            display.note(f"added to {lock.name}: {_named(additions)}")
        memory.keep(image, digest)
        if steps and fill:
            _fill_cache(cache, image, display)
    return Built(
        image=image,
        steps=steps,
        out_link=target,
        lock=lock,
        lock_digest=digest,
        secrets=tuple(fields.get("secrets", ())),
        serves=bool(fields["endpoints"]) or fields["kind"] == "fal",
    )
