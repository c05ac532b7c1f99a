"""Builds an app's image: from the lock to an OCI layout in the Nix store."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder import code, nix, render, store
from builder.binary_cache import PacedLog, UnreachableError, build_flags, offered, pull
from builder.credentials import origin
from builder.cuda.redist import INSTEAD
from builder.errors import BuilderError, BuildError, NowhereError
from builder.files import scratch_folder
from builder.layout import Image, read_image
from builder.library import copy_files, stage_library, staged
from builder.links import Report, read_report
from builder.local.masking import Masker
from builder.nix_failure import PinnedFileError, readable
from builder.nix_log import Log
from builder.remote import build_with

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from builder.binary_cache import BinaryCache
    from builder.models import AppSpec, Lock, PinnedFile
    from builder.progress import Display
    from builder.remote import Machine
    from builder.settings import Settings
    from builder.sources import Supply

# A derivation whose output is known by its hash, as the store has it (the Nix manual's "ATerm" format).
_FIXED = re.compile(r'Derive\(\[\("out","([^"]+)","(?:r:)?sha256","[0-9a-f]+"\)\]')
# In what Nix says of a source that is not in the store, and that it cannot fetch; see nix/fetch.nix.
_NEVER_BUILT = "/run-builder-build-once-to-put-"
# The label of an image whose libraries lack something.
UNMET = "builder.link.optional"


@dataclass(frozen=True)
class Result:
    """What a build came to.

    Attributes:
        image: the image.
        steps: derivations that were built for it, downloads among them.
        links: what the libraries of its packages lack; None where they lack nothing.
    """

    image: Image
    steps: int
    links: Report | None = None


@dataclass(frozen=True)
class Plan:
    """Everything that decides an image's bits, gathered.

    Attributes:
        spec: the app.
        lock: its lock.
        expression: the rendered Nix expression.
        code: the staged folder of the app's files.
        projects: the staged folders of local projects, by package.
        library: the Nix library.
        runtime: the part of this package that goes into the image.
    """

    spec: AppSpec
    lock: Lock
    expression: str
    code: nix.Added
    projects: dict[str, nix.Added]
    library: nix.Added
    runtime: nix.Added


@dataclass(frozen=True)
class Common:
    """What all images have in common.

    Attributes:
        library: the Nix library.
        runtime: the part of this package that goes into images.
    """

    library: nix.Added
    runtime: nix.Added


@contextlib.contextmanager
def common_parts() -> Iterator[Common]:
    """Gather what all images have in common; its folders exist until the context ends."""
    from builder.runtime_files import image_modules

    with scratch_folder() as scratch:
        folders = {name: scratch / name for name in ("runtime", "nix")}
        for folder in folders.values():
            folder.mkdir()
        copy_files(image_modules(), folders["runtime"])
        yield Common(
            library=stage_library(folders["nix"]), runtime=staged(folders["runtime"], "builder-runtime")
        )


@contextlib.contextmanager
def plan(
    spec: AppSpec,
    lock: Lock,
    lock_digest: str,
    settings: Settings,
    *,
    note: Callable[[str], None],
    common: Common | None = None,
) -> Iterator[Plan]:
    """Gather what decides the image; nothing is fetched or built.

    Args:
        spec: the app.
        lock: its lock.
        lock_digest: `sha256:<hex>` of the lock file.
        settings: the project's.
        note: told what was left out of the image, or masked in it.
        common: what is gathered already, where several images are planned.

    Yields:
        the plan, whose folders exist until the context ends.
    """
    from builder.trees import stage_projects

    with contextlib.ExitStack() as stack:
        common = common or stack.enter_context(common_parts())
        scratch = stack.enter_context(scratch_folder())
        folders = {name: scratch / name for name in ("app", "projects")}
        for folder in folders.values():
            folder.mkdir()
        masker = masker_of(spec, settings)
        left_out = code.stage(code.Shipped.of(spec.model_dump()), folders["app"], masker)
        expression = render.render(spec, lock, lock_digest, bytecode=settings.bytecode)
        projects, warnings = stage_projects(lock, spec.root, folders["projects"], masker)
        for warning in (*left_out, *warnings):
            note(warning)
        yield Plan(
            spec=spec,
            lock=lock,
            expression=expression,
            projects=projects,
            code=staged(folders["app"], "app"),
            library=common.library,
            runtime=common.runtime,
        )


def masker_of(spec: AppSpec, settings: Settings) -> Masker:
    """What masks the secrets that an app and this machine's configuration name, in copies of files.

    Raises:
        DeclarationError: a requirement cannot be read.
    """
    from builder.known_secrets import known_secrets
    from builder.machine_config import machine_config
    from builder.requirements import parse_requirements

    requirements = parse_requirements(spec, unset_ok=True)
    return Masker(known_secrets(requirements, machine_config(spec.root), settings))


def entry_expression(
    plan: Plan, *, mirrors: dict[str, str], urls: dict[str, str], expression: nix.Added
) -> str:
    """The expression that is given to Nix: the rendered one, called with this machine's matters.

    Args:
        plan: what to build.
        mirrors: Debian's archives and NVIDIA's redistributables, by name.
        urls: URLs of files by sha256, for this build only.
        expression: the rendered expression as a file in the store.
    """
    return image_call(plan, library_call(plan, mirrors=mirrors, urls=urls), expression=expression)


def library_call(plan: Plan, *, mirrors: Mapping[str, str], urls: Mapping[str, str]) -> str:
    """An expression for the library, with this machine's matters; see `entry_expression`."""
    arguments = {"system": f"{nix.build_machine()}-linux", "mirrors": dict(mirrors), "urls": dict(urls)}
    lines = [f"  {name} = {render.nix_value(value, 2)};" for name, value in arguments.items()]
    return "\n".join(
        [
            f"import {nix.pure_path(plan.library)} {{",
            *lines,
            f"  runtime = {nix.pure_path(plan.runtime)};",
            "}",
        ]
    )


