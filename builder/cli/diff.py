"""`builder diff`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from builder.cli import options

if TYPE_CHECKING:
    from builder.compare import Change, Difference, Item

_SHOWN_CELL = 80
_SHOWN_DIGEST = 19  # "sha256:" and as much as tells layers apart


@click.command()
@click.argument("before")
@click.argument("after")
@click.option("--markdown", is_flag=True, help="Print tables, as forges show them in comments.")
@options.json_option
def diff(before: str, after: str, markdown: bool, as_json: bool) -> None:
    """Say what is different between two locks, or two images.

    BEFORE and AFTER are each a lock's file, an image's link (result-<app>), or docker://host/repository:tag.
    """
    from builder.compare import compare, read_side

    found = compare(read_side(before), read_side(after))
    if as_json:
        click.echo(json.dumps(_body(found)))
        return
    for line in _markdown(found) if markdown else _lines(found):
        click.echo(line)


def _body(found: Difference) -> dict[str, object]:
    return {
        "same": found.is_empty,
        "facts": {name: {"before": old, "after": new} for name, (old, new) in found.facts.items()},
        "changes": {
            group: [asdict(change) for change in changes] for group, changes in found.changes.items()
        },
        "unchanged": dict(found.same),
        "size": {"before": found.before.size, "after": found.after.size},
    }


def _lines(found: Difference) -> list[str]:
    if found.is_empty:
        return ["nothing is different"]
    lines = [f"{name}: {old or 'none'} -> {new or 'none'}" for name, (old, new) in found.facts.items()]
    for group, changes in found.changes.items():
        if changes:
            lines.append(f"{group}: {len(changes)} different, {found.same[group]} the same")
            lines += [f"  {_line(change, group)}" for change in changes]
    before, after = found.before.size, found.after.size
    if before is not None and after is not None:
        lines.append(f"size: {_megabytes(before)} -> {_megabytes(after)} ({_signed(after - before)})")
    return lines


def _markdown(found: Difference) -> list[str]:
    if found.is_empty:
        return [f"The {found.before.kind}s are the same."]
    lines = []
    if found.facts:
        lines += ["| | before | after |", "|---|---|---|"]
        lines += [
            f"| {_cell(name)} | {_cell(old)} | {_cell(new)} |" for name, (old, new) in found.facts.items()
        ]
    for group, changes in found.changes.items():
        if changes:
            lines += ["", f"**{group}**: {len(changes)} different, {found.same[group]} the same", ""]
            lines += ["| | before | after | size |", "|---|---|---|---|"]
            lines += [_row(change, group) for change in changes]
    before, after = found.before.size, found.after.size
    if before is not None and after is not None:
        lines += ["", f"**size**: {_megabytes(before)} -> {_megabytes(after)} ({_signed(after - before)})"]
    return lines


def _row(change: Change, group: str) -> str:
    name = change.name[:_SHOWN_DIGEST] if group == "layers" else change.name
    sides = [_cell(side.version if side else "") for side in (change.before, change.after)]
    sizes = [side.size if side else 0 for side in (change.before, change.after)]
    size = "" if None in sizes else _signed((sizes[1] or 0) - (sizes[0] or 0))
    return f"| {_cell(name)} | {' | '.join(sides)} | {size} |"


def _cell(text: str) -> str:
    """Text as code, so that a forge takes nothing in it for a mention, a link or HTML."""
    shown = text if len(text) <= _SHOWN_CELL else f"{text[:_SHOWN_CELL]}..."
    kept = " ".join(shown.replace("`", "'").replace("|", "/").split())
    return f"`{kept}`" if kept else ""


def _line(change: Change, group: str) -> str:
    name = change.name[:_SHOWN_DIGEST] if group == "layers" else change.name
    if change.before is None and change.after is not None:
        return f"+ {name} {_shown(change.after)}"
    if change.after is None and change.before is not None:
        return f"- {name} {_shown(change.before)}"
    assert change.before is not None
    assert change.after is not None
    text = f"  {name} {change.before.version} -> {change.after.version}"
    if change.before.size is not None and change.after.size is not None:
        text += f" ({_signed(change.after.size - change.before.size)})"
    return text


def _shown(item: Item) -> str:
    return item.version + (f" ({_megabytes(item.size)})" if item.size is not None else "")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _signed(size: int) -> str:
    return f"{size / 1e6:+.1f} MB"
