"""Makes an eStargz layer of a wheel, as an installer would unpack it into the image's virtual environment.

The specification, a JSON object:
    wheel: path of the wheel, or of a folder that holds it alone: one that was built from source.
    filename: its file name, a store path having another; null for the one in the folder.
    locked: of a wheel that was built, what the lock says: `name`, `version`, and `filename` and `sha256`, which are
        null where it says nothing of them.
    python_version: of the image, "3.11".
    python: how to start the image's Python, a list; by default the interpreter that runs this.
    bytecode: whether to compile.
    cores: processes that may compile at a time.
    out: the folder that gets `blob` and `layer.json`.
    chunk_size: bytes from which files are cut for lazy pulls, or null.
    direct_url: content of direct_url.json, or null.
    requested: whether the user asked for it by name.
    max_unpacked: bytes it may unpack to.

A layer is also what merge_layer.py joins to one of several wheels; nothing has to be said for that.

The order in the layer is that of the wheel's file, then what an installer adds, then bytecode sorted by path.
Nothing of this depends on the machine, so neither does the layer; and the wheel is read in one sweep.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from contextlib import ExitStack
from typing import Any

import bytecode
import elf
from estargz import FileEntry, LayerWriter, write_layer_json
from fatbin import CUDA_PARTS, Kernels
from gzip_members import Deflated, LayerError
from wheel import Placed, Wheel
from zip_index import DEFLATED, STORED, ZipError

VENV = "opt/venv"
_MAX_UNPACKED = 64 * 1024**3
_PIECE = 1 << 20
_SHEBANG = b"#!python"
_LIBRARY = ".so"


def build(spec: dict[str, Any]) -> None:
    """Make the layer.

    Args:
        spec: see above; what may be null may be missing.

    Raises:
        LayerError: the wheel is refused (WheelError), or the image's Python fails (CompileError).
        OSError: something cannot be read or written.
    """
    out: str = spec["out"]
    os.makedirs(out, exist_ok=True)
    path: str = spec["wheel"]
    if spec["filename"] is None:
        path = _built(path, spec["locked"])
    with ExitStack() as stack:
        file = stack.enter_context(open(path, "rb", buffering=0))
        limit = spec.get("max_unpacked") or _MAX_UNPACKED
        name = spec["filename"] or os.path.basename(path)
        wheel = Wheel(file.fileno(), name, spec["python_version"], f"/{VENV}", limit)
        wrappers = wheel.wrappers()
        requires = wheel.requires()
        wheel.drop(set(wrappers))
        compiler = _start_compiler(wheel, path, spec)
        if compiler is not None:
            stack.enter_context(compiler)
        layer = stack.enter_context(LayerWriter(f"{out}/blob", chunk_size=spec.get("chunk_size")))
        kernels = Kernels()
        libraries: dict[str, elf.Reader] = {}
        written = _add_files(layer, wheel, kernels, libraries)
        added = {
            **wrappers,
            **wheel.metadata_files(spec.get("direct_url"), requested=spec.get("requested", False)),
        }
        record_path = f"{wheel.site_packages}/{wheel.dist_info}/RECORD"
        added[record_path] = wheel.installed_record({**written, **added})
        executable = set(wrappers) | ({record_path} if wheel.is_record_executable else set())
        for name, data in added.items():
            layer.add_file(f"{VENV}/{name}", data, 0o755 if name in executable else 0o644)
        if compiler is not None:
            for source, part in compiler.results():
                layer.add_spliced(bytecode.cache_path(source.path[1:], spec["python_version"]), part)
        info = layer.close()
    package: dict[str, Any] = {"name": wheel.name, "version": wheel.version}
    if kernels.cubins or kernels.ptx:
        package["kernels"] = {"cubins": sorted(kernels.cubins), "ptx": sorted(kernels.ptx)}
    if found := [
        elf.to_json(reader.library or elf.Library(None, ()), path)
        for path, reader in sorted(libraries.items())
        if reader.is_elf
    ]:
        package["libraries"] = found
    if requires:
        package["requires"] = requires
    write_layer_json(out, info, [package])


def _built(folder: str, locked: dict[str, str | None]) -> str:
    """The wheel in a folder, held against the lock.

    Raises:
        LayerError: it is another one.
    """
    [filename] = (name for name in os.listdir(folder) if name.endswith(".whl"))
    path = f"{folder}/{filename}"
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    expected, got = locked["sha256"], digest.hexdigest()
    if (expected and expected != got) or (locked["filename"] and locked["filename"] != filename):
        raise LayerError(
            f"the wheel that was built of {locked['name']} {locked['version']} is not the one in the lock: expected "
            f"{locked['filename']} with sha256 {expected}, got {filename} with sha256 {got}; its build is not "
            "the same on every machine. To lock the one that is built here: "
            f"builder lock --upgrade-package {locked['name']}"
        )
    return path


def _start_compiler(wheel: Wheel, file: str, spec: dict[str, Any]) -> bytecode.Compiler | None:
    """Start compiling what an installer would compile: the sources in site-packages."""
    if not spec.get("bytecode", True):
        return None
    sources = [
        bytecode.Source(placed.entry, f"/{VENV}/{placed.path}")
        for placed in wheel.files
        if placed.path.startswith(wheel.site_packages) and bytecode.is_compiled(placed.entry, placed.path)
    ]
    if not sources:
        return None
    # Bytecode that the wheel brings along is for another time stamp or path, so Python would not use it.
    prefix = len(f"/{VENV}/")
    wheel.drop({bytecode.cache_path(source.path, spec["python_version"])[prefix:] for source in sources})
    return bytecode.Compiler(
        file,
        wheel.zip,
        sources,
        python=spec.get("python") or [sys.executable],
        python_version=spec["python_version"],
        cores=spec.get("cores") or 1,
    )


def _add_files(
    layer: LayerWriter, wheel: Wheel, kernels: Kernels, libraries: dict[str, elf.Reader]
) -> dict[str, bytes]:
    """Put the wheel's files into the layer and hold them against RECORD.

    Args:
        layer: the layer.
        wheel: the wheel.
        kernels: gets the CUDA kernels that libraries have.
        libraries: gets what libraries need, by path.

    Returns:
        The scripts that were rewritten, by path.
    """
    rewritten = {}
    checks = []
    for placed in wheel.files:
        row = wheel.record.get(placed.entry.name)
        algorithm = row.algorithm if row is not None else ""
        also = [hashlib.new(algorithm)] if algorithm not in {"", "sha256"} else []
        try:
            if placed.is_script and next(wheel.zip.read(placed.entry), b"").startswith(_SHEBANG):
                rewritten[placed.path] = wheel.script(wheel.read(placed.entry))
                layer.add_file(f"{VENV}/{placed.path}", rewritten[placed.path], placed.mode)
                continue
            readers: list[Any] = []
            if _LIBRARY in placed.path:
                libraries[placed.path] = elf.Reader()
                readers = [libraries[placed.path]]
                if not wheel.name.startswith(CUDA_PARTS):
                    readers.append(kernels.file())
            file = _add_file(layer, wheel, placed, [*also, *readers])
        except (LayerError, ZipError) as error:
            raise wheel.error(placed.entry.name, str(error)) from None
        if algorithm:
            checks.append((placed.entry.name, also[0] if also else file))
    layer.sync()
    for name, hashed in checks:
        wheel.check(name, hashed.hexdigest())
    for entry in wheel.dropped:
        wheel.read(entry)  # a damaged wheel is refused, whatever it is that is damaged
    return rewritten


def _add_file(layer: LayerWriter, wheel: Wheel, placed: Placed, also: list[Any]) -> FileEntry:
    entry = placed.entry
    path = f"{VENV}/{placed.path}"
    if entry.method == DEFLATED:
        offset = wheel.zip.data_offset(entry)
        part = Deflated(wheel.zip.source, offset, entry.compressed, entry.size, entry.crc)
        return layer.add_spliced(path, part, placed.mode, also=also)
    # What a wheel stores is stored here too: its author found that it does not compress.
    level = 0 if entry.method == STORED else None
    pieces = wheel.zip.read(entry)
    return layer.add_stream(path, pieces, entry.size, mode=placed.mode, level=level, also=also)


if __name__ == "__main__":
    try:
        with open(sys.argv[1], encoding="utf-8") as file:
            build(json.load(file))
    except (LayerError, OSError) as failure:
        sys.exit(f"error: {failure}")
