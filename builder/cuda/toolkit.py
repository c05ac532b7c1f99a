"""The CUDA toolkit, for images that are to have its compiler: its version, its parts, and what it compiles with.

Its version is that of the packages, so that what is compiled runs with the libraries that they bring.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.version import Version

from builder.cuda.choice import choose_build, fitting_releases

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from builder.machines import Machine
    from builder.models import Built, Toolkit, Wheel

_TABLE = Path(__file__).with_name("toolkits.toml")
_PREFIX = "nvidia-"
_PURE = "-any.whl"

HOME = "/usr/local/cuda"
"""Where an image has the toolkit."""

GLIBC_HEADERS = "glibc"
"""The folder in it with headers that hide functions; nix/sandbox/cuda_layer.py makes it."""


class ToolkitError(Exception):
    """There is no such toolkit; the text says why, without a full stop."""


def default_cuda(machines: Sequence[Machine]) -> str:
    """The CUDA of a toolkit that no package decides: that of the newest PyTorch with a build for all machines.

    Args:
        machines: the app's; one of them has a GPU.

    Raises:
        ToolkitError: no build runs on all of them.
    """
    for release in reversed(fitting_releases(machines)):
        build = choose_build(machines, release)
        if build is not None and build.cuda is not None:
            return build.cuda
    names = ", ".join(machine.name for machine in machines)
    raise ToolkitError(f"no CUDA makes code for all of {names}")


def check_toolkit(cuda: str, machines: Iterable[Machine]) -> None:
    """See that there is a toolkit of a CUDA, and that it makes code for each machine's GPU.

    Args:
        cuda: "12.8".
        machines: the app's.

    Raises:
        ToolkitError: it does not; the text names the machine, and the CUDA that does.
    """
    major = cuda.partition(".")[0]
    parts = _table()["parts"]
    if major not in parts or (parts[major]["archives"] and cuda not in _table()["manifests"]):
        known = ", ".join(
            [*_table()["manifests"], *(f"{one}.*" for one in parts if not parts[one]["archives"])]
        )
        raise ToolkitError(f"the toolkit of CUDA {cuda} is not known; there are {known}")
    for machine in machines:
        of = f"for {machine.name} (compute capability {machine.capability})"
        if machine.first_cuda and Version(cuda) < Version(machine.first_cuda):
            raise ToolkitError(f"CUDA {cuda} makes no code {of}: the first that does is {machine.first_cuda}")
        if machine.last_cuda and Version(cuda) > Version(machine.last_cuda):
            raise ToolkitError(f"CUDA {cuda} makes no code {of}: the last that does is {machine.last_cuda}")


def toolkit_packages(cuda: str) -> tuple[str, ...]:
    """The packages that the toolkit of a CUDA is made of, as requirements: "nvidia-cuda-nvcc==13.0.*"."""
    return tuple(f"{name}=={cuda}.*" for name in _parts(cuda)["packages"])


def toolkit_archives(cuda: str) -> tuple[str, ...]:
    """The redistributables that it is made of, by NVIDIA's names of them: "cuda_nvcc"."""
    return tuple(_parts(cuda)["archives"])


def manifest_of(cuda: str) -> str:
    """The name of the manifest that lists these."""
    return f"redistrib_{_table()['manifests'][cuda]}.json"


def redist_url(mirror: str | None = None) -> str:
    """The URL of the folder with manifests and archives.

    Args:
        mirror: what stands in for NVIDIA's own, or None.
    """
    return str(mirror or _table()["redist"]).rstrip("/")


def host_compiler(cuda: str, suite: str) -> str:
    """The Debian package with the C++ compiler that nvcc calls: "g++", or an older one where that is too new.

    Args:
        cuda: "12.4".
        suite: Debian's name of the release; of one that is not known, "g++" is taken.

    Raises:
        ToolkitError: all that the suite has are too new.
    """
    versions: list[int] = _table()["compilers"].get(suite, [])
    newest = _newest("gcc", cuda, 0)
    if not versions or versions[-1] <= newest:
        return "g++"
    fitting = [version for version in versions if version <= newest]
    if not fitting:
        raise ToolkitError(
            f"CUDA {cuda} compiles with g++ up to {newest}, and Debian {suite} has none so old"
        )
    return f"g++-{fitting[-1]}"


def hides_functions(cuda: str, glibc: tuple[int, int]) -> bool:
    """Whether code for nvcc compiles only with some of glibc's functions hidden from it.

    Args:
        cuda: "12.4".
        glibc: the image's, major and minor version.
    """
    return Version(_newest("glibc", cuda, "0")) < Version(f"{glibc[0]}.{glibc[1]}")


def nvcc_flags(toolkit: Toolkit, glibc: tuple[int, int]) -> str:
    """What nvcc is told before its command line (NVCC_PREPEND_FLAGS), which every version reads; "" for nothing.

    Args:
        toolkit: the image's.
        glibc: the image's, major and minor version.
    """
    flags = [f"-I{HOME}/{GLIBC_HEADERS}"] if hides_functions(toolkit.version, glibc) else []
    if toolkit.compiler != "g++":
        flags.append(f"-ccbin /usr/bin/{toolkit.compiler}")
    return " ".join(flags)


def parts_of(packages: Iterable[Wheel | Built]) -> tuple[str, ...]:
    """The packages that are parts of CUDA with compiled code in them, by name, in order.

    Args:
        packages: an image's.
    """
    return tuple(
        package.name
        for package in packages
        if package.name.startswith(_PREFIX) and not (package.filename or _PURE).endswith(_PURE)
    )


def _newest(table: str, cuda: str, default: Any) -> Any:  # noqa: ANN401 - what the table has
    """What a table, whose keys are the first CUDA that something holds for, says of a CUDA."""
    known = [(Version(first), value) for first, value in _table()[table].items()]
    return max((entry for entry in known if entry[0] <= Version(cuda)), default=(None, default))[1]


def _parts(cuda: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = _table()["parts"][cuda.partition(".")[0]]
    return found


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    return tomllib.loads(_TABLE.read_text("utf-8"))
