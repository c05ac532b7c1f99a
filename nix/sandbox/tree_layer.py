"""Makes an eStargz layer of a folder: an app's code, or this project's runtime.

The specification, a JSON object:
    root: the folder.
    name: what the layer holds, for its description.
    prefix: where it goes, without a leading or trailing slash.
    uid, gid: who owns what is in it.
    cores: files that may be compressed at a time.
    out: the folder that gets `blob` and `layer.json`.

Directories that lead to the prefix are root's. Modes are 0755 and 0644, by whether the owner may execute.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from estargz import LayerWriter, write_layer_json

if TYPE_CHECKING:
    from collections.abc import Iterator


def build(spec: dict[str, Any]) -> None:
    """Make the layer.

    Args:
        spec: see above.

    Raises:
        LayerError: an entry that no layer can hold.
        OSError: something cannot be read or written.
    """
    out = Path(spec["out"])
    out.mkdir(parents=True, exist_ok=True)
    uid, gid = spec.get("uid", 0), spec.get("gid", 0)
    with LayerWriter(out / "blob", threads=spec.get("cores") or 1) as layer:
        if uid or gid:
            layer.add_directory(spec["prefix"], 0o755, uid, gid)
        for name, path, mode in _walk(Path(spec["root"]), spec["prefix"]):
            if stat.S_ISLNK(mode):
                layer.add_symlink(name, os.readlink(path), uid, gid)
            elif stat.S_ISDIR(mode):
                layer.add_directory(name, 0o755, uid, gid)
            else:
                layer.add_file(name, path, 0o755 if mode & stat.S_IXUSR else 0o644, uid, gid)
        info = layer.close()
    write_layer_json(out, info, [{"name": spec["name"], "version": ""}])


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, Path, int]]:
    """What is in a folder, parents first, in the order of the names' bytes."""
    for path in sorted(folder.iterdir(), key=lambda entry: os.fsencode(entry.name)):
        name = f"{prefix}/{path.name}"
        mode = path.lstat().st_mode
        yield name, path, mode
        if stat.S_ISDIR(mode):
            yield from _walk(path, name)
