"""Reads the table of contents of an eStargz blob that this project wrote."""

from __future__ import annotations

import json
import os
import re
import zlib
from typing import Any, NamedTuple

from estargz import LANDMARK, TOC_NAME, Chunk, LayerError
from tar_headers import Owner

_FOOTER = re.compile(rb"\x1f\x8b\x08\x04.{8}SG\x16\x00([0-9a-f]{16})STARGZ.{13}", re.DOTALL)
_FOOTER_SIZE = 51
_BLOCK = 512


class TocEntry(NamedTuple):
    """An entry of a layer.

    Attributes:
        name: its name, without a trailing "/".
        kind: "dir", "reg", "symlink" or another type.
        owner: mode and owner.
        target: what a link points to.
        digest: `sha256:...` of a file's content.
        chunks: where a file's content is; none if it is empty.
    """

    name: str
    kind: str
    owner: Owner
    target: str
    digest: str
    chunks: tuple[Chunk, ...]


def read_toc(fd: int) -> list[TocEntry]:
    """Read all entries but the format's own, in the order of the layer.

    Args:
        fd: descriptor of the blob.

    Raises:
        LayerError: it is not an eStargz blob.
        OSError: it cannot be read.
    """
    size = os.fstat(fd).st_size
    footer = _FOOTER.fullmatch(
        os.pread(fd, _FOOTER_SIZE, size - _FOOTER_SIZE) if size >= _FOOTER_SIZE else b""
    )
    if footer is None:
        raise LayerError("the blob has no footer of the eStargz format")
    toc_offset = int(footer[1], 16)
    raw = [
        one for one in _read_json(fd, toc_offset, size)["entries"] if one["name"] not in {LANDMARK, TOC_NAME}
    ]
    offsets = sorted(one["offset"] for one in raw if one.get("offset"))
    following = dict(zip(offsets, [*offsets[1:], toc_offset]))  # noqa: B905 - strict is new in 3.10
    entries: list[TocEntry] = []
    for one in raw:
        if one["type"] == "chunk":
            last = entries.pop()
            entries.append(last._replace(chunks=(*last.chunks, _chunk(one, following))))
        else:
            entries.append(_entry(one, following))
    return entries


def _read_json(fd: int, offset: int, end: int) -> dict[str, Any]:
    try:
        tar = zlib.decompressobj(31).decompress(os.pread(fd, end - offset, offset))
        length = int(tar[124:135], 8)
        toc = json.loads(tar[_BLOCK : _BLOCK + length])
    except (zlib.error, ValueError) as error:
        raise LayerError(f"the blob's table of contents is damaged: {error}") from None
    if not isinstance(toc, dict) or toc.get("version") != 1:
        raise LayerError("the blob's table of contents has another version than 1")
    return toc


def _entry(one: dict[str, Any], following: dict[int, int]) -> TocEntry:
    return TocEntry(
        name=one["name"].rstrip("/"),
        kind=one["type"],
        owner=Owner(one["mode"], one.get("uid", 0), one.get("gid", 0)),
        target=one.get("linkName", ""),
        digest=one.get("digest", ""),
        chunks=(_chunk(one, following),) if one.get("size") else (),
    )


def _chunk(one: dict[str, Any], following: dict[int, int]) -> Chunk:
    # A file that is one chunk has its size as the file's.
    size = one.get("chunkSize") or one["size"]
    return Chunk(one["offset"], following[one["offset"]], size, one["chunkDigest"])