def image_call(plan: Plan, library: str, *, expression: nix.Added) -> str:
    """An expression for the image: the rendered one, called with an expression for the library."""
    return "\n".join(
        [
            f"import {nix.pure_path(expression)} {{",
            f"builder = {library};",
            f"code = {nix.pure_path(plan.code)};",
            *_projects(plan.projects),
            "}",
        ]
    )


def _projects(projects: Mapping[str, nix.Added]) -> list[str]:
    if not projects:
        return []
    paths = [
        f"  {render.nix_value(name)} = {nix.pure_path(path)};" for name, path in sorted(projects.items())
    ]
    return ["projects = {", *paths, "};"]


def _add(plan: Plan) -> nix.Added:
    return add_plans([plan])[0]


def add_plans(plans: Sequence[Plan]) -> list[nix.Added]:
    """Put into the store what plans have gathered; return the rendered expressions as files there."""
    with scratch_folder() as scratch:
        expressions = []
        for place, plan in enumerate(plans):
            text = scratch / f"{place}.nix"
            text.write_text(plan.expression)
            expressions.append(staged(text, "image.nix"))
        parts = {
            added.store_path: added
            for plan, expression in zip(plans, expressions, strict=True)
            for added in (plan.code, plan.library, plan.runtime, expression, *plan.projects.values())
        }
        nix.add(parts.values())
    return expressions


def _prepare(
    plan: Plan,
    settings: Settings,
    *,
    cache: Path,
    display: Display,
    gone: Iterable[str] = (),
    there: Collection[str] = (),
) -> tuple[str, Supply]:
    """Put into the store what Nix cannot fetch itself; return the expression to build and where the rest is.

    `gone` are the sha256 of files whose URLs do not serve them; `there` are paths that a binary cache has.
    """
    from builder import sources

    display.stage("Looking for files")
    expression = _add(plan)
    supply = sources.supply(
        plan.lock, plan.spec, settings, cache=cache, display=display, gone=tuple(gone), there=there
    )
    entry = entry_expression(plan, mirrors=supply.mirrors, urls=supply.urls, expression=expression)
    return entry, supply


