"""The Nix library as a path of the store, so that every expression that names it evaluates pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder import nix, resources, store

if TYPE_CHECKING:
    from pathlib import Path

_SUFFIXES = (".nix", ".py", ".sh")
# What the library reads of this package: below `data` in a staged one, as in the package itself.
_DATA = ("machines/machines.toml", "cuda/builds.toml", "cuda/toolkits.toml")


def staged(path: Path, name: str) -> nix.Added:
    """A file or folder that is to be added to the store by the hash of what is in it now."""
    return nix.Added(path=path, name=name, digest=store.nar_sha256(path), recursive=True)


def copy_files(sources: dict[str, Path], folder: Path) -> None:
    """Copy files into a folder, each to its name there."""
    for name, path in sources.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())


def stage_library(folder: Path) -> nix.Added:
    """Copy the library into an empty folder, without what Python or an editor left beside it."""
    library = resources.nix_library()
    files = {
        path.relative_to(library).as_posix(): path
        for path in sorted(library.rglob("*"))
        if path.suffix in _SUFFIXES and path.is_file()
    }
    files |= {f"data/{name}": resources.data(name) for name in _DATA}
    copy_files(files, folder)
    return staged(folder, "builder-nix")
