"""The machine types that there are: this program's own, the user's, the project's."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import DeclarationError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from builder.models import Architecture

_OWN = Path(__file__).with_name("machines.toml")
_PREFIX = "GPU-"
_NUMBERS = ("video-memory", "memory", "cores")
_GPU_KEYS = ("capability", "architecture", "driver", "last-driver")


@dataclass(frozen=True)
class Machine:
    """A machine type.

    Attributes:
        name: as apps write it: "GPU-H100".
        gpu: NVIDIA's name of the GPU ("H100"); None where there is none.
        capability: the GPU's compute capability ("9.0"), or None.
        architecture: the processor's.
        first_cuda: the first CUDA toolkit that makes code for the GPU ("11.8"), or None.
        last_cuda: the last one ("12.9"), or None where none is known to be.
        driver: the smallest driver that knows the GPU, where CUDA itself asks for less ("570"), or None.
        last_driver: the last driver branch that knows it ("580"), or None.
        video_memory: of one GPU, in GB, or None where it is not known; so are the next two.
        memory: in GB.
        cores: of the processor.
        source: where this is known from.
        date: when that was read, `YYYY-MM`, or "".
    """

    name: str
    gpu: str | None = None
    capability: str | None = None
    architecture: Architecture = "x86_64"
    first_cuda: str | None = None
    last_cuda: str | None = None
    driver: str | None = None
    last_driver: str | None = None
    video_memory: float | None = None
    memory: float | None = None
    cores: float | None = None
    source: str = ""
    date: str = ""


def known_machines(root: Path) -> dict[str, Machine]:
    """All machine types, by name: the project's, then the user's, then this program's own.

    Args:
        root: the project's folder, whose pyproject.toml may have `[tool.builder.machines]`.

    Raises:
        DeclarationError: a table is malformed; the message names its file and the key.
    """
    machines = dict(_own_machines())
    for file, table in ((_users_file(), _toml(_users_file())), (root / "pyproject.toml", _projects(root))):
        for name, values in table.items():
            machines[name] = _machine(name, values, f"{file}: {name}", str(file))
    return machines


def find(name: str, machines: Mapping[str, Machine]) -> Machine | None:
    """A machine type by its name, with or without the `GPU-` before it."""
    return machines.get(name) or machines.get(_PREFIX + name)


def find_machines(names: Iterable[str], root: Path) -> tuple[Machine, ...]:
    """The machine types of these names that are known; `check_machines` has refused others."""
    machines = known_machines(root)
    return tuple(machine for name in names if (machine := find(name, machines)))


def without_gpus(machines: Iterable[Machine]) -> tuple[Machine, ...]:
    """Machine types as an app sees them that leaves their GPUs alone."""
    return tuple(
        replace(machine, gpu=None, capability=None, first_cuda=None, last_cuda=None, driver=None)
        for machine in machines
    )


@lru_cache(maxsize=1)
def _tables() -> dict[str, Any]:
    return tomllib.loads(_OWN.read_text("utf-8"))


@lru_cache(maxsize=1)
def _own_machines() -> dict[str, Machine]:
    tables = _tables()
    return {
        name: _machine(name, values, f"{_OWN.name}: {name}", tables["source"], tables["date"])
        for name, values in tables["types"].items()
    }


def _machine(name: str, values: object, where: str, source: str, date: str = "") -> Machine:
    if not isinstance(values, dict):
        raise DeclarationError(f"{where} is not a table", hint='Write { gpu = "H100", memory = 100 }.')
    _check_numbers(values, where)
    said = _gpu(values, where)
    capability = said.get("capability")
    span = _tables()["capabilities"].get(capability, {})
    if capability is not None and not span:
        capabilities = ", ".join(_tables()["capabilities"])
        raise DeclarationError(
            f"{where}: the compute capability {capability!r} is not known", hint=f"There are: {capabilities}."
        )
    architecture = said.get("architecture", "x86_64")
    if architecture not in ("x86_64", "aarch64"):
        raise DeclarationError(f"{where}: the architecture is x86_64 or aarch64, not {architecture!r}")
    return Machine(
        name=name,
        gpu=values.get("gpu"),
        capability=capability,
        architecture="aarch64" if architecture == "aarch64" else "x86_64",
        first_cuda=span.get("first"),
        last_cuda=span.get("last"),
        driver=said.get("driver"),
        last_driver=said.get("last-driver"),
        video_memory=values.get("video-memory"),
        memory=values.get("memory"),
        cores=values.get("cores"),
        source=source,
        date=date,
    )


def _check_numbers(values: Mapping[str, object], where: str) -> None:
    if unknown := sorted(set(values) - {"gpu", *_NUMBERS, *_GPU_KEYS}):
        keys = ", ".join(("gpu", *_NUMBERS, *_GPU_KEYS))
        raise DeclarationError(
            f"{where}: {unknown[0]} is not known of a machine type", hint=f"There are: {keys}."
        )
    for key in _NUMBERS:
        number = values.get(key, 0)
        if isinstance(number, bool) or not isinstance(number, int | float) or number < 0:
            raise DeclarationError(f"{where}: {key} must be a number, not {number!r}")


def _gpu(values: Mapping[str, object], where: str) -> dict[str, str]:
    """What is known of a machine type's GPU and processor: of the class that it names, and what it says itself."""
    own = {key: value for key, value in values.items() if key in _GPU_KEYS}
    for key, value in own.items():
        if not isinstance(value, str):
            raise DeclarationError(f'{where}: {key} must be a string, as in "9.0", not {value!r}')
    gpu, known = values.get("gpu"), _tables()["gpus"]
    if gpu is None and (others := own.keys() - {"architecture"}):
        raise DeclarationError(
            f"{where}: {min(others)} is of a GPU, and there is none", hint='Name it: gpu = "H100".'
        )
    if gpu is not None and gpu not in known and "capability" not in own:
        raise DeclarationError(
            f"{where}: the GPU {gpu!r} is not known",
            hint=f'Write its compute capability beside it, capability = "9.0", or name one of: {", ".join(known)}.',
        )
    return {**known.get(gpu, {}), **own}


def _users_file() -> Path:
    """The user's own table (XDG base directory specification)."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "builder" / "machines.toml"


def _projects(root: Path) -> dict[str, Any]:
    table: object = _toml(root / "pyproject.toml")
    for key in ("tool", "builder", "machines"):
        table = table.get(key, {}) if isinstance(table, dict) else {}
    if not isinstance(table, dict):
        raise DeclarationError(f"{root / 'pyproject.toml'}: tool.builder.machines is not a table")
    return table


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DeclarationError(f"{path} cannot be read: {error}") from error
