"""Checks that the libraries of an image's packages can be loaded as far as an import needs them.

The specification, a JSON object:
    layers: folders of the packages' layers.
    root: the root file system of the image.
    python_version: "3.11".
    architecture: the image's: "x86_64" or "aarch64".
    cores: processes that may run at a time.
    out: the folder that gets `report.json`.

What is told by `links` is certain to be missing. Most of it belongs to parts that an app may never use: plugins, other
back ends. So the packages in question, and no others, are imported: with what they require they are unpacked into
the image's root, and Python imports their top-level modules there (`import_probe`). A need is one that fails the image
if an import failed over it: its error names it, or a library that cannot be loaded without it was to be loaded and is
not there. Where a package's own module loads none of its libraries (PyQt6), its public extension modules are what apps
import: they are tried as well, and what they lack is wanted, but fails nothing.

`report.json` has three arrays, `failures`, `wanted` and `optional`, and `complaint`, what to say of the first, or null.
In each array are objects with `package`, `version`, `library` (its path below site-packages), `kind` ("library",
"version" or "symbol"), `name` of what is missing, `more` (how many other symbols besides), `provider`; and but for what
is optional `module`, `error` and `reason`.
"""

from __future__ import annotations

import gzip
import json
import platform
import re
import shutil
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import build_room
import import_probe
import link_reason
import link_report
import links
from toc_reader import read_toc
from unpack_source import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from links import Unmet

# Parts of CUDA hold no Python code that could load their libraries.
_CUDA_PARTS = "nvidia-"
_EXTENSION = re.compile(r"(?P<name>\w+)\.(?:cpython-\d+-[\w-]+\.|abi3\.)?so")
# How the loader, and who has asked it, names what it lacks.
_SAID = {
    "library": r"(?<![\w.]){}(?!\w|\.\d)",
    "version": r"version `{}' not found",
    "symbol": r"undefined symbol: {}(?!\w)",
}
_MODULE = re.compile(r"(?P<name>\w+)\.py")
# Top-level folders that are no part of what a package is for.
_ASIDE = frozenset(
    {"__pycache__", "test", "tests", "testing", "example", "examples", "doc", "docs", "benchmarks"}
)
_SECONDS = 300
_SHOWN_ERROR = 400
_FORMAT_FILES = frozenset({"stargz.index.json", ".prefetch.landmark", ".no.prefetch.landmark"})


class _Candidate(NamedTuple):
    """A package that is imported to see what its unmet needs matter."""

    name: str
    modules: tuple[dict[str, Any], ...]


def build(spec: dict[str, Any]) -> None:
    """Make the report.

    Args:
        spec: see above.

    Raises:
        OSError: something cannot be read or written.
    """
    folders = [Path(folder) for folder in spec["layers"]]
    packages: dict[str, dict[str, Any]] = {}
    layers: dict[str, Path] = {}
    for folder in folders:
        for package in json.loads((folder / "layer.json").read_text(encoding="utf-8"))["contents"]:
            packages[package["name"]] = package
            layers[package["name"]] = folder
    python = f"/usr/bin/python{spec['python_version']}"
    root = links.Root(Path(spec["root"]), spec["architecture"])
    unmet = links.find_unmet(list(packages.values()), root, python)
    owners = {
        f"{links.VENV}/{library['path']}": name
        for name, package in packages.items()
        for library in package.get("libraries", ())
    }
    found = _tried(spec, _candidates(unmet, owners, layers, spec["python_version"]), packages, layers)
    failing = _failed(unmet, [result for result in found if not result["below"]])
    lacking = _failed(unmet, [result for result in found if result["below"]])
    report: dict[str, Any] = {"failures": [], "wanted": [], "optional": []}
    for one, failed, lacks in zip(unmet, failing, lacking):  # noqa: B905 - strict is new in 3.10
        result = failed or lacks
        described = _described(one)
        if result is not None:
            said = result["error"].partition("; ")[0][:_SHOWN_ERROR]
            described.update(module=result["module"], error=said, reason=link_reason.reason(one, packages))
        report["failures" if failed else "wanted" if lacks else "optional"].append(described)
    report["complaint"] = link_report.complaint(report["failures"])
    out = Path(spec["out"])
    out.mkdir()
    (out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")


def _tried(
    spec: Mapping[str, Any],
    candidates: Sequence[_Candidate],
    packages: Mapping[str, Mapping[str, Any]],
    layers: Mapping[str, Path],
) -> list[dict[str, Any]]:
    """What came of importing the candidates' modules; nothing where that cannot be tried."""
    if not candidates:
        return []
    if spec["architecture"] != platform.machine():
        print("imports are not tried: this machine is of another architecture", file=sys.stderr)
        return []
    needed = links.required(list(packages.values()), [candidate.name for candidate in candidates])
    try:
        return _import(spec, candidates, [layers[name] for name in sorted(needed)])
    except SourceError as error:
        print(f"imports cannot be tried: {error}", file=sys.stderr)
        return []


def _failed(unmet: Sequence[Unmet], found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any] | None]:
    """For each need the import that failed over it, or None.

    Of libraries that lack the same, those count that were to be loaded; where none of them is known to have been (not
    every way of loading is heard of), all whose need the error names.
    """
    loaded = [next((result for result in found if _was_loaded(one, result)), None) for one in unmet]
    names = {name for one, result in zip(unmet, loaded) if result for name in one.names}  # noqa: B905
    return [
        result
        or (
            None
            if names.intersection(one.names)
            else next((result for result in found if _is_named(one, result)), None)
        )
        for one, result in zip(unmet, loaded)  # noqa: B905
    ]


