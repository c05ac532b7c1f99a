"""Says what an app's image will be made of and what that takes, before anything large is fetched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder import cuda, layering, nix
from builder.cuda.redist import archive_file
from builder.debian import build_tools
from builder.machines import find_machines, without_gpus
from builder.models import Built
from builder.nix import build_machine
from builder.sources import deb_file, package_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.machines import Machine
    from builder.models import AppSpec, Lock, Wheel

# Layers besides those of packages: the base, the runtime, the code.
_OTHER_LAYERS = 3


@dataclass(frozen=True)
class Package:
    """A package of an image.

    Attributes:
        name: its name.
        version: its version.
        size: bytes of its wheel, or None where no index said.
        is_here: whether the store has the wheel, or what it is built from.
        is_built: whether it is built from source.
    """

    name: str
    version: str
    size: int | None
    is_here: bool
    is_built: bool


@dataclass(frozen=True)
class Forecast:
    """What a build will take.

    Attributes:
        name: the app's.
        python: "3.11".
        suite: the Debian release of the base.
        architecture: the image's.
        machine_types: as declared.
        packages: all, sorted by name.
        debian_packages: how many Debian packages the image has.
        layers: how many it will have.
        download: bytes that must be fetched, as far as sizes are known; Debian packages included.
        unknown: names of packages of unknown size that must be fetched.
        cuda: the CUDA of the image ("12.8"), or None.
        toolkit: the version of the CUDA toolkit ("12.8"), or None.
        toolkit_size: bytes of its archives; its packages are among the others.
        why: why it is that one, in a sentence, or "".
        driver: the smallest driver for the machines, or None.
        capabilities: the machines' compute capabilities, in order.
        warnings: what is ending.
    """

    name: str
    python: str
    suite: str
    architecture: str
    machine_types: tuple[str, ...]
    packages: tuple[Package, ...]
    debian_packages: int
    layers: int
    download: int
    unknown: tuple[str, ...]
    cuda: str | None
    toolkit: str | None
    toolkit_size: int
    why: str
    driver: str | None
    capabilities: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of all packages of known size."""
        return sum(package.size or 0 for package in self.packages)


def forecast(spec: AppSpec, lock: Lock) -> Forecast:
    """Find out what an image takes; nothing is fetched, evaluated or built.

    Args:
        spec: the app.
        lock: its lock.

    Raises:
        ToolError: Nix is missing or cannot be used.
    """
    files = {package_file(file): file for file in lock.files}
    debs = {deb_file(deb): deb for deb in (*lock.base.debs[lock.architecture], *lock.base.extra)}
    tools = {deb_file(deb): deb for deb in build_tools(lock.base, build_machine())}
    archives = {archive_file(one): one for one in (lock.cuda.archives if lock.cuda else ())}
    missing = set(nix.missing([*files, *debs, *tools, *archives]))
    gone = {files[added].sha256 for added in missing if added in files}
    machines = find_machines(lock.machine_types, spec.root)
    if spec.cuda == "none":
        machines = without_gpus(machines)
    said = cuda.describe(lock, machines, spec.cuda).labels
    return Forecast(
        name=lock.name,
        python=lock.python,
        suite=lock.base.suite,
        architecture=lock.architecture,
        machine_types=lock.machine_types,
        packages=tuple(
            Package(
                package.name,
                package.version,
                package.size,
                is_here=_file_hash(package) not in gone,
                is_built=isinstance(package, Built),
            )
            for package in lock.packages
        ),
        debian_packages=len(debs),
        layers=len(layering.group(list(lock.packages)))
        + _OTHER_LAYERS
        + bool(lock.base.extra)
        + bool(cuda.parts_of(lock.packages) or lock.cuda)
        + bool(archives),
        download=sum(
            (files.get(added) or debs.get(added) or tools.get(added) or archives[added]).size or 0
            for added in missing
        ),
        unknown=tuple(
            sorted(files[added].name for added in missing if added in files and not files[added].size)
        ),
        cuda=said.get("builder.cuda"),
        toolkit=lock.cuda.version if lock.cuda else None,
        toolkit_size=sum(archive.size for archive in archives.values()),
        why=_why(lock, machines),
        driver=said.get("builder.cuda.driver"),
        capabilities=tuple(filter(None, said.get("builder.cuda.capabilities", "").split(","))),
        warnings=tuple(_warnings(lock, machines)),
    )


def _file_hash(package: Wheel | Built) -> str | None:
    """The hash of the file that a package is installed or built from; None where that is no file."""
    file = package.archive if isinstance(package, Built) else package
    return file.sha256 if file else None


def _torch(lock: Lock) -> str | None:
    return next((package.version for package in lock.packages if package.name == "torch"), None)


def _why(lock: Lock, machines: Sequence[Machine]) -> str:
    """Why the image has the CUDA that it has."""
    torch = _torch(lock)
    if torch is None:
        return ""
    names = ", ".join(machine.name for machine in machines)
    try:
        build = cuda.choose_build(machines, torch)
    except cuda.NoBuildError as error:
        return f"the app chooses it itself: {error}"
    locked = cuda.locked_cuda(lock)
    if build is None or build.cuda != locked:
        return "the app or this machine's own index chooses it"
    builds = ", ".join(cuda.builds_of(torch))
    return f"torch {torch} has builds {builds}; {build.backend} is the one for {names}"


def _warnings(lock: Lock, machines: Sequence[Machine]) -> list[str]:
    """What works with this lock and will not for ever."""
    warnings = [
        f"{machine.name}: driver branch {machine.last_driver} is the last one for the {machine.gpu}"
        for machine in machines
        if machine.last_driver
    ]
    torch = _torch(lock)
    gpus = [machine for machine in machines if machine.capability]
    if torch is not None and gpus and (cuda.locked_cuda(lock) or "").startswith("12."):
        last = [
            release for release in cuda.releases() if any(_is_12(build) for build in cuda.builds_of(release))
        ]
        following = cuda.releases()[-1]
        if last and last[-1] != following:
            warnings.append(
                f"torch {last[-1]} is the last release with builds for CUDA 12: from {following} on a machine needs "
                "driver 580"
            )
    return warnings


def _is_12(build: str) -> bool:
    return (cuda.cuda_of(build) or "").startswith("12.")