@dataclass(frozen=True)
class Steps:
    """What a build would do.

    Attributes:
        fetch: names of files that would be downloaded.
        build: names of derivations that would be built.
    """

    fetch: tuple[str, ...]
    build: tuple[str, ...]


def dry_run(plan: Plan, settings: Settings, *, cache: Path, display: Display) -> Steps:
    """Find out what a build would do, and do none of it. Raises what `build` raises."""
    entry, _ = _prepare(plan, settings, cache=cache, display=display)
    pinned = {store.store_name(name) for name in _pinned_files(plan.lock)}
    names = [readable(path) for path in nix.would_build(entry)]
    return Steps(
        fetch=tuple(name for name in names if name in pinned),
        build=tuple(name for name in names if name not in pinned),
    )


def derivation(plan: Plan, settings: Settings, *, cache: Path, display: Display) -> str:
    """The path of an image's derivation, in the store. Raises what `build` raises."""
    entry, _ = _prepare(plan, settings, cache=cache, display=display)
    return nix.derivation(entry)


def _pinned_files(lock: Lock) -> Iterator[str]:
    yield from (file.filename for file in lock.files)
    yield from (archive.filename for archive in (lock.cuda.archives if lock.cuda else ()))
    for debs in (*lock.base.debs.values(), *lock.base.tools.values(), lock.base.extra, lock.base.build):
        yield from (deb.path.rsplit("/", 1)[-1] for deb in debs)


def build(
    plan: Plan,
    settings: Settings,
    *,
    cache: Path,
    out_link: Path | None,
    display: Display,
    binary_cache: BinaryCache | None = None,
    machines: Sequence[Machine] = (),
) -> Result:
    """Build the image, or have it from a binary cache.

    A file that its URL does not serve any more, or whose server cannot be reached, is looked for on the configured
    indexes, by name and hash.

    Args:
        plan: what to build.
        settings: the project's.
        cache: this program's cache folder.
        out_link: where to put a link to the image, or None.
        display: shows what goes on.
        binary_cache: what is asked first for the image, and for each step of it and each file.
        machines: what steps are handed to.

    Raises:
        BuildError: a step failed.
        LinkError: packages of the image cannot be imported.
        NowhereError: no place has a file that is pinned.
        PinnedFileError: a file could not be had, or is not the one that is pinned.
        ToolError: Nix is missing or cannot be used.
    """
    if binary_cache is not None:
        try:
            if image := from_cache(plan, binary_cache, out_link, display):
                return Result(image, 0)
            return _build_here(
                plan,
                settings,
                binary_cache,
                cache=cache,
                out_link=out_link,
                display=display,
                machines=machines,
            )
        except UnreachableError as error:
            # It is not asked for each step again.
            display.note(f"{error}; what it may have is built here")
    return _build_here(
        plan, settings, None, cache=cache, out_link=out_link, display=display, machines=machines
    )


def _offered(plan: Plan, *caches: BinaryCache) -> frozenset[str]:
    """The paths of pinned files that neither the store nor their servers need have, since binary caches have them."""
    from builder import sources

    if not caches:
        return frozenset()
    return offered((added.store_path for added in nix.missing(sources.pinned(plan.lock))), *caches)


