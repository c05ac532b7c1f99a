"""Says what a package is built with beyond Python, by looking at the names of its files and of what its build needs.

It is a guess that is made before anything of the package runs. What it does not see (a program that setup.py calls) the
app's `build_packages` add.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Suffixes of sources that are compiled, and of those with further tools the Debian packages that hold them.
_SUFFIXES: dict[str, tuple[str, ...]] = {
    ".c": (),
    ".cc": (),
    ".cpp": (),
    ".cxx": (),
    ".c++": (),
    ".cu": (),
    ".pyx": (),
    ".s": (),
    ".asm": ("nasm",),
    ".f": ("gfortran",),
    ".f77": ("gfortran",),
    ".f90": ("gfortran",),
    ".f95": ("gfortran",),
    ".for": ("gfortran",),
    ".rs": ("cargo", "rustc"),
}
# Files that say how a project is compiled.
_FILES: dict[str, tuple[str, ...]] = {
    "CMakeLists.txt": (),
    "Cargo.toml": ("cargo", "rustc"),
    "meson.build": (),
}
# Build requirements (normalized names) whose projects have something to compile, whatever their files are called.
_REQUIRES: dict[str, tuple[str, ...]] = {
    "cffi": (),
    "cython": (),
    "maturin": ("cargo", "rustc"),
    "mesonpy": (),
    "meson-python": (),
    "mypy": (),
    "mypyc": (),
    "nanobind": (),
    "py-build-cmake": (),
    "pybind11": (),
    "scikit-build": (),
    "scikit-build-core": (),
    "setuptools-rust": ("cargo", "rustc"),
}
# Folders that no build of the project compiles.
_ASIDE = frozenset(
    {"bench", "benchmark", "benchmarks", "doc", "docs", "example", "examples", "test", "tests"}
)


def is_aside(path: PurePosixPath) -> bool:
    """Whether a file, by its path in the project's folder, is in a folder that no build of the project compiles."""
    return not _ASIDE.isdisjoint(part.lower() for part in path.parts[:-1])


def build_tools(filenames: Iterable[str], requires: Iterable[str]) -> tuple[bool, tuple[str, ...]]:
    """Say what a package is built with.

    Args:
        filenames: of its source, relative to the project's folder.
        requires: names of its build requirements, normalized (PEP 503).

    Returns:
        whether compilers are needed, and the Debian packages that the standard ones are not enough without, sorted.
    """
    compiled = False
    packages: set[str] = set()
    for filename in filenames:
        path = PurePosixPath(filename)
        if is_aside(path):
            continue
        # ".S" is assembler for the C compiler, ".C" is C++: the case of a suffix makes no difference here.
        tools = _FILES.get(path.name, _SUFFIXES.get(path.suffix.lower()))
        if tools is not None:
            compiled = True
            packages.update(tools)
    for name in requires:
        if name in _REQUIRES:
            compiled = True
            packages.update(_REQUIRES[name])
    return compiled, tuple(sorted(packages))
