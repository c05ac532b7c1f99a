"""Joins several wheels' layers into one, without compressing anything again.

The specification, a JSON object:
    layers: the layers' folders, in the order the wheels are installed.
    out: the folder that gets `blob` and `layer.json`.

Every file of a layer has gzip members of its own, so they are copied from blob to blob; tar headers and table of
contents are made anew. Where wheels have a file of the same path, the last one's counts, as if they had been
installed one after another.
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from estargz import LayerError, LayerWriter, RangeReader, write_layer_json
from toc_reader import TocEntry, read_toc


class _Input(NamedTuple):
    """One of the layers."""

    title: str
    contents: list[dict[str, str]]
    source: RangeReader
    entries: list[TocEntry]


def build(spec: dict[str, Any]) -> None:
    """Make the layer.

    Args:
        spec: see above.

    Raises:
        LayerError: a layer is damaged, or a path is a folder in one and a file in another.
        OSError: something cannot be read or written.
    """
    out = Path(spec["out"])
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        inputs = [_open(Path(folder), stack) for folder in spec["layers"]]
        last = _last_of_each_path(inputs)
        layer = stack.enter_context(LayerWriter(out / "blob"))
        for number, one in enumerate(inputs):
            for entry in one.entries:
                if entry.kind == "dir":
                    layer.add_directory(entry.name, *last[entry.name][1].owner)
                elif last[entry.name][0] == number:
                    _copy(layer, one, entry)
        info = layer.close()
    write_layer_json(out, info, [package for one in inputs for package in one.contents])


def _open(folder: Path, stack: ExitStack) -> _Input:
    contents = json.loads((folder / "layer.json").read_text(encoding="utf-8"))["contents"]
    title = ", ".join(package["name"] for package in contents) or str(folder)
    file = stack.enter_context((folder / "blob").open("rb", buffering=0))
    try:
        entries = read_toc(file.fileno())
    except LayerError as error:
        raise LayerError(f"the layer of {title}: {error}") from None
    return _Input(title, contents, RangeReader(file.fileno()), entries)


def _last_of_each_path(inputs: list[_Input]) -> dict[str, tuple[int, TocEntry]]:
    """Find, for each path, the number of the last layer that has it, and its entry there."""
    last: dict[str, tuple[int, TocEntry]] = {}
    for number, one in enumerate(inputs):
        for entry in one.entries:
            if entry.name in last:
                earlier, other = last[entry.name]
                if (entry.kind == "dir") != (other.kind == "dir"):
                    raise LayerError(
                        f"{entry.name} is a folder in only one of {inputs[earlier].title} and {one.title}, "
                        "so they cannot be installed together"
                    )
            last[entry.name] = (number, entry)
    return last


def _copy(layer: LayerWriter, one: _Input, entry: TocEntry) -> None:
    if entry.kind == "reg":
        layer.add_members(entry.name, one.source, entry.chunks, entry.digest, entry.owner)
    elif entry.kind == "symlink":
        layer.add_symlink(entry.name, entry.target, entry.owner.uid, entry.owner.gid)
    else:
        raise LayerError(f"the layer of {one.title}: {entry.name} is a {entry.kind}, which no wheel has")


if __name__ == "__main__":
    try:
        build(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    except (LayerError, OSError) as failure:
        sys.exit(f"error: {failure}")