def _build_here(
    plan: Plan,
    settings: Settings,
    binary_cache: BinaryCache | None,
    *,
    cache: Path,
    out_link: Path | None,
    display: Display,
    machines: Sequence[Machine],
) -> Result:
    caches = (binary_cache,) if binary_cache else ()
    flags = build_flags(*caches)
    there = _offered(plan, *caches)
    gone: dict[str, PinnedFileError] = {}
    logs: list[Log] = []

    def attempt(log: Log, words: tuple[str, ...], variables: dict[str, str]) -> str:
        logs.append(log)
        return nix.build(entry, log=log, out_link=out_link, flags=(*flags, *words), environment=variables)

    while True:
        try:
            entry, supply = _prepare(plan, settings, cache=cache, display=display, gone=gone, there=there)
        except NowhereError as error:
            if not gone:
                raise
            raise nowhere(error, list(gone.values())) from error
        display.stage(f"Building {plan.spec.name}")
        try:
            path = build_with(machines, attempt, display=display, log_of=lambda: log_of(display, *caches))
        except PinnedFileError as error:
            if not there:
                note_gone(plan, supply, gone, error)
                display.note(f"{error} Looking for it elsewhere.")
            # Otherwise the cache has not given what it has: the file's own server is asked.
            there = frozenset()
        except BuildError as error:
            if not (there and is_withheld(error)):
                raise _told(error, plan, entry, display) from None
            there = frozenset()
        else:
            image = read_image(plan.spec.name, Path(path))
            note_labels(image, display)
            note_distrust(logs[-1], display, *caches)
            links = _links(entry, display) if UNMET in image.labels else None
            return Result(image, sum(len(log.built) for log in logs), links)


def log_of(display: Display, *caches: BinaryCache) -> Log:
    """What Nix says in a build, which breaks off where caches are too slow."""
    return PacedLog(display, *caches) if caches else Log(display)


def is_withheld(error: BuilderError) -> bool:
    """Whether a build failed since a cache does not give what it has said it has, and what cannot be built."""
    return _NEVER_BUILT in str(error)


def _told(error: BuildError, plan: Plan, entry: str, display: Display) -> BuilderError:
    """The error for a build that failed: where it was the image's own step, what its libraries lack."""
    if not str(error).startswith(f"{store.store_name(f'image-{plan.spec.name}')}: "):
        return error
    return _links(entry, display).error or error


def image_path(plan: Plan) -> tuple[str, str]:
    """Where an image is, or will be, in the store, and the path of its derivation; nothing is fetched or built."""
    expression = _add(plan)
    # Where files come from does not decide what is made of them.
    entry = entry_expression(plan, mirrors={}, urls={}, expression=expression)
    return nix.out_path(entry), nix.derivation(entry)


def layer_paths(derivation: str) -> list[str]:
    """Where the layers of an image are, or will be, in the store, by the path of its derivation."""
    inputs = nix.run("nix-store", "--query", "--references", derivation).split()
    layers = [path for path in inputs if readable(path).startswith("layer-") and path.endswith(".drv")]
    return nix.run("nix-store", "--query", "--outputs", *layers).split()


def source_paths(plan: Plan, settings: Settings, *, cache: Path, display: Display) -> list[str]:
    """The store paths of all files that an image is built from and that come from elsewhere, which are there then.

    These are wheels, archives, commits, crates, Debian's packages and NVIDIA's archives, those of the tools that
    build among them. What is not in the store, since an image came from a binary cache, is fetched. Raises what `build`
    raises.
    """
    entry, _ = _prepare(plan, settings, cache=cache, display=display)
    found = {}
    for path in nix.requisites(nix.derivation(entry)):
        if path.endswith(".drv") and (fixed := _FIXED.match(Path(path).read_text("utf-8"))):
            found[path] = fixed[1]
    missing = [path for path, out in found.items() if not Path(out).exists()]
    if missing:
        display.stage(f"Fetching {len(missing)} files")
        nix.run("nix-store", "--realise", *missing)
    return sorted(found.values())


