"""Makes an eStargz layer that lets programs find the CUDA of an image's packages.

The specification, a JSON object:
    root: the image's root file system, without packages of Python.
    architecture: the root's: "x86_64" or "aarch64".
    parts: folders of the layers of the image's CUDA packages.
    home: where the toolkit is in the image, without a leading slash ("usr/local/cuda"), or null without one.
    hides_functions: whether code for nvcc needs a header that hides some of glibc's functions.
    toolkit: the folder of the layer with files of the toolkit that no package has, or null.
    out: the folder that gets `blob` and `layer.json`.

The loader is told of the packages' folders twice: in /etc/ld.so.cache, which it reads, and in /etc/ld.so.conf.d, since
NVIDIA's container toolkit makes that cache anew when a container starts.

The toolkit is links to the packages' files, in the folders that compilers and build systems expect. nvcc finds its own
parts as neighbours of its name, `..` included; so its folder is a real one, and what is in it are links.
"""

from __future__ import annotations

import json
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from cuda_parts import Parts, paths_of, read_parts
from estargz import LayerWriter, write_layer_json
from gzip_members import LayerError
from ldcache import ld_cache

_CONF = "etc/ld.so.conf.d/builder-cuda.conf"
_CACHE = "etc/ld.so.cache"
# builder/cuda/toolkit.py has nvcc look here before it looks at glibc's own.
_HEADER = "glibc/bits/libc-header-start.h"
_HIDING = b"""/* Code for nvcc does not see glibc's mathematical functions of C23, sinpi and the like: CUDA's own
   headers declare functions of these names, and not alike. */
#include_next <bits/libc-header-start.h>
#undef __GLIBC_USE_IEC_60559_FUNCS_EXT_C23
#define __GLIBC_USE_IEC_60559_FUNCS_EXT_C23 0
"""
_LIBRARY = re.compile(r"(lib.+?\.so)\.[\d.]+")


def build(spec: dict[str, Any]) -> None:
    """Make the layer.

    Args:
        spec: see above.

    Raises:
        LayerError: a layer is damaged.
        OSError: something cannot be read or written.
    """
    out = Path(spec["out"])
    out.mkdir(parents=True, exist_ok=True)
    parts = read_parts(spec["parts"])
    links = _links(parts, spec["home"], spec["toolkit"]) if spec["home"] else {}
    folders = list(parts.folders)
    known = {library.soname: library.path for library in reversed(parts.libraries)}
    if spec["home"]:
        # Names without a version, which programs that compile at run time ask for.
        folders.append(f"/{spec['home']}/lib64")
        known |= {
            name: f"/{spec['home']}/lib64/{name}"
            for name in (path.rpartition("/")[2] for path in links if path.startswith(f"{spec['home']}/lib/"))
            if name.endswith(".so")
        }
    with LayerWriter(out / "blob") as layer:
        if folders:
            layer.add_file(_CONF, "".join(f"{folder}\n" for folder in folders).encode())
            layer.add_file(_CACHE, ld_cache(Path(spec["root"]), spec["architecture"], known))
        if spec["hides_functions"]:
            layer.add_file(f"{spec['home']}/{_HEADER}", _HIDING)
        for name, target in sorted(links.items()):
            layer.add_symlink(name, target)
    assert layer.info is not None
    write_layer_json(out, layer.info, [{"name": "cuda", "version": ""}])


def _links(parts: Parts, home: str, toolkit: str | None) -> dict[str, str]:
    """The links that make a toolkit, by name; none of them is where the toolkit's own layer has something."""
    there = {path[len(home) + 1 :] for path in paths_of(toolkit)} if toolkit else set()
    links = _whole_folders({name: target for name, target in parts.files.items() if name not in there}, there)
    for library in parts.libraries:
        name = posixpath.basename(library.path)
        links.setdefault(f"lib/{name}", library.path)
        # A linker looks for libcudart.so, and wheels have no links.
        if found := _LIBRARY.fullmatch(name):
            links.setdefault(f"lib/{found[1]}", name)
    links["lib64"] = "lib"
    return {f"{home}/{name}": target for name, target in links.items() if name not in there}


def _whole_folders(links: dict[str, str], there: set[str]) -> dict[str, str]:
    """Put one link to a folder in place of links to all that is in it, where all of it is one package's."""
    sources: dict[str, set[str]] = {_folder(name): set() for name in links}
    for name, target in links.items():
        rest = name[len(_folder(name)) :]
        # A file at the top, or one whose folder has another name in its package, is no part of a whole folder.
        sources[_folder(name)].add(target[: -len(rest)] if rest and target.endswith(rest) else "")
    for name in there:
        sources.pop(_folder(name), None)
    whole = {folder: min(found) for folder, found in sources.items() if len(found) == 1 and "" not in found}
    return {**{name: target for name, target in links.items() if _folder(name) not in whole}, **whole}


def _folder(name: str) -> str:
    """The first two parts of a path in a toolkit: "include/crt" of "include/crt/host_config.h"."""
    return "/".join(name.split("/")[:2])


if __name__ == "__main__":
    try:
        build(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    except (LayerError, OSError) as failure:
        sys.exit(f"error: {failure}")
