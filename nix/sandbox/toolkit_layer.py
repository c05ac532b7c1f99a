"""Makes an eStargz layer of NVIDIA's redistributables: the part of a CUDA toolkit that no package has.

The specification, a JSON object:
    version: the CUDA's, "12.4".
    archives: what it is made of, .tar.xz files with one folder each: `path`, `component` and `version`.
    parts: folders of the layers of the image's CUDA packages.
    prefix: where the toolkit goes in the image, without a leading slash ("usr/local/cuda").
    cores: files that may be compressed at a time.
    out: the folder that gets `blob` and `layer.json`.

What a package has is left out: files of the same path in a toolkit, and shared libraries of the same soname. An image
has a library once, and cuda_layer.py makes links to where it is.
"""

from __future__ import annotations

import json
import lzma
import posixpath
import sys
import tarfile
from pathlib import Path
from typing import Any

from cuda_parts import Parts, read_parts
from estargz import LayerWriter, write_layer_json
from gzip_members import LayerError


def build(spec: dict[str, Any]) -> None:
    """Make the layer.

    Args:
        spec: see above.

    Raises:
        LayerError: an archive is damaged, or has something that no toolkit has.
        OSError: something cannot be read or written.
    """
    out = Path(spec["out"])
    out.mkdir(parents=True, exist_ok=True)
    parts = read_parts(spec["parts"])
    prefix = spec["prefix"].strip("/")
    libraries: list[str] = []
    names: set[str] = set()
    with LayerWriter(out / "blob", threads=spec.get("cores") or 1) as layer:
        layer.add_directory(prefix)
        for archive in spec["archives"]:
            try:
                with tarfile.open(archive["path"], "r:xz") as tar:
                    for member in tar:
                        name = _name(member)
                        if not name or member.isdir() or name in names or _is_there(name, parts):
                            continue
                        names.add(name)
                        _add(layer, tar, member, f"{prefix}/{name}")
                        if ".so" in posixpath.basename(name) and "/stubs/" not in name:
                            libraries.append(posixpath.basename(name))
            except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
                raise LayerError(f"the archive of {archive['component']} is damaged: {error}") from None
    assert layer.info is not None
    contents = [{"name": archive["component"], "version": archive["version"]} for archive in spec["archives"]]
    write_layer_json(out, layer.info, contents, libraries=sorted(libraries))


def _name(member: tarfile.TarInfo) -> str:
    """A member's path in the toolkit; "" for what is none of it."""
    _, _, name = member.name.partition("/")
    if name != posixpath.normpath(name) or name.startswith(("/", "..")):
        if name in {"", "."}:
            return ""
        raise LayerError(f"{member.name} is no path of a toolkit")
    # What pkg-config is told are the paths that NVIDIA's own installer uses.
    if "/" not in name or name.startswith("pkg-config/"):
        return f"licenses/{member.name}" if name == "LICENSE" else ""
    return name


def _is_there(name: str, parts: Parts) -> bool:
    """Whether a package has a file, or the library that it is."""
    file = posixpath.basename(name)
    if name in parts.files:
        return True
    if ".so" not in file or "/stubs/" in name:
        return False
    # libcudart.so, libcudart.so.12 and libcudart.so.12.4.127 are one library.
    return any(
        file == library.soname
        or file.startswith(f"{library.soname}.")
        or library.soname.startswith(f"{file}.")
        for library in parts.libraries
    )


def _add(layer: LayerWriter, tar: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> None:
    if member.issym():
        layer.add_symlink(name, member.linkname)
    elif member.isreg():
        file = tar.extractfile(member)
        assert file is not None
        mode = 0o755 if member.mode & 0o100 else 0o644
        pieces = iter(lambda: file.read(1 << 20), b"")
        layer.add_stream(name, pieces, member.size, mode=mode)
    else:
        raise LayerError(f"{member.name} is neither a file nor a folder nor a link")


if __name__ == "__main__":
    try:
        build(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    except (LayerError, OSError) as failure:
        sys.exit(f"error: {failure}")
