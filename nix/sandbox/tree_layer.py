"""Makes an eStargz layer of a folder, such as an app's code.

The specification, a JSON object:
    root: the folder.
    prefix: where its content goes in the image, without a leading slash ("app"); "" is the image's root.
    name: what the layer is called; may be missing.
    uid, gid: owner of everything in it, the folder at `prefix` included; 0 by default.
    cores: files that may be compressed at a time.
    out: the folder that gets `blob` and `layer.json`.

Of a file's mode only the owner's executable bit counts: 0755 or 0644, folders 0755. Links stay links.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

from estargz import LayerError, LayerWriter, write_layer_json


def build(spec: dict[str, Any]) -> None:
    """Make the layer.

    Args:
        spec: see above.

    Raises:
        LayerError: the folder has something that no layer can hold: a name that is not UTF-8, a socket.
        OSError: something cannot be read or written.
    """
    out = Path(spec["out"])
    out.mkdir(parents=True, exist_ok=True)
    owner = (spec.get("uid") or 0, spec.get("gid") or 0)
    prefix = spec["prefix"].strip("/")
    with LayerWriter(out / "blob", threads=spec.get("cores") or 1) as layer:
        if prefix:
            layer.add_directory(prefix, 0o755, *owner)
        _add_folder(layer, Path(spec["root"]), f"{prefix}/" if prefix else "", owner)
    assert layer.info is not None
    contents = [{"name": spec["name"], "version": ""}] if spec.get("name") else []
    write_layer_json(out, layer.info, contents)


def _add_folder(layer: LayerWriter, folder: Path, prefix: str, owner: tuple[int, int]) -> None:
    """Add what is in a folder, sorted by name, so that the order does not depend on the file system."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        name = prefix + path.name
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            layer.add_symlink(name, os.readlink(path), *owner)  # a Path drops a trailing slash
        elif stat.S_ISDIR(mode):
            layer.add_directory(name, 0o755, *owner)
            _add_folder(layer, path, f"{name}/", owner)
        elif stat.S_ISREG(mode):
            layer.add_file(name, path, 0o755 if mode & stat.S_IXUSR else 0o644, *owner)
        else:
            raise LayerError(
                f"{path} is neither a file nor a folder nor a link; leave it out of the app's files"
            )


if __name__ == "__main__":
    try:
        build(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    except (LayerError, OSError) as failure:
        sys.exit(f"error: {failure}")
