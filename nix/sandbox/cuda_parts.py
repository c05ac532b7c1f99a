"""What the CUDA packages of an image bring: their files as one toolkit, and the libraries that a loader looks for.

NVIDIA's wheels install below `nvidia/`: those of CUDA 12 each into a folder of its own (`nvidia/cuda_runtime/lib`),
those of CUDA 13 all into one (`nvidia/cu13/lib`).
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import NamedTuple

from toc_reader import read_toc

_ROOT = "/site-packages/nvidia/"
_LIBRARY = re.compile(r"lib/lib[^/]+\.so\.[\d.]+")
_FOLDERS = ("bin", "include", "lib", "nvvm")


class Library(NamedTuple):
    """A shared library: its soname, and its path in the image."""

    soname: str
    path: str


class Parts(NamedTuple):
    """What is known of packages.

    Attributes:
        files: paths in the image, by path in a toolkit ("include/cuda.h"); of two packages' the last counts.
        libraries: those that the loader can find by their names, sorted by path.
    """

    files: dict[str, str]
    libraries: list[Library]

    @property
    def folders(self) -> list[str]:
        """The folders of the libraries."""
        return sorted({library.path.rpartition("/")[0] for library in self.libraries})


def read_parts(layers: list[str]) -> Parts:
    """Read what packages bring from their layers.

    Args:
        layers: folders with `blob` and `layer.json`.

    Raises:
        LayerError: a layer is damaged.
        OSError: it cannot be read.
    """
    files: dict[str, str] = {}
    libraries: dict[str, str] = {}
    for folder in layers:
        facts = json.loads(Path(folder, "layer.json").read_text(encoding="utf-8"))
        own = {name: f"/{path}" for path in paths_of(folder) if (name := _name(path))}
        # Of a few large libraries it is not known what they are called; NVIDIA's files are named by that.
        libraries.update({path: _base(path) for name, path in own.items() if _LIBRARY.fullmatch(name)})
        libraries.update(
            {
                f"/opt/venv/{library['path']}": library["soname"]
                for package in facts["contents"]
                for library in package.get("libraries", ())
                if "soname" in library
            }
        )
        files.update(own)
    # The loader opens a file by the name that it looks for, which is the library's soname.
    found = [Library(soname, path) for path, soname in sorted(libraries.items()) if _base(path) == soname]
    return Parts(files, found)


def paths_of(layer: str) -> list[str]:
    """The paths in the image of a layer's files and links, without a leading slash.

    Raises:
        LayerError: the layer is damaged.
        OSError: it cannot be read.
    """
    descriptor = os.open(Path(layer, "blob"), os.O_RDONLY)
    try:
        return [entry.name for entry in read_toc(descriptor) if entry.kind != "dir"]
    finally:
        os.close(descriptor)


def _name(path: str) -> str:
    """A file's path in a toolkit; "" of what is none of it, as the files that make folders Python packages."""
    _, _, rest = path.partition(_ROOT)
    _, _, name = rest.partition("/")
    is_part = name.partition("/")[0] in _FOLDERS and "/" in name
    return name if is_part and "/__pycache__/" not in name and not name.endswith("/__init__.py") else ""


def _base(path: str) -> str:
    return path.rpartition("/")[2]
