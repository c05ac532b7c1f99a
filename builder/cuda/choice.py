"""Chooses the CUDA build of a release of torch for an app's machines."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from builder.machines import Machine

_TABLE = Path(__file__).with_name("builds.toml")
# A driver older than that of CUDA 12 (525, of 2022) is not worth an older CUDA, which other packages have left.
_LOWEST_MAJOR = 12


class NoBuildError(Exception):
    """No build of a release runs on all of an app's machines; the text says which and why, without a full stop."""


@dataclass(frozen=True)
class Build:
    """A CUDA build of torch.

    Attributes:
        backend: as PyTorch's indexes and uv's --torch-backend name it: "cu128", or "cpu".
        driver: the smallest driver that it runs with on the machines; None for "cpu".
        is_default: whether it is the one that the default package index has.
    """

    backend: str
    driver: str | None = None
    is_default: bool = False

    @property
    def cuda(self) -> str | None:
        """The CUDA version, "12.8"; None for "cpu"."""
        return cuda_of(self.backend)


def cuda_of(backend: str) -> str | None:
    """The CUDA version that a build's name or a local version says: "12.8" of "cu128"; None of any other."""
    digits = backend.removeprefix("cu")
    return f"{digits[:-1]}.{digits[-1]}" if backend.startswith("cu") and digits.isdecimal() else None


def packages() -> frozenset[str]:
    """The packages that are taken from PyTorch's own index, normalized."""
    return frozenset(_table()["packages"])


def index_of(backend: str, mirror: str | None = None) -> str:
    """The URL of PyTorch's index of a build.

    Args:
        backend: "cu128" or "cpu".
        mirror: what stands in for PyTorch's own index, or None.
    """
    return f"{(mirror or _table()['index']).rstrip('/')}/{backend}"


def releases() -> tuple[str, ...]:
    """The releases of torch that are known, by major and minor version, in order."""
    return tuple(_table()["torch"])


def default_build(torch: str) -> str | None:
    """The build that the default package index has of a release, or None where that is not known."""
    known = _table()["torch"].get(_release(torch))
    return str(known["default"]) if known else None


def builds_of(torch: str) -> tuple[str, ...]:
    """The builds that a release has; none where nothing is known of it."""
    known = _table()["torch"].get(_release(torch))
    return tuple(known["builds"]) if known else ()


def choose_build(machines: Sequence[Machine], torch: str) -> Build | None:
    """Choose the build of a release that runs on all machines.

    Machines without a GPU run any build; where none has one it is "cpu". Of several builds those for the oldest
    driver are taken (but for CUDA 11's), then the default index's own, then the newest.

    Args:
        machines: the app's; never empty.
        torch: its version.

    Returns:
        the build; None where nothing is known of the release.

    Raises:
        NoBuildError: none of its builds runs on all of them.
    """
    gpus = [machine for machine in machines if machine.capability is not None]
    if not gpus:
        return Build("cpu")
    known = _table()["torch"].get(_release(torch))
    if known is None:
        return None
    fitting = [build for build in known["builds"] if all(runs_on(build, torch, gpu) for gpu in gpus)]
    if not fitting:
        raise NoBuildError(_why(torch, known["builds"], gpus))
    preferred = [build for build in fitting if all(_is_preferred(build, gpu) for gpu in gpus)] or fitting
    lowest = min(max(_major(build), _LOWEST_MAJOR) for build in preferred)
    of_lowest = [build for build in preferred if max(_major(build), _LOWEST_MAJOR) == lowest]
    backend = known["default"] if known["default"] in of_lowest else max(of_lowest, key=_number)
    return Build(backend, smallest_driver(cuda_of(backend) or "", gpus), backend == known["default"])


def newest_of(major: int, machines: Sequence[Machine]) -> str | None:
    """The CUDA of a major version ("12.6") that the newest release of torch has of those that run on all machines.

    Where nothing else says it, this is the one that most other packages are made for.
    """
    gpus = [machine for machine in machines if machine.capability is not None]
    for release in reversed(releases()):
        known = _table()["torch"][release]
        fitting = [
            build
            for build in known["builds"]
            if _major(build) == major and all(runs_on(build, release, gpu) for gpu in gpus)
        ]
        if fitting:
            return cuda_of(known["default"] if known["default"] in fitting else max(fitting, key=_number))
    return None


def runs_on(build: str, torch: str, gpu: Machine) -> bool:
    """Whether a build of a release has kernels for a GPU, and its CUDA code for it at all."""
    cuda = Version(cuda_of(build) or "0")
    if gpu.last_cuda and cuda > Version(gpu.last_cuda):
        return False
    rules = _table()["kernels"].get(gpu.capability)
    if rules is None:
        return True
    release = Version(_release(torch))
    return any(
        build in rule["builds"]
        and (not rule["first"] or Version(rule["first"]) <= release)
        and (not rule["last"] or release <= Version(rule["last"]))
        for rule in rules
    )


def fitting_releases(machines: Sequence[Machine]) -> tuple[str, ...]:
    """The releases of torch that have a build which runs on all machines."""
    return tuple(_fitting(machines))


def _fitting(machines: Sequence[Machine]) -> Iterator[str]:
    for release in releases():
        try:
            choose_build(machines, release)
        except NoBuildError:
            continue
        yield release


def _why(torch: str, builds: Sequence[str], gpus: Sequence[Machine]) -> str:
    listed = ", ".join(builds)
    for gpu in gpus:
        if not any(runs_on(build, torch, gpu) for build in builds):
            return (
                f"torch {torch} has no build with kernels for {gpu.name} (compute capability {gpu.capability}); "
                f"it has {listed}"
            )
    for first in gpus:
        for other in gpus:
            if not any(runs_on(build, torch, first) and runs_on(build, torch, other) for build in builds):
                return f"no build of torch {torch} has kernels for both {first.name} and {other.name}; it has {listed}"
    names = ", ".join(gpu.name for gpu in gpus)
    return f"no build of torch {torch} has kernels for all of {names}; it has {listed}"


def smallest_driver(cuda: str, machines: Sequence[Machine]) -> str | None:
    """The smallest Linux driver that runs a CUDA version on some machines; None where nothing is known of that CUDA."""
    of_cuda: str | None = _table()["drivers"].get(cuda.partition(".")[0])
    if of_cuda is None:
        return None
    return max((of_cuda, *(machine.driver for machine in machines if machine.driver)), key=Version)


def newest_cuda(driver: str) -> str:
    """The newest CUDA that a driver runs, as far as is known."""
    runs: dict[str, str] = _table()["runs"]
    return max(
        (cuda for first, cuda in runs.items() if Version(first) <= Version(driver)),
        key=Version,
        default="11.0",
    )


def _is_preferred(build: str, gpu: Machine) -> bool:
    first = _table()["preferred"].get(gpu.capability)
    return first is None or _number(build) >= _number(first)


def _number(build: str) -> int:
    return int(build.removeprefix("cu"))


def _major(build: str) -> int:
    return _number(build) // 10


def _release(torch: str) -> str:
    version = Version(torch)
    return f"{version.major}.{version.minor}"


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    return tomllib.loads(_TABLE.read_text("utf-8"))
