"""`builder machines`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.cli import options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from builder.machines import Machine

_HEADINGS = ("type", "GPU", "capability", "CUDA", "driver", "video GB", "memory GB", "cores", "processor")


@click.command()
@options.json_option
def machines(as_json: bool) -> None:
    """List the machine types that apps can name: builder's own, and those of the project and the user."""
    from builder.machines import known_machines

    known = known_machines(Path.cwd())
    if as_json:
        click.echo(json.dumps([asdict(machine) for machine in known.values()]))
        return
    rows = [_HEADINGS, *(_row(machine) for machine in known.values())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
    click.echo()
    for source, date in _sources(known.values()):
        click.echo(f"from {source}" + (f", {date}" if date else ""))


def _row(machine: Machine) -> tuple[str, ...]:
    numbers = (machine.video_memory, machine.memory, machine.cores)
    return (
        machine.name,
        machine.gpu or "",
        machine.capability or "",
        _span(machine.first_cuda, machine.last_cuda),
        _span(machine.driver, machine.last_driver),
        *("" if number is None else f"{number:g}" for number in numbers),
        machine.architecture,
    )


def _span(first: str | None, last: str | None) -> str:
    if first and last:
        return f"{first} to {last}"
    return f"{first} on" if first else f"to {last}" if last else ""


def _sources(machines: Iterable[Machine]) -> dict[tuple[str, str], None]:
    """Where the machine types are known from, and when that was read, each once."""
    return dict.fromkeys((machine.source, machine.date) for machine in machines)
