"""Makes an eStargz layer of a root file system: the base of an image, or what a root has more than another.

The specification, a JSON object:
    root: the root, as unpack_debs.sh made it.
    below: another root, or null. What that one has alike is left out, so that the packages an app adds are a
        layer upon the base that all apps share.
    architecture: the root's: "x86_64" or "aarch64".
    python_version: "3.11".
    python: how to start a Python of that version on this machine, a list.
    bytecode: whether to compile the standard library.
    cores: processes that may compile at a time.
    out: the folder that gets `blob` and `layer.json`.
    chunk_size: bytes from which files are cut for lazy pulls, or null.

The store keeps of a file's mode no more than whether it is executable. So modes and owners are given here:
root's, 0755 or 0644, but for the few paths of _SPECIAL. Programs that Debian gives a setuid bit (sudo, su)
lack it, as they should in a container.
"""

from __future__ import annotations

import filecmp
import os
import zipfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bytecode
from estargz import LayerWriter, write_layer_json
from ldcache import ld_cache
from zip_index import ZipIndex

if TYPE_CHECKING:
    from collections.abc import Iterator

_APP = (0o755, 1000, 1000)
# Mode, owner and group of what is not 0755 or 0644 and root's. The app may write its home and /app.
_SPECIAL = {
    "app": _APP,
    "home/app": _APP,
    "root": (0o700, 0, 0),
    "run/lock": (0o1777, 0, 0),
    "tmp": (0o1777, 0, 0),
    "var/tmp": (0o1777, 0, 0),
}
_CACHE = "etc/ld.so.cache"
_STATUS = "var/lib/dpkg/status.d/"
# Folders of the standard library that nobody imports from, and test data that does not compile.
_NOT_COMPILED = frozenset({"__pycache__", "idlelib", "test", "tests"})


def build(spec: dict[str, Any]) -> None:
    """Make the layer.

    Args:
        spec: see above; what may be null may be missing.

    Raises:
        LayerError: a file cannot be in a layer, or the Python that compiles fails (CompileError).
        OSError: something cannot be read or written.
    """
    out = Path(spec["out"])
    out.mkdir(parents=True, exist_ok=True)
    root = Path(spec["root"])
    below = Path(spec["below"]) if spec.get("below") else None
    names = list(_walk(root))
    if below is not None:
        names = _differing(names, root, below)
    with ExitStack() as stack:
        compiler = _start_compiler(spec, root, names, stack) if spec.get("bytecode", True) else None
        layer = stack.enter_context(
            LayerWriter(out / "blob", chunk_size=spec.get("chunk_size"), threads=spec.get("cores") or 1)
        )
        for name in names:
            _add(layer, root / name, name)
        cache = ld_cache(root, spec["architecture"])
        if below is None or cache != ld_cache(below, spec["architecture"]):
            layer.add_file(_CACHE, cache)
        if compiler is not None:
            for source, part in compiler.results():
                layer.add_spliced(bytecode.cache_path(source.path[1:], spec["python_version"]), part)
        info = layer.close()
    packages = [_package(root / name) for name in names if name.startswith(_STATUS)]
    write_layer_json(out, info, packages)


def _walk(root: Path) -> Iterator[str]:
    """The names of all that is in a root, each folder before what is in it, in an order of its own."""
    for folder, folders, files in os.walk(root):
        folders.sort()
        prefix = os.path.relpath(folder, root)
        # os.walk counts a link to a folder among the folders, and does not follow it.
        for name in sorted(folders + files):
            path = name if prefix == "." else f"{prefix}/{name}"
            if path != _CACHE:
                yield path


def _differing(names: list[str], root: Path, below: Path) -> list[str]:
    differing = {name for name in names if not _same(root / name, below / name)}
    # A folder that leads to a file is in a layer anyway, as root's and 0755 unless it is said otherwise.
    differing |= {name for name in _SPECIAL if any(other.startswith(f"{name}/") for other in differing)}
    return [name for name in names if name in differing]


def _same(path: Path, other: Path) -> bool:
    """Whether two files are of the same kind and content; folders are, whatever is in them."""
    if path.is_symlink() or other.is_symlink():
        return path.is_symlink() and other.is_symlink() and _target(path) == _target(other)
    if path.is_dir() or other.is_dir():
        return path.is_dir() and other.is_dir()
    return other.is_file() and _mode(path) == _mode(other) and filecmp.cmp(path, other, shallow=False)


def _target(link: Path) -> str:
    return os.readlink(link)  # a Path would drop a trailing slash


def _mode(path: Path) -> int:
    return 0o755 if path.stat().st_mode & 0o100 else 0o644


def _add(layer: LayerWriter, path: Path, name: str) -> None:
    if path.is_symlink():
        layer.add_symlink(name, _target(path))
    elif path.is_dir():
        mode, uid, gid = _SPECIAL.get(name, (0o755, 0, 0))
        layer.add_directory(name, mode, uid, gid)
    else:
        layer.add_file(name, path, _mode(path))


def _package(status: Path) -> dict[str, str]:
    """Name and version in a control stanza."""
    fields = {}
    for line in status.read_text(encoding="utf-8").splitlines():
        key, colon, value = line.partition(":")
        if colon and not line[0].isspace():
            fields[key] = value.strip()
    return {"name": fields["Package"], "version": fields["Version"]}


def _start_compiler(
    spec: dict[str, Any], root: Path, names: list[str], stack: ExitStack
) -> bytecode.Compiler | None:
    """Start compiling the standard library, which Debian ships as source only.

    The compiler reads wheels; so it is given the sources in a zip, stored.
    """
    library = f"usr/lib/python{spec['python_version']}/"
    sources = [
        name
        for name in names
        if name.startswith(library)
        and name.endswith(".py")
        and not _NOT_COMPILED.intersection(name.split("/"))
        and (root / name).is_file()
        and not (root / name).is_symlink()
    ]
    if not sources:
        return None
    archive = Path(spec["out"]) / "sources.part"
    stack.callback(archive.unlink)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for name in sources:
            # Not ZipFile.write, which refuses the store's times: they lie before 1980.
            file.writestr(zipfile.ZipInfo(name), (root / name).read_bytes())
    opened = stack.enter_context(archive.open("rb", buffering=0))
    index = ZipIndex(opened.fileno())
    return stack.enter_context(
        bytecode.Compiler(
            str(archive),
            index,
            [bytecode.Source(entry, f"/{entry.name}") for entry in index.entries],
            python=spec["python"],
            python_version=spec["python_version"],
            cores=spec.get("cores") or 1,
        )
    )
