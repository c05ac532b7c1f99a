"""What is added to an app's lock for libraries that its packages need and do not bring.

Two things bring libraries: Debian's packages, for what an import would lack; and NVIDIA's parts of CUDA, for what a
package built for CUDA lacks whether or not its import would, since on a GPU that is what the package is for.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from builder import cuda
from builder.debian.contents import find_packages
from builder.errors import ResolveError, ToolError
from builder.machines import find_machines
from builder.models import Addition
from builder.settings import expanded_mirrors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from builder.cuda import Part
    from builder.links import LinkError, Need, Report
    from builder.machines import Machine
    from builder.models import AppSpec, Lock
    from builder.settings import Settings

# The CUDA before it is taken only where no other will do.
_LOWEST_MAJOR = 12


def for_imports(
    error: LinkError,
    spec: AppSpec,
    lock: Lock,
    settings: Settings,
    *,
    cache: Path,
    frozen: bool,
    note: Callable[[str], None],
) -> tuple[Addition, ...]:
    """Find what ends an image's failure.

    Args:
        error: the failure.
        spec: the app.
        lock: its lock.
        settings: its project's.
        cache: this program's cache folder.
        frozen: whether the lock may not be written.
        note: told what the user should know although nothing failed.

    Returns:
        what to add; never empty.

    Raises:
        LinkError: nothing does, wholly; or the lock may not be written, or the app wants no Debian packages added: then
            with what to do about it.
        ResolveError, ToolError: Debian's indexes cannot be had.
    """
    parts = cuda_parts(error.needs, spec, lock)
    brought = {addition.library for addition in parts}
    # The reason may be that there is no CUDA yet.
    if any(need.kind != "library" or (need.reason and need.name not in brought) for need in error.needs):
        raise error
    found = [*parts, *_debian(error.needs, lock, settings, cache=cache, note=note)]
    new = _new(found, lock)
    met = {addition.library for addition in new}
    if left := sorted({need.name for need in error.needs} - met):
        error.hint = f"No package of Debian {lock.base.suite} has {', '.join(left)}."
        raise error
    if frozen:
        error.hint = "The lock lacks what a build would add: run `builder build` without --frozen, and commit the lock."
        raise error
    if not spec.system_packages_auto and any(addition.kind == "debian" for addition in new):
        names = sorted(
            {*spec.system_packages, *(addition.name for addition in new if addition.kind == "debian")}
        )
        error.hint = f"Debian has it: system_packages = {json.dumps(names)}, or leave out system_packages_auto = False."
        raise error
    return new


def for_parts(
    report: Report, spec: AppSpec, lock: Lock, settings: Settings, *, cache: Path, note: Callable[[str], None]
) -> tuple[Addition, ...]:
    """Find what an image that did not fail should have besides: what its apps may import, and parts of CUDA.

    Args:
        report: what the check of its libraries has found.
        spec: the app.
        lock: its lock.
        settings: its project's.
        cache: this program's cache folder.
        note: told what the user should know although nothing failed.

    Returns:
        what to add; of Debian nothing where it cannot be asked, with a note: the image is good without.
    """
    needs = (*report.wanted, *report.optional)
    found = cuda_parts(needs, spec, lock)
    if spec.system_packages_auto:
        wanted = [need for need in report.wanted if need.kind == "library"]
        try:
            found += _debian(wanted, lock, settings, cache=cache, note=note)
        except (ResolveError, ToolError) as error:
            note(f"Debian was not asked for what parts of packages lack: {error}")
    return _new(found, lock)


def _debian(
    needs: Sequence[Need], lock: Lock, settings: Settings, *, cache: Path, note: Callable[[str], None]
) -> list[Addition]:
    """The Debian packages that have needed libraries."""
    packages = find_packages(
        dict.fromkeys(need.name for need in needs if cuda.part_of(need.name) is None),
        python=lock.python,
        mirrors=expanded_mirrors(settings),
        cache=cache,
        target=lock.architecture,
        extra_suites=settings.suites,
        note=note,
    )
    return [
        Addition(kind="debian", name=packages[need.name], library=need.name, package=need.package)
        for need in needs
        if need.name in packages
    ]


def cuda_parts(needs: Sequence[Need], spec: AppSpec, lock: Lock) -> list[Addition]:
    """The parts of CUDA that have needed libraries; none for an app without GPUs or CUDA.

    Packages often have a library for each version of CUDA and load one. So what counts is the image's CUDA, and what
    is for another is left alone. Where the image has none yet, it is the one that the machines would have of those that
    are asked for.

    Args:
        needs: what is not met; what NVIDIA's own parts need is left alone, as their plugins do not matter.
        spec: the app.
        lock: its lock.
    """
    machines = find_machines(lock.machine_types, spec.root)
    if spec.cuda == "none" or not any(machine.capability for machine in machines):
        return []
    asked = [
        (need, part)
        for need in needs
        if not need.package.startswith("nvidia-") and (part := cuda.part_of(need.name)) is not None
    ]
    # What lacks cuDNN or NCCL alone is a way to them, which an app may never take; a gigabyte is not added for that.
    of_toolkit = {need.library for need, part in asked if part.extra}
    asked = [(need, part) for need, part in asked if part.extra or need.library in of_toolkit]
    version = cuda.locked_cuda(lock) or _choose([part for _, part in asked], machines)
    if version is None:
        return []
    brought = dict(cuda.requirements([part for _, part in asked], version))
    return [
        Addition(kind="requirement", name=brought[part], library=need.name, package=need.package)
        for need, part in asked
        if part in brought
    ]


def _choose(parts: Sequence[Part], machines: Sequence[Machine]) -> str | None:
    """The CUDA for parts of which no other package says it.

    It is of the major version that has most of them, the older of two that have as many, since it runs with older
    drivers; but for CUDA 11, which other packages have left.
    """
    counts: dict[int, int] = {}
    for part in parts:
        for major in part.majors:
            counts[major] = counts.get(major, 0) + 1
    for major in sorted(counts, key=lambda major: (-counts[major], major < _LOWEST_MAJOR, major)):
        if version := cuda.newest_of(major, machines):
            return version
    return None


def _new(found: Sequence[Addition], lock: Lock) -> tuple[Addition, ...]:
    """What the lock has not been given yet."""
    return tuple(addition for addition in dict.fromkeys(found) if addition not in lock.additions)