def _candidates(
    unmet: Sequence[Unmet], owners: Mapping[str, str], layers: Mapping[str, Path], python_version: str
) -> list[_Candidate]:
    users: dict[str, set[str]] = {}
    for one in unmet:
        for path in {*one.users, one.library}:
            users.setdefault(owners[path], set()).add(path)
    site_packages = f"{links.VENV}/lib/python{python_version}/site-packages"
    found = []
    for name, paths in sorted(users.items()):
        if not name.startswith(_CUDA_PARTS):
            modules = tuple(_modules(layers[name], site_packages, paths))
            if modules:
                found.append(_Candidate(name, modules))
    return found


def _modules(layer: Path, site_packages: str, paths: set[str]) -> Iterator[dict[str, Any]]:
    """The top-level modules of a package, with the extension modules right below each that lack something."""
    with (layer / "blob").open("rb", buffering=0) as file:
        names = ["/" + entry.name for entry in read_toc(file.fileno()) if entry.kind == "reg"]
    below: dict[str, set[str]] = {}
    for path in names:
        if not path.startswith(f"{site_packages}/"):
            continue
        first, _, rest = path[len(site_packages) + 1 :].partition("/")
        match = _EXTENSION.fullmatch(first) or _MODULE.fullmatch(first)
        if not rest and match:
            below.setdefault(match["name"], set())
        elif rest and first.isidentifier() and first not in _ASIDE:
            match = _EXTENSION.fullmatch(rest) or _MODULE.fullmatch(rest)
            if match or rest.endswith(".py"):
                below.setdefault(first, set())
            if path in paths and _EXTENSION.fullmatch(rest) and match and not match["name"].startswith("_"):
                below[first].add(f"{first}.{match['name']}")
    public = {name: modules for name, modules in below.items() if not name.startswith("_")}
    for name, modules in sorted((public or below).items()):
        yield {"name": name, "folder": f"{site_packages}/{name}", "below": sorted(modules)}


def _import(
    spec: Mapping[str, Any], candidates: Sequence[_Candidate], layers: Sequence[Path]
) -> list[dict[str, Any]]:
    """Import the candidates' modules in the image's root.

    Raises:
        SourceError: the kernel allows no such room.
    """
    folder = Path.cwd() / "room"
    room = build_room.Room(
        root=Path(spec["root"]),
        build=folder / "build",
        fixed=(),
        tmp=folder / "tmp",
        mount_point=folder / "root",
        instead={"opt": folder / "opt"},
    )
    for path in (folder, room.build, room.tmp, room.mount_point):
        path.mkdir()
    shutil.copytree(room.root / "opt", folder / "opt", symlinks=True)
    for path in (folder / "opt").rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    for layer in layers:
        _unpack(layer / "blob", folder)
    probe = room.build / "import_probe.py"
    shutil.copyfile(import_probe.__file__, probe)
    wanted = {
        "modules": [module for candidate in candidates for module in candidate.modules],
        "cores": spec.get("cores") or 1,
        "seconds": _SECONDS,
    }
    (room.build / "wanted.json").write_text(json.dumps(wanted), encoding="utf-8")
    environment = {
        "PATH": f"{links.VENV}/bin:/usr/bin:/bin",
        "HOME": "/tmp",  # noqa: S108 - the room's own
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [
        f"{links.VENV}/bin/python",
        "/build/import_probe.py",
        "/build/wanted.json",
        "/build/found.json",
    ]
    code = build_room.run(room, command, environment, "/tmp", _say)  # noqa: S108
    found = room.build / "found.json"
    if not found.exists():
        raise SourceError(f"the program that imports ended with code {code}")
    results: list[dict[str, Any]] = json.loads(found.read_text(encoding="utf-8"))
    return results


def _say(line: bytes) -> None:
    sys.stderr.buffer.write(line)


def _unpack(blob: Path, folder: Path) -> None:
    """Unpack a package's layer, whose paths are those that this library gave it."""
    with gzip.open(blob) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            path = folder / member.name
            if member.isdir():
                path.mkdir(parents=True, exist_ok=True)
            elif member.issym():
                path.unlink(missing_ok=True)
                path.symlink_to(member.linkname)
            elif member.isreg() and member.name not in _FORMAT_FILES:
                path.parent.mkdir(parents=True, exist_ok=True)
                content = archive.extractfile(member)
                assert content is not None
                with path.open("wb") as file:
                    shutil.copyfileobj(content, file, 1 << 20)
                path.chmod(member.mode & 0o755)


def _was_loaded(one: Unmet, result: Mapping[str, Any]) -> bool:
    """Whether an import failed, and a library that cannot be loaded for this need was to be loaded and is not there."""
    if result["error"] is None or result["mapped"] is None:
        return False
    users = {*one.users, one.library}
    return any(path in users and path not in result["mapped"] for path in result["attempted"])


def _is_named(one: Unmet, result: Mapping[str, Any]) -> bool:
    """Whether an import's error names what is missing."""
    error = result["error"] or ""
    return any(re.search(_SAID[one.kind].format(re.escape(name)), error) for name in one.names)


def _described(one: Unmet) -> dict[str, Any]:
    return {
        "package": one.package,
        "version": one.version,
        "library": one.library.rpartition("/site-packages/")[2],
        "kind": one.kind,
        "name": one.names[0],
        "more": len(one.names) - 1,
        "provider": one.provider,
    }
