"""Joins several layers into one without compressing anything again.

The specification, a JSON object:
    layers: the layers' folders, in the order they would be stacked.
    out: the folder that gets `blob` and `layer.json`.

The result holds what the stack would show: of a file that several layers have, the last counts. Each file's members
are copied as they are; headers, table of contents and digests are made anew.
"""

from __future__ import annotations

import json
import os
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from estargz import LANDMARK, LayerWriter, write_layer_json
from gzip_members import Chunk, LayerError, RangeReader
from tar_headers import Owner

_FOOTER = 51
_BLOCK = 512


class _Entry(NamedTuple):
    """One entry of a layer to be joined.

    Attributes:
        source: the layer's blob.
        toc: its line in the table of contents.
        chunks: a file's content, in order.
    """

    source: RangeReader
    toc: dict[str, Any]
    chunks: list[Chunk]


def build(spec: dict[str, Any]) -> None:
    """Make the layer.

    Args:
        spec: see above.

    Raises:
        LayerError: a layer is not one this project made, or a path is a file in one and a folder in another.
        OSError: something cannot be read or written.
    """
    out = Path(spec["out"])
    out.mkdir(parents=True, exist_ok=True)
    contents: list[dict[str, str]] = []
    with ExitStack() as stack:
        entries: dict[str, _Entry] = {}
        for folder in map(Path, spec["layers"]):
            contents += json.loads((folder / "layer.json").read_text(encoding="utf-8"))["contents"]
            file = stack.enter_context((folder / "blob").open("rb", buffering=0))
            for entry in _entries(file.fileno()):
                name = entry.toc["name"].rstrip("/")
                known = entries.pop(name, None)
                if known is not None and (known.toc["type"] == "dir") != (entry.toc["type"] == "dir"):
                    raise LayerError(f"{name!r} is a folder in one wheel and a file in another")
                # A folder stays where it was first met, since what is in it comes after; a file's last version
                # has its place in the order of the layer it comes from.
                entries[name] = entry if known is None or entry.toc["type"] != "dir" else known
        layer = stack.enter_context(LayerWriter(out / "blob"))
        for name, entry in entries.items():
            _copy(layer, name, entry)
        info = layer.close()
    write_layer_json(out, info, contents)


def _copy(layer: LayerWriter, name: str, entry: _Entry) -> None:
    toc = entry.toc
    owner = Owner(toc["mode"], toc.get("uid", 0), toc.get("gid", 0))
    if toc["type"] == "dir":
        layer.add_directory(name, *owner)
    elif toc["type"] == "symlink":
        layer.add_symlink(name, toc["linkName"], owner.uid, owner.gid)
    elif toc["type"] == "reg":
        layer.add_members(name, entry.source, entry.chunks, toc["digest"], owner)
    else:
        raise LayerError(f"{name!r} is a {toc['type']}, which no wheel holds")


def _entries(fd: int) -> list[_Entry]:
    """What a layer holds, chunks gathered at their files; the format's own entries are left out."""
    toc, end = _table_of_contents(fd)
    source = RangeReader(fd)
    offsets = sorted(line["offset"] for line in toc if line.get("size") or line["type"] == "chunk")
    following = dict(zip(offsets, [*offsets[1:], end]))  # noqa: B905 - Python 3.9 has no strict
    entries: list[_Entry] = []
    for line in toc:
        if line["name"] == LANDMARK:
            continue
        if line["type"] != "chunk":
            entries.append(_Entry(source, line, []))
            if not line.get("size"):
                continue
        size = line.get("chunkSize") or entries[-1].toc["size"] - line.get("chunkOffset", 0)
        entries[-1].chunks.append(Chunk(line["offset"], following[line["offset"]], size, line["chunkDigest"]))
    return entries


def _table_of_contents(fd: int) -> tuple[list[dict[str, Any]], int]:
    """Read a layer's table of contents, and the offset it stands at."""
    size = os.fstat(fd).st_size
    footer = os.pread(fd, _FOOTER, size - _FOOTER)
    if footer[32:38] != b"STARGZ":
        raise LayerError("not an eStargz layer: it has no footer")
    offset = int(footer[16:32], 16)
    data = zlib.decompressobj(31).decompress(os.pread(fd, size - _FOOTER - offset, offset))
    length = int(data[124:135], 8)  # the size field of the tar header
    toc: list[dict[str, Any]] = json.loads(data[_BLOCK : _BLOCK + length])["entries"]
    return toc, offset
