"""Builds a package into a wheel while it is being locked, in a Nix build without network.

Nothing of a package runs elsewhere: what it depends on is read from the wheel. The build is the very one that the image
is made with later, so what was built for the lock is not built again.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from builder import nix
from builder.crates import supply_crates
from builder.errors import BuildError, ResolveError
from builder.files import scratch_folder
from builder.library import stage_library
from builder.models import Built
from builder.nix_log import Log
from builder.render import nix_value
from builder.sources import supply_base, supply_files
from builder.toolchains import build_tools

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.index import Finder
    from builder.models import Base, Source, Wheel
    from builder.progress import Display
    from builder.settings import Settings
    from builder.source_files import SourceFiles
    from builder.tags import Target

    # The wheels for a build's requirements, given as PEP 508 lines.
    LockRequires = Callable[[Sequence[str]], tuple[Wheel, ...]]


@dataclass(frozen=True)
class Fetched:
    """A source that is in the store.

    Attributes:
        name: the project's, normalized, as far as it is known before the build.
        source: what the lock will say of it.
        path: where it is in the store.
        files: what is in it.
        where: what an error about it begins with.
        variables: environment variables for the build.
    """

    name: str
    source: Source
    path: nix.Added
    files: SourceFiles
    where: str
    variables: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Made:
    """A package that was built.

    Attributes:
        built: what the lock says of it.
        wheel: the wheel's path.
        metadata: its core metadata.
    """

    built: Built
    wheel: Path
    metadata: bytes


class SourceBuilder:
    """Builds packages for a target; each source once.

    Args:
        target: what for.
        base: the pinned base; `base` is later the one with compilers, where one was needed.
        with_tools: pins the base with compilers and more Debian packages.
        find: makes what finds the files of build requirements.
        settings: the project's.
        cache: this program's cache folder.
        registry: whether cargo finds the crates that a Cargo.lock names; otherwise those of Debian's packages.
        display: shows what goes on.
    """

    def __init__(
        self,
        target: Target,
        base: Base,
        with_tools: Callable[[Sequence[str]], Base],
        find: Callable[[tuple[Wheel, ...]], Finder],
        *,
        settings: Settings,
        cache: Path,
        registry: bool = True,
        display: Display,
    ) -> None:
        self.target = target
        self.base = base
        self._with_tools = with_tools
        self._find = find
        self._settings = settings
        self._cache = cache
        self._registry = registry
        self._display = display
        self._tools: frozenset[str] | None = None
        self._made: dict[tuple[nix.Added, str | None], tuple[Made, Fetched, frozenset[str] | None]] = {}

    def make(self, fetched: Fetched, lock_requires: LockRequires) -> Made:
        """Build a source into a wheel.

        Args:
            fetched: the source.
            lock_requires: chooses the wheels that the build needs.

        Raises:
            BuildError: its build failed; what it said is in the message.
            ResolveError: what it needs for the build cannot be had, or the wheel does not fit the target.
        """
        if not self._registry:
            fetched = replace(fetched, files=replace(fetched.files, crates=()))
        key = (fetched.path, fetched.source.subdirectory)
        if key not in self._made:
            self._made[key] = (self._make(fetched, lock_requires), fetched, self._tools)
        return self._made[key][0]

    def finish(self, built: Sequence[Built]) -> tuple[Built, ...]:
        """The packages as one base builds all of them.

        A package may have been built before another asked for one more tool. What is pinned in the end is one base
        with all of them, so the earlier ones are built with that.

        Args:
            built: the packages that are locked.

        Raises:
            BuildError: see `make`.
        """
        final = []
        for package in built:
            key = next(
                (key for key, (made, _, _) in self._made.items() if made.built.source == package.source), None
            )
            if key is None or not package.compiled or self._made[key][2] == self._tools:
                final.append(package)
                continue
            _, fetched, _ = self._made[key]
            final.append(self._wheel(fetched, package.requires, compiled=True).built)
        return tuple(final)

    def _make(self, fetched: Fetched, lock_requires: LockRequires) -> Made:
        names = fetched.files.requires
        requires = lock_requires(names)
        compiled = self._prepare(fetched, names)
        self._display.stage(f"Asking {fetched.name} what its build needs")
        out = self._build(fetched, requires, step="requires", compiled=compiled)
        more = json.loads((out / "requires.json").read_text("utf-8"))
        if more:
            names = (*names, *more)
            requires = lock_requires(names)
            compiled = self._prepare(fetched, names)
        return self._wheel(fetched, requires, compiled=compiled)

    def _prepare(self, fetched: Fetched, requires: Sequence[str]) -> bool:
        """See to the compilers that a source needs; return whether it needs any."""
        needed = {canonicalize_name(Requirement(line).name) for line in requires if _parses(line)}
        compiled, tools = build_tools(fetched.files.names, needed)
        if not compiled:
            return False
        if self.target.architecture != nix.build_machine():
            raise ResolveError(
                f"{fetched.where}: it has parts to be compiled for {self.target.architecture}, and this machine is "
                f"{nix.build_machine()}",
                hint=f"Lock and build it on an {self.target.architecture} machine, or name a version that has a wheel.",
            )
        if self._tools is None or not set(tools) <= self._tools:
            self._display.stage("Choosing Debian packages to compile with")
            self._tools = (self._tools or frozenset()) | set(tools)
            self.base = self._with_tools(sorted(self._tools))
        return True

    def _wheel(self, fetched: Fetched, requires: tuple[Wheel, ...], *, compiled: bool) -> Made:
        self._display.stage(f"Building {fetched.name} from source")
        out = self._build(fetched, requires, step="wheel", compiled=compiled)
        wheel = next(out.glob("*.whl"))
        name, version, _, _ = parse_wheel_filename(wheel.name)
        if self.target.rank(wheel.name) is None:
            raise ResolveError(
                f"{fetched.where}: it was built into {wheel.name}, which does not fit {self.target}",
                hint="Its build asks for another platform or Python than this one; its documentation may say why.",
            )
        if name != fetched.name:
            # Only the build tells the name of a folder whose pyproject.toml has none.
            return self._wheel(replace(fetched, name=name), requires, compiled=compiled)
        fixed = fetched.source.kind != "directory"
        built = Built(
            name=name,
            version=str(version),
            source=fetched.source,
            requires=requires,
            crates=fetched.files.crates,
            compiled=compiled,
            variables=fetched.variables,
            filename=wheel.name if fixed else None,
            sha256=hashlib.sha256(wheel.read_bytes()).hexdigest() if fixed else None,
            size=wheel.stat().st_size if fixed else None,
        )
        return Made(built, wheel, _metadata(wheel))

    def _build(self, fetched: Fetched, requires: tuple[Wheel, ...], *, step: str, compiled: bool) -> Path:
        base = self.base
        architecture = self.target.architecture
        mirrors = supply_base(base, architecture, self._settings, cache=self._cache, display=self._display)
        urls = supply_files(requires, lambda: self._find(requires), display=self._display)
        supply_crates(
            {fetched.where: fetched.files.crates},
            lambda: self._find(()).session,
            self._settings,
            display=self._display,
        )
        with scratch_folder() as scratch:
            library = stage_library(scratch)
            nix.add([library])
            arguments: dict[str, Any] = {
                "system": f"{nix.build_machine()}-linux",
                "mirrors": mirrors,
                "urls": urls,
            }
            text = "\n".join(
                [
                    f"let builder = import {nix.pure_path(library)} {nix_value(arguments)};",
                    "in builder.sourceStep {",
                    f"python = {nix_value(self.target.python)};",
                    f"architecture = {nix_value(architecture)};",
                    f"debian = {_debian(base)};",
                    f"package = {_package(fetched, requires, compiled=compiled)};",
                    f"step = {nix_value(step)};",
                    "}",
                ]
            )
            try:
                return Path(nix.build(text, log=Log(self._display)))
            except BuildError as error:
                raise type(error)(f"{fetched.where}: {error}", hint=error.hint) from error


def _debian(base: Base) -> str:
    busybox = " ".join(
        f"{name} = builder.busybox {nix_value({'system': f'{name}-linux', 'sha256': box.nar_sha256})};"
        for name, box in base.busybox.items()
    )
    debs = {name: _pins(packages) for name, packages in base.debs.items()}
    extra, build = nix_value(_pins(base.extra)), nix_value(_pins(base.build))
    rest = f"extra = map builder.deb {extra}; build = map builder.deb {build};"
    return f"{{ busybox = {{ {busybox} }}; debs = builtins.mapAttrs (_: map builder.deb) {nix_value(debs)}; {rest} }}"


def _pins(debs: Sequence[Any]) -> list[dict[str, str]]:
    return [{"archive": deb.archive, "path": deb.path, "sha256": deb.sha256} for deb in debs]


def _package(fetched: Fetched, requires: Sequence[Wheel], *, compiled: bool) -> str:
    wheels = [
        {
            "name": wheel.name,
            "version": wheel.version,
            "filename": wheel.filename,
            "sha256": wheel.sha256,
            "url": wheel.url,
        }
        for wheel in requires
    ]
    crates = [crate.model_dump() for crate in fetched.files.crates]
    return (
        "builder.build { "
        f'name = {nix_value(fetched.name)}; version = ""; source = {_source(fetched)}; '
        f"subdirectory = {nix_value(fetched.source.subdirectory)}; requires = map builder.wheel {nix_value(wheels)}; "
        f"crates = map builder.crate {nix_value(crates)}; "
        f"compiled = {nix_value(compiled)}; variables = {nix_value(fetched.variables)}; }}"
    )


def _source(fetched: Fetched) -> str:
    source = fetched.source
    if source.kind == "archive":
        return (
            f"builder.sdist {nix_value({'filename': source.filename, 'sha256': source.sha256, 'url': None})}"
        )
    if source.kind == "git":
        return f"builder.tree {nix_value({'name': fetched.path.name, 'sha256': source.sha256})}"
    return nix.pure_path(fetched.path)


def _parses(line: str) -> bool:
    try:
        Requirement(line)
    except InvalidRequirement:
        return False
    return True


def _metadata(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return archive.read(name)
