"""Makes an eStargz layer of a folder, such as an app's code.

The specification, a JSON object:
    root: the folder.
    placed: place -> file of the folder, for a tree that is put together out of some of its files; may be missing.
    links: place -> what a symbolic link there says, of such a tree.
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
from typing import TYPE_CHECKING, Any

from estargz import LayerError, LayerWriter, write_layer_json

if TYPE_CHECKING:
    # What is at a name: a file, what a link says, or a folder.
    _Entry = Path | str | dict[str, Any]


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
        _add_tree(layer, f"{prefix}/" if prefix else "", _tree(spec), owner)
    assert layer.info is not None
    contents = [{"name": spec["name"], "version": ""}] if spec.get("name") else []
    write_layer_json(out, layer.info, contents)


def _tree(spec: dict[str, Any]) -> dict[str, _Entry]:
    root = Path(spec["root"])
    if "placed" not in spec:
        return _folder(root)
    tree: dict[str, _Entry] = {}
    placed = {place: _entry(root / name) for place, name in spec["placed"].items()}
    for place, entry in (*placed.items(), *spec["links"].items()):
        *parents, name = place.split("/")
        folder: Any = tree
        for parent in parents:
            folder = folder.setdefault(parent, {})
        folder[name] = entry
    return tree


def _folder(folder: Path) -> dict[str, _Entry]:
    return {path.name: _entry(path) for path in folder.iterdir()}


def _entry(path: Path) -> _Entry:
    if path.is_symlink():
        return os.readlink(path)
    return _folder(path) if path.is_dir() else path


def add_path(layer: LayerWriter, name: str, path: Path, owner: tuple[int, int] = (0, 0)) -> None:
    """Add a file, a link, or a folder and what is in it, under a name."""
    _add(layer, name, _entry(path), owner)


def _add_tree(layer: LayerWriter, prefix: str, tree: dict[str, _Entry], owner: tuple[int, int]) -> None:
    # Sorted by name, so that the order does not depend on the file system.
    for short in sorted(tree):
        _add(layer, prefix + short, tree[short], owner)


def _add(layer: LayerWriter, name: str, entry: _Entry, owner: tuple[int, int]) -> None:
    if isinstance(entry, str):
        layer.add_symlink(name, entry, *owner)
    elif isinstance(entry, dict):
        layer.add_directory(name, 0o755, *owner)
        _add_tree(layer, f"{name}/", entry, owner)
    else:
        mode = entry.stat().st_mode
        if not stat.S_ISREG(mode):
            raise LayerError(
                f"{entry} is neither a file nor a folder nor a link; leave it out of the app's files"
            )
        layer.add_file(name, entry, 0o755 if mode & stat.S_IXUSR else 0o644, *owner)


if __name__ == "__main__":
    try:
        build(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    except (LayerError, OSError) as failure:
        sys.exit(f"error: {failure}")
