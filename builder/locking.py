"""Gets an app's lock: the present one where it still fits the declaration, otherwise a new one."""

from __future__ import annotations

import dataclasses
import itertools
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from packaging.utils import canonicalize_name

from builder import cuda
from builder.errors import LockError, ResolveError
from builder.lock import Declared, LockFile, declared, lock_path, read_lock, write_lock
from builder.machines import find_machines, without_gpus
from builder.models import Lock, Toolkit
from builder.progress import Display
from builder.requirements import parse_requirements, parse_runtime
from builder.runtime_files import runtime_requirements
from builder.settings import expanded_mirrors
from builder.torch_builds import check_locked
from builder.variant import platform_option
from builder.version import version

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from builder.lock import Recorded
    from builder.machines import Machine
    from builder.models import Addition, AppSpec, Architecture, Base, Built, Wheel
    from builder.resolve import Resolution
    from builder.settings import Settings


class Locked(NamedTuple):
    """What `ensure_lock` gives.

    Attributes:
        lock: the lock.
        path: its file.
        changed: whether the file was written.
    """

    lock: Lock
    path: Path
    changed: bool


def ensure_lock(
    spec: AppSpec,
    settings: Settings,
    *,
    cache: Path,
    architecture: Architecture | None = None,
    python: str | None = None,
    runtime: Sequence[str] | None = None,
    upgrade: bool = False,
    upgrade_packages: Collection[str] = (),
    frozen: bool = False,
    additions: Sequence[Addition] = (),
    report: Callable[[str], None] | None = None,
    note: Callable[[str], None] | None = None,
    display: Display | None = None,
) -> Locked:
    """Get an app's lock.

    The present lock is taken as it is, without any network, when it was made for the same declaration.
    Otherwise it is written anew, and every pin that still fits stays. A failure leaves the present file as it
    is.

    Args:
        spec: the app.
        settings: its project's.
        cache: this program's cache folder.
        architecture: the target's; None for what the app's machines have.
        python: "3.11"; None for what is declared, set, in the present lock, or this machine's, in that order.
        runtime: requirements to add to the app's; None for what the app's runtime needs.
        upgrade: choose every version anew, Debian's included.
        upgrade_packages: names of packages to choose anew.
        frozen: refuse to write.
        additions: what is to be in it besides, for libraries that need it. Those of the present lock stay while what
            needs them does.
        report: told what goes on.
        note: told what the user should know although nothing failed.
        display: shows the builds of packages that have no wheel.

    Raises:
        LockError: the lock is malformed; or `frozen` and it is missing or made for another declaration.
        DeclarationError: a requirement that is not understood, a Python that no suite has.
        ResolveError: the requirements have no solution, or an index cannot be reached.
        ToolError: uv or another program is missing.
    """
    say = report or (lambda _: None)
    path = lock_path(spec, architecture)
    present = read_lock(path) if path.exists() else None
    chosen_python = (
        python or spec.python or settings.python or (present.lock.python if present else spec.local_python)
    )
    chosen_architecture = architecture or spec.architecture
    added = parse_runtime(runtime_requirements(spec) if runtime is None else runtime)

    def describe(*, unset_ok: bool) -> Declared:
        requirements = parse_requirements(spec, unset_ok=unset_ok)
        return declared(
            spec,
            requirements,
            settings,
            runtime=added,
            python=chosen_python,
            architecture=chosen_architecture,
        )

    wanted = describe(unset_ok=True)
    names = tuple(sorted({canonicalize_name(name) for name in upgrade_packages}))
    fresh = present is not None and present.lock.fingerprint == wanted.fingerprint()
    if frozen:
        if upgrade or names or additions:
            raise LockError("--frozen forbids what --upgrade asks for", hint="Leave one of the two out.")
        _check_frozen(path, present, wanted, fresh=fresh)
    if present is not None:
        known = {package.name for package in present.lock.packages}
        if unknown := [name for name in names if name not in known]:
            raise LockError(
                f"--upgrade-package: {path.name} has no package {', '.join(unknown)}",
                hint="Names of packages are in the lock; a new one is added to the app's requirements.",
            )
    machines = _machines(spec)
    lock: Lock | None = None
    if present is not None and fresh and not upgrade and not names:
        same_form = settings.portable == present.lock.portable
        if not additions and (frozen or same_form):
            check_locked(present.lock, machines)
            return Locked(present.lock, path, changed=False)
        if not additions and settings.portable:
            # The pins stay; only their URLs go.
            lock = _portable(present.lock)
        elif same_form and all(addition.kind == "debian" for addition in additions):
            lock = _with_debian(present.lock, spec, settings, tuple(additions), cache=cache, note=note or say)

    lock = lock or _lock_anew(
        spec,
        settings,
        wanted=describe(unset_ok=False),
        present=present or _beside(spec),
        cache=cache,
        runtime=runtime_requirements(spec) if runtime is None else runtime,
        upgrade=upgrade,
        upgrade_packages=names,
        additions=tuple(additions),
        report=say,
        note=note or say,
        display=display or Display(enabled=False),
    )
    check_locked(lock, machines)
    return Locked(
        lock, path, write_lock(path, LockFile(lock, wanted), target=_target(spec, chosen_architecture))
    )


