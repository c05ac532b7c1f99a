"""Makes an eStargz layer of store paths and all that they refer to, each at its own place.

The specification, a JSON object:
    name: what the layer is called.
    cores: files that may be compressed at a time.
    out: the folder that gets `blob` and `layer.json`.

Nix lists the closures in the working directory (Nix manual, "exportReferencesGraph"): those that are wanted in files
`paths-<n>`, those that layers below have in `below-<n>`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from estargz import LayerError, LayerWriter, write_layer_json
from tree_layer import add_path


def build(spec: dict[str, Any]) -> None:
    """Make the layer.

    Args:
        spec: see above.

    Raises:
        LayerError: a path has something that no layer can hold.
        OSError: something cannot be read or written.
    """
    out = Path(spec["out"])
    out.mkdir(parents=True, exist_ok=True)
    here = Path.cwd()
    paths = _listed(here, "paths-") - _listed(here, "below-")
    folders = {str(parent) for path in paths for parent in Path(path).parents if str(parent) != "/"}
    with LayerWriter(out / "blob", threads=spec.get("cores") or 1) as layer:
        for folder in sorted(folders):
            layer.add_directory(folder.lstrip("/"), 0o755, 0, 0)
        for path in sorted(paths):
            add_path(layer, path.lstrip("/"), Path(path))
    assert layer.info is not None
    write_layer_json(out, layer.info, [{"name": spec["name"], "version": ""}])


def _listed(folder: Path, prefix: str) -> set[str]:
    found: set[str] = set()
    for name in os.listdir(folder):
        if name.startswith(prefix):
            found |= _registered((folder / name).read_text(encoding="utf-8"))
    return found


def _registered(text: str) -> set[str]:
    """The paths of a list: of each its name, its deriver, the number of its references, and these."""
    lines = text.splitlines()
    found, at = set(), 0
    while at < len(lines):
        found.add(lines[at])
        at += 3 + int(lines[at + 2])
    return found


if __name__ == "__main__":
    try:
        build(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    except (LayerError, OSError) as failure:
        sys.exit(f"error: {failure}")
