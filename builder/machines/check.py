"""Checks what an app says of its machines."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from builder.errors import DeclarationError
from builder.machines.table import Machine, find, known_machines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_MOST_GPUS = 8


def check_machines(
    names: Sequence[str],
    num_gpus: int | None,
    *,
    cuda: str | None = None,
    root: Path,
    where: Callable[[str], str],
) -> tuple[Machine, ...]:
    """See that an app's machine types are known, that one image can be for all of them, and that GPUs are theirs.

    Args:
        names: as declared.
        num_gpus: as declared.
        cuda: as declared, or None.
        root: the project's folder.
        where: what an error about a setting begins with.

    Returns:
        the machine types, in the order they are named.

    Raises:
        DeclarationError: a type is not known, with the nearest names; two have different processors; `num_gpus` is
            not 1 to 8, or a type has no GPU; `cuda` asks for what only a machine with a GPU has a use for.
    """
    known = known_machines(root)
    machines = tuple(_known(name, known, where("machine_type")) for name in names)
    first = machines[0]
    for other in machines[1:]:
        if other.architecture != first.architecture:
            raise DeclarationError(
                f"{where('machine_type')}: {first.name} has an {first.architecture} processor and {other.name} an "
                f"{other.architecture} one: no image runs on both",
                hint="Leave one of them out, or make two apps.",
            )
    if num_gpus is not None:
        if not 1 <= num_gpus <= _MOST_GPUS:
            raise DeclarationError(f"{where('num_gpus')} must be 1 to {_MOST_GPUS}, not {num_gpus}")
        without = [machine.name for machine in machines if machine.gpu is None]
        if without:
            raise DeclarationError(
                f"{where('num_gpus')} is {num_gpus}, and a machine of the type {without[0]} has no GPU",
                hint="Name types that have one, such as GPU-H100, or leave num_gpus out.",
            )
    if cuda in ("runtime", "devel") and not any(machine.gpu for machine in machines):
        raise DeclarationError(
            f'{where("cuda")} is "{cuda}", and a machine of the type {first.name} has no GPU',
            hint="Name a type that has one, such as GPU-H100, or leave cuda out.",
        )
    return machines


def _known(name: str, known: Mapping[str, Machine], where: str) -> Machine:
    machine = find(name, known)
    if machine is None:
        lowered = {other.lower(): other for other in known}
        lowered |= {other.removeprefix("gpu-"): type_ for other, type_ in lowered.items()}
        near = dict.fromkeys(lowered[match] for match in get_close_matches(name.lower(), lowered, 3))
        mean = f" Did you mean {' or '.join(near)}?" if near else ""
        raise DeclarationError(
            f"{where}: there is no machine type {name!r}.{mean}",
            hint="`builder machines` shows all; others are described in [tool.builder.machines].",
        )
    return machine
