"""Builds packages from source by the Nix library alone, without the command's own way to a lock."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import tomli

from builder import nix, sources
from builder.files import scratch_folder
from builder.library import stage_library, staged
from builder.models import Wheel
from builder.nix_log import Log
from builder.progress import Display
from builder.render import nix_value
from builder.settings import Settings
from builder.tags import Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.models import Base, Deb

UV = Path(sysconfig.get_path("scripts")) / "uv"


@dataclass(frozen=True)
class Archive:
    """A pinned file of an index."""

    name: str
    version: str
    filename: str
    sha256: str
    url: str


@dataclass(frozen=True)
class Package:
    """What is built: `source` is an archive of an index, or a folder or file of this machine."""

    name: str
    source: Archive | Path
    requires: tuple[Wheel, ...] = ()
    compiled: bool = False
    subdirectory: str | None = None
    variables: dict[str, str] = field(default_factory=dict)


def _resolve(requirements: Sequence[str], *words: str) -> list[dict]:
    """The packages that uv chooses, as pylock.toml has them; nothing of them is run."""
    command = [UV, "pip", "compile", "-", "--format", "pylock.toml", "--quiet", "--no-header"]
    command += ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_36", *words]
    done = subprocess.run(command, input="\n".join(requirements), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tomli.loads(done.stdout)["packages"]


def sdist(requirement: str) -> Archive:
    """The sdist of a version, which its index lists."""
    [package] = _resolve([requirement], "--no-deps", "--no-binary", ":all:")
    file = package["sdist"]
    return Archive(
        package["name"],
        package["version"],
        _filename(file),
        file["hashes"]["sha256"],
        file["url"],
    )


def wheels(requirements: Sequence[str], base: Base) -> tuple[Wheel, ...]:
    """The wheels of build requirements, with all that they need, as they fit a base."""
    if not requirements:
        return ()
    target = Target.of_base(base, "x86_64")
    found = []
    for package in _resolve(requirements, "--only-binary", ":all:"):
        fitting = [file for file in package["wheels"] if target.rank(_filename(file)) is not None]
        best = min(fitting, key=lambda file: target.rank(_filename(file)))
        pin = {"filename": _filename(best), "sha256": best["hashes"]["sha256"], "url": best["url"]}
        found.append(Wheel(name=package["name"], version=package["version"], **pin))
    return tuple(found)


def _filename(file: dict) -> str:
    return unquote(file["url"].rpartition("/")[2])


class Builds:
    """Builds packages with one base.

    Args:
        base: its `build` has the compilers.
        folder: where Debian's indexes and packages are cached.
    """

    def __init__(self, base: Base, folder: Path) -> None:
        self.base = base
        display = Display(enabled=False)
        self._mirrors = sources.supply_base(base, "x86_64", Settings(), cache=folder, display=display)
        self._display = display
        with scratch_folder() as scratch:
            self._library = stage_library(scratch)
            nix.add([self._library])

    def step(self, package: Package, step: str, *flags: str) -> Path:
        """Build a step of a package; raises the BuildError that a user would see."""
        return Path(nix.build(self.expression(package, step), log=Log(self._display), flags=flags))

    def wheel(self, package: Package, *flags: str) -> Path:
        """The wheel of a package."""
        [wheel] = self.step(package, "wheel", *flags).glob("*.whl")
        return wheel

    def requires(self, package: Package) -> list[str]:
        """What the backend asks for."""
        return json.loads((self.step(package, "requires") / "requires.json").read_text())

    def expression(self, package: Package, step: str) -> str:
        return "\n".join(
            [
                *self.library(),
                "builder.sourceStep {",
                '  python = "3.11";',
                '  architecture = "x86_64";',
                f"  debian = {self.debian()};",
                f"  package = {self.package(package)};",
                f"  step = {nix_value(step)};",
                "}",
            ]
        )

    def library(self) -> list[str]:
        arguments = nix_value({"system": "x86_64-linux", "mirrors": self._mirrors})
        return [f"let builder = import {nix.pure_path(self._library)} {arguments};", "in"]

    def debian(self) -> str:
        base = self.base
        debs = {name: _pins(packages) for name, packages in base.debs.items()}
        box = nix_value({"system": "x86_64-linux", "sha256": base.busybox["x86_64"].nar_sha256})
        parts = [
            f"busybox.x86_64 = builder.busybox {box};",
            f"debs = builtins.mapAttrs (_: map builder.deb) {nix_value(debs)};",
            f"extra = map builder.deb {nix_value(_pins(base.extra))};",
            f"build = map builder.deb {nix_value(_pins(base.build))};",
        ]
        return "{ " + " ".join(parts) + " }"

    def package(self, package: Package, **more: str | None) -> str:
        """A package as the argument that Nix's functions take."""
        requires = [
            {key: getattr(wheel, key) for key in ("name", "version", "filename", "sha256", "url")}
            for wheel in package.requires
        ]
        values = {
            "name": package.name,
            "version": "",
            "subdirectory": package.subdirectory,
            "compiled": package.compiled,
            "variables": package.variables,
            **more,
        }
        fields = [f"{name} = {nix_value(value)};" for name, value in values.items()]
        fields.append(f"requires = map builder.wheel {nix_value(requires)};")
        fields.append(f"source = {self._source(package.source)};")
        return "builder.build { " + " ".join(fields) + " }"

    def _source(self, source: Archive | Path) -> str:
        if isinstance(source, Archive):
            pin = {"filename": source.filename, "sha256": source.sha256, "url": source.url}
            return f"builder.sdist {nix_value(pin)}"
        if source.is_dir():
            added = staged(source, "source")
        else:
            digest = hashlib.sha256(source.read_bytes()).hexdigest()
            added = nix.Added(source, source.name, digest, recursive=False)
        nix.add([added])
        return nix.pure_path(added)


def _pins(debs: Sequence[Deb]) -> list[dict[str, str]]:
    return [{"archive": deb.archive, "path": deb.path, "sha256": deb.sha256} for deb in debs]