def record(spec: AppSpec, architecture: Architecture | None, recorded: Recorded) -> bool:
    """Write an image that was built from an app's lock into the lock's file; return whether that has changed.

    Args:
        spec: the app.
        architecture: the target's; None for what the app's machines have.
        recorded: what is known of the image.

    Raises:
        LockError: the lock is missing or malformed, or cannot be written.
    """
    path = lock_path(spec, architecture)
    content = dataclasses.replace(read_lock(path), recorded=recorded)
    return write_lock(path, content, target=_target(spec, content.lock.architecture))


def _with_debian(
    lock: Lock,
    spec: AppSpec,
    settings: Settings,
    additions: tuple[Addition, ...],
    *,
    cache: Path,
    note: Callable[[str], None],
) -> Lock | None:
    """A lock with more Debian packages, nothing else chosen anew; None where packages are compiled with such."""
    if lock.base.build:
        return None
    additions = _merged(lock.additions, additions)
    base = _pin_base(
        spec,
        settings,
        lock.python,
        lock.architecture,
        additions,
        keep=lock.base,
        cache=cache,
        note=note,
        compiler=lock.cuda.compiler if lock.cuda else None,
    )
    return lock.model_copy(update={"base": base, "additions": additions})


def _machines(spec: AppSpec) -> tuple[Machine, ...]:
    """An app's machines as its packages are to see them."""
    machines = find_machines(spec.machine_types, spec.root)
    return without_gpus(machines) if spec.cuda == "none" else machines


def _merged(*some: tuple[Addition, ...]) -> tuple[Addition, ...]:
    """Additions, each once, sorted."""
    return tuple(
        sorted({*itertools.chain(*some)}, key=lambda one: (one.kind, one.name, one.library, one.package))
    )


def _pin_base(
    spec: AppSpec,
    settings: Settings,
    python: str,
    architecture: Architecture,
    additions: Sequence[Addition],
    *,
    keep: Base | None,
    cache: Path,
    note: Callable[[str], None],
    tools: Sequence[str] | None = None,
    compiler: str | None = None,
) -> Base:
    from builder.debian import resolve_base

    return resolve_base(
        python,
        mirrors=expanded_mirrors(settings),
        cache=cache,
        system_packages=(
            *spec.system_packages,
            *_names_of("debian", additions),
            *([compiler] if compiler else ()),
        ),
        build_packages=None if tools is None else spec.build_packages,
        build_defaults=tools or (),
        target=architecture,
        extra_suites=settings.suites,
        keep=keep,
        note=note,
    )


