"""NVIDIA's packages of CUDA's libraries, by soname."""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TABLE = Path(__file__).with_name("libraries.toml")
_SONAME = re.compile(r"(?P<stem>lib\w+?)\.so\.(?P<version>\d+)(?:\.[\d.]+)?")


class Part(NamedTuple):
    """A part of CUDA that has a library.

    Attributes:
        soname: the library's.
        extra: the part's name in the package cuda-toolkit; "" for one that is no part of the toolkit.
        project: for such a one, the package's name, without CUDA's version.
        majors: the major versions of CUDA that have the library under this soname.
        release: for one that is no part of the toolkit, its own major version.
    """

    soname: str
    extra: str
    project: str
    majors: tuple[int, ...]
    release: int


def part_of(soname: str) -> Part | None:
    """The part that has a library; None for what is none of CUDA's."""
    match = _SONAME.fullmatch(soname)
    entry = _libraries().get(match["stem"]) if match else None
    if match is None or entry is None:
        return None
    number = int(match["version"])
    if "project" in entry:
        return Part(soname, "", entry["project"], tuple(entry["majors"]), number)
    sonames: dict[str, int] | None = entry.get("sonames")
    if sonames is None:
        # The soname has CUDA's own version.
        majors: tuple[int, ...] = (number,)
    else:
        majors = tuple(int(major) for major, of_major in sonames.items() if of_major == number)
    return Part(soname, entry["extra"], "", majors, 0)


def requirements(parts: Iterable[Part], cuda: str) -> Iterator[tuple[Part, str]]:
    """The requirement (PEP 508) that brings each part.

    Args:
        parts: what is needed; those that this CUDA has not are left out.
        cuda: the CUDA of the image: "12.6".
    """
    major = int(cuda.partition(".")[0])
    for part in parts:
        if major not in part.majors:
            continue
        if part.extra:
            yield part, f"cuda-toolkit[{part.extra}]=={cuda}.*"
        else:
            yield part, f"{part.project}-cu{major}=={part.release}.*"


@lru_cache(maxsize=1)
def _libraries() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads(_TABLE.read_text("utf-8"))["libraries"]
    return table