def from_cache(plan: Plan, cache: BinaryCache, out_link: Path | None, display: Display) -> Image | None:
    """The image out of a binary cache.

    Args:
        plan: what decides the image.
        cache: the cache.
        out_link: where to put a link to the image, or None.
        display: shows what goes on; told why the cache is of no use, where that is not that it lacks the image.

    Returns:
        None where the cache has not all of it, signed as it should be.

    Raises:
        UnreachableError: the cache does not answer, breaks off or is too slow.
    """
    display.stage(f"Asking {cache.shown}")
    expression = _add(plan)
    # Where files come from does not decide what is made of them.
    path = nix.out_path(entry_expression(plan, mirrors={}, urls={}, expression=expression))
    if not nix.is_valid(path):
        log = PacedLog(display, cache)
        try:
            pull(cache, path, log=log)
        except UnreachableError:
            raise
        except BuildError as error:
            if not re.search(r"is required, but|is not valid|does not exist", str(error)):
                display.note(f"{cache.shown} is not of use, so what it may have is built here: {error}")
            note_distrust(log, display, cache)
            return None
    if out_link is not None:
        nix.keep(Path(path), out_link)
    return read_image(plan.spec.name, Path(path))


def note_gone(plan: Plan, supply: Supply, gone: dict[str, PinnedFileError], error: PinnedFileError) -> None:
    """Note that a file is not where it should be, so that it is looked for elsewhere.

    Args:
        plan: what was to be built.
        supply: where its files were to be had.
        gone: the errors of files by sha256; what is to be looked for is added.
        error: what went wrong.

    Raises:
        PinnedFileError: the same, with what to do about it, where the file is none that an index may have.
    """
    files = {store.store_name(file.filename): file for file in plan.lock.files}
    file = files.get(error.name)
    if file and not error.url:
        error.url = supply.urls.get(file.sha256) or file.url or ""
    error.hint = _instead(plan.lock, error)
    if file is None or file.sha256 in gone:
        if error.answered:
            what = f"-package {file.name}" if file else ""
            error.hint += f" To lock what is there now: builder lock --upgrade{what}."
        raise error
    gone |= {
        other.sha256: error
        for other in files.values()
        if other is file or (not error.answered and _same_server(supply, other, error.url))
    }


def nowhere(error: NowhereError, gone: Sequence[PinnedFileError]) -> BuilderError:
    """The error for a file that no place has, after some servers failed to give it."""
    for failure in gone:
        if not failure.answered:
            # It may well be there: that its server could not be reached is what there is to say.
            return failure
    tried = "\n".join(map(str, gone))
    message = f"{tried}\nNeither this machine nor a configured index has what the lock pins."
    return NowhereError(message, hint=error.hint)


def _links(entry: str, display: Display) -> Report:
    """What the check of an image's libraries has found; it was made before the image, so this takes no time."""
    return read_report(Path(nix.build(f"({entry}).links", log=Log(display))))


def _instead(lock: Lock, error: PinnedFileError) -> str:
    """What to do about a file, with what stands in for NVIDIA's redistributables where it is one of these."""
    archives = {store.store_name(one.filename) for one in (lock.cuda.archives if lock.cuda else ())}
    return f"{error.hint} {INSTEAD}".lstrip() if error.name in archives else error.hint


def _same_server(supply: Supply, file: PinnedFile, url: str) -> bool:
    own = supply.urls.get(file.sha256) or file.url
    return own is not None and origin(own) == origin(url)


def note_distrust(log: Log, display: Display, *caches: BinaryCache) -> None:
    """Tell what to do where Nix's daemon has not used caches since it does not trust the user."""
    for cache in caches if log.is_distrusted else ():
        display.note(cache.instruction)


def note_labels(image: Image, display: Display) -> None:
    """Tell what the checks have found that is no error."""
    if by_ptx := image.labels.get("builder.cuda.by-ptx"):
        display.note(
            f"only by PTX: {by_ptx}. A driver compiles such kernels when they are first used, which may take minutes; "
            "another release or build of the package may have them ready."
        )