def _lock_anew(
    spec: AppSpec,
    settings: Settings,
    *,
    wanted: Declared,
    present: LockFile | None,
    cache: Path,
    runtime: Sequence[str],
    upgrade: bool,
    upgrade_packages: tuple[str, ...],
    additions: tuple[Addition, ...],
    report: Callable[[str], None],
    note: Callable[[str], None],
    display: Display,
) -> Lock:
    from builder.index import Finder
    from builder.known_secrets import known_secrets
    from builder.machine_config import machine_config
    from builder.resolve import Keep, Question, Sources, resolve
    from builder.source_build import SourceBuilder
    from builder.source_fetch import SourceFetcher
    from builder.tags import Target

    new = additions
    additions = _merged(_kept_additions(wanted, present), new)

    def pin_base(
        tools: Sequence[str] | None = None,
        known: Base | None = None,
        added: tuple[Addition, ...] = additions,
        compiler: str | None = None,
    ) -> Base:
        kept = present.lock.base if present and not upgrade else None
        if known is not None:
            # What is pinned by now stays; what is added to it is as the last time where that fits.
            extra = {deb.package: deb for deb in (*(kept.extra if kept and compiler else ()), *known.extra)}
            kept = known.model_copy(
                update={"build": kept.build if kept else (), "extra": tuple(extra.values())}
            )
        return _pin_base(
            spec,
            settings,
            wanted.python,
            wanted.architecture,
            added,
            compiler=compiler,
            keep=kept,
            cache=cache,
            note=note,
            tools=tools,
        )

    report("Choosing Debian packages")
    base = pin_base()
    target = Target.of_base(base, wanted.architecture)
    requirements = parse_requirements(spec)

    def find(wheels: tuple[Wheel, ...]) -> Finder:
        return Finder(wheels, target, settings, spec.root, requirements, report, note)

    kept = present.lock if present else None
    builder = SourceBuilder(
        target,
        base,
        partial(pin_base, known=base),
        find,
        settings=settings,
        cache=cache,
        registry=not any(name.startswith("librust-") for name in spec.build_packages),
        display=display,
    )
    fetcher = SourceFetcher(
        spec.root,
        cache,
        () if kept is None or upgrade else tuple(b for b in kept.built if b.name not in upgrade_packages),
        known_secrets(requirements, machine_config(spec.root), settings),
        mirrored="index" in settings.mirrors,
        display=display,
    )

    def solve(added: tuple[Addition, ...]) -> Resolution:
        return resolve(
            Question(
                requirements=requirements,
                target=target,
                settings=settings,
                folder=spec.root,
                runtime=parse_runtime((*runtime, *_names_of("requirement", added))),
                machines=_machines(spec),
                devel=spec.cuda == "devel",
                sources=Sources(fetcher, builder),
            ),
            Keep(kept.wheels if kept else (), upgrade_packages, upgrade, kept.built if kept else ()),
            report,
            note,
        )

    try:
        resolution = solve(additions)
    except ResolveError:
        # What was added for earlier requirements may not fit these; what is still needed will be found again.
        fitting = tuple(one for one in additions if one.kind == "debian" or one in new)
        if fitting == additions:
            raise
        additions = fitting
        resolution = solve(additions)
    base = builder.base
    names = {wheel.name for wheel in resolution.wheels} | {built.name for built in resolution.built}
    if len(still := tuple(addition for addition in additions if addition.package in names)) < len(additions):
        additions = still
        # What was chosen for the sake of a package that is gone goes too.
        resolution = solve(additions)
        base = builder.base.model_copy(update={"extra": pin_base(added=additions).extra})
    for text in resolution.notes:
        note(text)
    toolkit = None
    if resolution.toolkit is not None:
        same = kept is not None and kept.architecture == wanted.architecture and not upgrade
        earlier = kept.cuda if kept and same else None
        toolkit = _toolkit(
            resolution.toolkit, base, wanted.architecture, settings, spec.root, earlier, report
        )
        image = pin_base(known=base, added=additions, compiler=toolkit.compiler)
        there = {deb.package for deb in image.extra}
        # What the image has now need not be added for builds.
        build = tuple(deb for deb in base.build if deb.package not in there)
        base = image.model_copy(update={"build": build})
    lock = Lock(
        name=spec.name,
        python=wanted.python,
        architecture=wanted.architecture,
        machine_types=wanted.machine_types,
        wheels=resolution.wheels,
        built=resolution.built,
        base=base,
        additions=_merged(additions),
        cuda=toolkit,
        fingerprint=wanted.fingerprint(),
        tool_version=version(),
        portable=settings.portable,
    )
    return _portable(lock) if settings.portable else lock


