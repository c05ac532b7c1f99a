"""Proves that an image can be made again: every step is built a second time and compared with the first, bit by bit.

Nix does the building (`nix-store --realise --check`), on one core each and in an order of its own. Files that are
pinned by their hash need no second look. Where a step gives something else, both results are kept, and what differs
in them is looked up: the step, the file, the first byte.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import tarfile
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from builder import nix
from builder.errors import BuildError
from builder.nix_failure import readable
from builder.parallel import each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_NOT_THE_SAME = re.compile(r"may not be deterministic|differs from")
_SHOWN = 5
_PIECE = 1 << 20
# Suffix of what a second build gave, where it is not the same.
_KEPT = ".check"


@dataclass(frozen=True)
class FileDifference:
    """A file that is not the same.

    Attributes:
        path: its path in the step's result; of what is in an archive, the archive's and its own with `!` between.
        offset: the first byte that differs; None where only one result has the file.
    """

    path: str
    offset: int | None


@dataclass(frozen=True)
class Outcome:
    """What the second build of a step came to.

    Attributes:
        name: the step.
        derivation: its derivation.
        results: what the first and the second build gave, where these differ; both are kept.
        files: the first few files that differ.
    """

    name: str
    derivation: str
    results: tuple[str, str] | None = None
    files: tuple[FileDifference, ...] = ()

    @property
    def is_same(self) -> bool:
        """Whether it gave the same."""
        return self.results is None

    def describe(self) -> str:
        """What differs, for people."""
        if self.results is None:
            return f"{self.name}: the same"
        lines = [f"{self.name}: not the same", f"  first  {self.results[0]}", f"  second {self.results[1]}"]
        for file in self.files:
            where = "only one has it" if file.offset is None else f"from byte {file.offset} on"
            lines.append(f"  {file.path}: {where}")
        return "\n".join(lines)


def rebuild(derivation: str, report: Callable[[Outcome], None]) -> list[Outcome]:
    """Build every step of a derivation again, its own last.

    Args:
        derivation: the path of an image's derivation, whose result is in the store.
        report: told of each step when it is done.

    Raises:
        BuildError: a step cannot be built, or Nix does not say what the steps are.
    """
    steps = _steps(derivation)
    # What was had from a cache was not built here; a second build needs a first one.
    nix.run("nix-store", "--realise", *steps)

    def check(step: str) -> Outcome:
        outcome = _check(step, steps[step])
        report(outcome)
        return outcome

    return list(each(check, list(steps), workers=os.cpu_count() or 1))


def junit(name: str, outcomes: Sequence[Outcome]) -> bytes:
    """The outcomes as JUnit's XML, a test case for each step."""
    failed = [outcome for outcome in outcomes if not outcome.is_same]
    suite = ET.Element(
        "testsuite",
        name=f"builder check {name}",
        tests=str(len(outcomes)),
        failures=str(len(failed)),
        errors="0",
    )
    for outcome in outcomes:
        case = ET.SubElement(suite, "testcase", classname=name, name=outcome.name)
        if not outcome.is_same:
            failure = ET.SubElement(case, "failure", message="a second build is not the same")
            failure.text = outcome.describe()
    text: bytes = ET.tostring(suite, encoding="utf-8", xml_declaration=True)
    return text


def differences(first: Path, second: Path) -> Iterator[FileDifference]:
    """The files that differ in two folders, archives looked into."""
    names = sorted({file.relative_to(root).as_posix() for root in (first, second) for file in _files(root)})
    for name in names:
        one, other = first / name, second / name
        if not (one.is_file() and other.is_file()):
            yield FileDifference(name, None)
        elif (offset := _first_difference(one, other)) is not None:
            found = list(islice(_in_archives(name, one, other), _SHOWN))
            yield from found or [FileDifference(name, offset)]


def _steps(derivation: str) -> dict[str, Mapping[str, Any]]:
    """What a derivation is built from, itself included, but for pinned files: by derivation what Nix says of it."""
    shown = None
    # The first is what Nix has called it since 2.14.
    for command in (["derivation", "show"], ["show-derivation"]):
        with suppress(BuildError):
            shown = json.loads(nix.run("nix", *command, "--recursive", derivation))
            break
    if shown is None:
        raise BuildError(f"Nix does not show what {readable(derivation)} is made of.")
    # Newer ones put all of it under a key of its own, and leave out the store's folder.
    shown = shown.get("derivations", shown)
    folder = derivation.rpartition("/")[0]
    return {
        path if path.startswith("/") else f"{folder}/{path}": said
        for path, said in shown.items()
        if "outputHash" not in said["env"] and "hash" not in said["outputs"].get("out", {})
    }


def _check(derivation: str, said: Mapping[str, Any]) -> Outcome:
    name = readable(derivation)
    try:
        nix.run("nix-store", "--realise", "--check", "--keep-failed", "--option", "cores", "1", derivation)
    except BuildError as error:
        out = said["env"]["out"]
        if not _NOT_THE_SAME.search(str(error)) or not Path(out + _KEPT).exists():
            raise
        found = tuple(islice(differences(Path(out), Path(out + _KEPT)), _SHOWN))
        return Outcome(name, derivation, (out, out + _KEPT), found)
    return Outcome(name, derivation)


def _files(root: Path) -> Iterator[Path]:
    for folder, _, files in os.walk(root):
        yield from (Path(folder) / name for name in files)


def _first_difference(one: Path, other: Path) -> int | None:
    with one.open("rb") as first, other.open("rb") as second:
        position = 0
        while True:
            a, b = first.read(_PIECE), second.read(_PIECE)
            if a != b:
                return position + _first_byte(a, b)
            if not a:
                return None
            position += len(a)


def _first_byte(a: bytes, b: bytes) -> int:
    common = min(len(a), len(b))
    return next((at for at in range(common) if a[at] != b[at]), common)


def _in_archives(name: str, one: Path, other: Path) -> Iterator[FileDifference]:
    """What differs inside two wheels, or two layers; nothing where they are neither."""
    reader = _wheel if name.endswith(".whl") else _layer if name == "blob" else None
    if reader is None:
        return
    first, second = reader(one, None), reader(other, None)
    for member in sorted({*first, *second}):
        if member not in first or member not in second:
            yield FileDifference(f"{name}!{member}", None)
        elif first[member] != second[member]:
            a, b = reader(one, member)[member], reader(other, member)[member]
            yield FileDifference(f"{name}!{member}", _first_byte(a, b))


def _wheel(path: Path, wanted: str | None) -> dict[str, bytes]:
    """By name the hashes of what a wheel has, or the content of the one that is wanted."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist() if wanted is None else [wanted]
        return {name: _told(archive.read(name), wanted) for name in names}


def _layer(path: Path, wanted: str | None) -> dict[str, bytes]:
    """The same of a layer."""
    found = {}
    with gzip.open(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if wanted in (None, member.name):
                content = archive.extractfile(member) if member.isreg() else None
                data = content.read() if content else member.linkname.encode()
                found[member.name] = _told(data, wanted)
    return found


def _told(data: bytes, wanted: str | None) -> bytes:
    return hashlib.sha256(data).digest() if wanted is None else data