def _kept_additions(wanted: Declared, present: LockFile | None) -> tuple[Addition, ...]:
    """What was added to an earlier lock and may be so to the next: parts of CUDA are for certain machines."""
    if present is None:
        return ()
    before = present.declared
    same_cuda = (before.machine_types, before.cuda, before.architecture) == (
        wanted.machine_types,
        wanted.cuda,
        wanted.architecture,
    )
    return tuple(
        addition
        for addition in present.lock.additions
        if (wanted.system_packages_auto if addition.kind == "debian" else same_cuda)
    )


def _names_of(kind: str, additions: Sequence[Addition]) -> list[str]:
    return sorted({addition.name for addition in additions if addition.kind == kind})


def _toolkit(
    version: str,
    base: Base,
    architecture: Architecture,
    settings: Settings,
    folder: Path,
    kept: Toolkit | None,
    report: Callable[[str], None],
) -> Toolkit:
    """Pin what a CUDA toolkit has besides packages; what the earlier lock has of the same toolkit stays."""
    from builder.cuda.redist import find_archives
    from builder.fetch import Session
    from builder.machine_config import machine_config
    from builder.requirements import Step
    from builder.uvtool import Indexes

    try:
        compiler = cuda.host_compiler(version, base.suite)
    except cuda.ToolkitError as error:
        raise ResolveError(
            f'cuda = "devel": {error}', hint="Choose another Python, or packages of another CUDA."
        ) from error
    if kept is not None and kept.version == version and kept.archives:
        return Toolkit(version=version, compiler=compiler, archives=kept.archives)
    own = Indexes.of(Step(), settings, machine_config(folder))
    session = Session(own.credentials, cert=own.cert, insecure_hosts=own.insecure_hosts, report=report)
    archives = find_archives(version, architecture, settings, session)
    return Toolkit(version=version, compiler=compiler, archives=archives)


def _portable(lock: Lock) -> Lock:
    wheels = tuple(wheel.model_copy(update={"url": None}) for wheel in lock.wheels)
    return lock.model_copy(
        update={"wheels": wheels, "built": tuple(map(_portable_source, lock.built)), "portable": True}
    )


def _portable_source(built: Built) -> Built:
    """A repository's URL is the app's own word, and stays; where an index has a file, its machine's matter."""
    source = built.source
    requires = tuple(wheel.model_copy(update={"url": None}) for wheel in built.requires)
    if source.kind == "archive":
        source = source.model_copy(update={"url": None})
    return built.model_copy(update={"source": source, "requires": requires})


def _beside(spec: AppSpec) -> LockFile | None:
    """The lock for the app's own platform, whose pins the first one for another begins with."""
    path = lock_path(spec)
    return read_lock(path) if path.exists() else None


def _target(spec: AppSpec, architecture: Architecture) -> str:
    target = f"{spec.file.name}::{spec.class_name}"
    own = architecture == spec.architecture
    return target if own else f"{target} {platform_option(architecture)}"


def _check_frozen(path: Path, present: LockFile | None, wanted: Declared, *, fresh: bool) -> None:
    hint = "Run `builder lock` and commit the result."
    if present is None:
        raise LockError(f"there is no lock {path}, and --frozen forbids to write it", hint=hint)
    if not fresh:
        changes = list(present.declared.difference(wanted)) or ["its record of the declaration was edited"]
        raise LockError(f"{path} is out of date: " + "; ".join(changes), hint=hint)
