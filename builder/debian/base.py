"""What an image's base is made of, and the lock's pins for it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from builder.debian.closure import Closure, HeldBackError
from builder.debian.deb import busybox_nar_sha256, read_busybox
from builder.debian.fetch import exists, fetch_deb
from builder.debian.index import Index, Package, fetch_index
from builder.debian.mirrors import Mirrors, find_mirrors
from builder.debian.release import Release, fetch_release
from builder.debian.suites import Suite, suite_for
from builder.errors import DeclarationError, ResolveError
from builder.models import Architecture, Base, Busybox, Deb
from builder.parallel import each

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

DEBIAN_ARCHITECTURES: Mapping[Architecture, str] = {"x86_64": "amd64", "aarch64": "arm64"}

# Every image has these, and what they depend on. `{v}` is the Python version.
REQUIRED = (
    # /etc/os-release, the folders of the hierarchy standard, and the licence texts that the packages'
    # copyright files refer to.
    "base-files",
    "libc6",
    # The C.UTF-8 locale, and ldconfig: ctypes.util.find_library and Triton run it to find libraries.
    "libc-bin",
    # The libraries that manylinux wheels may take for granted (PEP 600), so far as they are no desktop's:
    # those (libX11, libGL, libglib) are the link check's to add where a wheel needs one.
    "libstdc++6",
    "libgcc-s1",
    "ca-certificates",
    "tzdata",
    # /etc/services and /etc/protocols: socket.getservbyname and getprotobyname.
    "netbase",
    # /bin/sh as Debian's scripts expect it; what subprocess's shell=True starts.
    "dash",
    # ls, cat, ps, env, wget, vi and 100 others, for scripts and for looking into a running container: 1 MB,
    # where coreutils, bash, grep, sed, findutils and procps are 6 MB and 35 MB unpacked. The same file opens
    # the other packages, so nothing more is fetched. Packages that bring the real programs take the place of
    # its links.
    "busybox-static",
    # libpython{v}.so is not among them: wheels must not link it (PEP 513), Debian's interpreter does not use
    # it.
    "python{v}",
    # ensurepip with its wheels; distutils comes with it where this Python has distutils.
    "python{v}-venv",
)
# Parts of the standard library and of the time zone data that some suites have as packages of their own. One
# is taken if it exists and its version is this Python's (tzdata-legacy: if it exists).
PARTS = ("python3", "python3-distutils", "python3-lib2to3", "python3-gdbm", "python{v}-gdbm")
LEGACY_ZONES = "tzdata-legacy"  # names such as US/Eastern, which data sets are full of

# Dependencies that are not followed. The first group is needed by maintainer scripts alone, which do not run:
# what they would make, nix/sandbox/unpack_debs.sh does. A package of these names can still be asked for by
# name.
STOP: Mapping[str, Collection[str]] = {
    "*": (
        "adduser",
        "cdebconf",
        "debconf",
        "debconf-2.0",
        "debianutils",
        "dpkg",
        "init-system-helpers",
        "install-info",
        "lsb-base",
        "sysvinit-utils",
        "ucf",
        "awk",  # busybox's will do
    ),
    # For its command line, which makes the hash links in /etc/ssl/certs; the one-file bundle needs none.
    "ca-certificates": ("openssl",),
    # For its scripts, which write a shell into /etc/shells.
    "bash-static": ("passwd",),
}

# What ordinary C and C++ parts of Python packages are built with: Debian's build-essential without the tools for
# Debian's own packages, the interpreter's headers, and the real ones of the programs that configure scripts and
# makefiles call, which are busybox's in images. Perl is among them: no package says that its scripts need it, as
# libpq-dev's pg_config does (Debian policy 3.8, "Essential packages").
TOOLCHAIN = (
    "gcc",
    "g++",
    "make",
    "libc6-dev",
    "python{v}-dev",
    "pkg-config",
    "patch",
    "bash",
    "coreutils",
    "diffutils",
    "findutils",
    "grep",
    "gzip",
    "perl-base",
    "sed",
    "tar",
)

# Debian's bash that is linked to nothing.
SHELL = "bash-static"
# What builds use on the machine that builds, and no image has: each where the suite has it. A lock keeps what it has
# of these; its base is to be pinned anew for another name.
TOOLS = (
    # Intel's ISA-L, which inflates wheels in half of zlib's time (nix/sandbox/isal.py).
    "libisal2",
    # `nix develop` runs a shell in the sandbox, which has no libraries for one that is linked to any.
    SHELL,
)

_INDEXES, _DEBS = "debian", "debs"
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")


def resolve_base(
    python: str,
    *,
    mirrors: Mapping[str, str],
    cache: Path,
    system_packages: Sequence[str] = (),
    build_packages: Sequence[str] | None = None,
    build_defaults: Sequence[str] = (),
    target: Architecture = "x86_64",
    extra_suites: Mapping[str, str] | None = None,
    keep: Base | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Base:
    """Pin the Debian packages of an image.

    Both architectures' bases are pinned: layers of either are made on machines of either.

    Args:
        python: "3.11".
        mirrors: the table `[tool.builder.mirrors]`.
        cache: this program's cache folder; indexes go into `debian` in it, packages into `debs`.
        system_packages: packages the app needs besides, by name.
        build_packages: packages that builds from source need besides compilers, by name; None where nothing is
            compiled, and then there are no compilers either.
        build_defaults: more such packages, but for those that one of `build_packages` provides.
        target: the image's architecture.
        extra_suites: see `suite_for`.
        keep: pins that stay as they are as long as they fit; None pins everything anew.
        note: told in a sentence what the user should know although nothing failed.

    Raises:
        DeclarationError: no suite has this Python, or a system package's name is none.
        ResolveError: a package does not exist, dependencies cannot be met, or the index is not to be had.
        ToolError: no mirror is known, or gpgv or its keyring is missing.
    """
    suite = suite_for(python, extra_suites)
    extra = _checked_names("system_packages", system_packages)
    build = _checked_names("build_packages", build_packages or ())
    compiles = build_packages is not None
    if keep is not None and not (keep.suite == suite.codename and keep.python == python and _complete(keep)):
        keep = None
    # The usual second lock: nothing has to be asked.
    if keep is not None and not extra and not compiles and _has_tools(keep):
        return keep.model_copy(update={"extra": (), "build": ()})
    resolver = _Resolver(suite, python, find_mirrors(mirrors), cache, note)
    if keep is not None:
        try:
            if not _has_tools(keep):
                keep = resolver.with_tools(keep)
            return resolver.with_additions(keep, target, extra, build, build_defaults, compiles=compiles)
        except HeldBackError as error:
            note(f"the base is updated: {error}")
    return resolver.with_additions(resolver.base(), target, extra, build, build_defaults, compiles=compiles)


def _checked_names(attribute: str, packages: Sequence[str]) -> list[str]:
    for position, name in enumerate(packages):
        if not _NAME.fullmatch(name):
            raise DeclarationError(
                f"{attribute}[{position}]: {name!r} is not the name of a Debian package",
                hint="write the bare name, as in 'libgl1': the lock pins version and architecture",
            )
    return list(dict.fromkeys(packages))


def _complete(base: Base) -> bool:
    return all(
        base.debs.get(architecture) and architecture in base.busybox for architecture in DEBIAN_ARCHITECTURES
    )


def build_tools(base: Base, architecture: Architecture) -> tuple[Deb, ...]:
    """The tools that building an image takes: a shell is for people."""
    return tuple(deb for deb in base.tools.get(architecture, ()) if deb.package != SHELL)


def _has_tools(base: Base) -> bool:
    """Whether tools were looked for when a base was pinned, found or not."""
    return all(architecture in base.tools for architecture in DEBIAN_ARCHITECTURES)


class _Resolver:
    """One suite's indexes, fetched when they are first needed."""

    def __init__(
        self, suite: Suite, python: str, mirrors: Mirrors, cache: Path, note: Callable[[str], None]
    ) -> None:
        self._suite = suite
        self._python = python
        self._mirrors = mirrors
        self._cache = cache
        self._note = note
        self._releases: list[Release] | None = None
        self._served: dict[tuple[Architecture, str], bool] = {}

    def base(self) -> Base:
        """The base of both architectures, at the versions the suite has now."""
        debs: dict[Architecture, tuple[Deb, ...]] = {}
        with self._indexes(list(DEBIAN_ARCHITECTURES)) as indexes:
            for architecture, index in indexes.items():
                closure = Closure(index, suite=self._suite.codename, stop=STOP)
                closure.add(base_names(index, self._python, self._suite))
                debs[architecture] = tuple(package.deb() for package in closure.packages())
        busybox = dict(zip(debs, each(self._busybox, debs.values(), workers=2), strict=True))
        base = Base(suite=self._suite.codename, python=self._python, debs=debs, busybox=busybox)
        return self.with_tools(base)

    def with_tools(self, base: Base) -> Base:
        """A base with the tools of both architectures, its own packages staying as they are.

        Raises:
            HeldBackError: a package of the base is too old for one of them.
            ResolveError: dependencies cannot be met.
        """
        tools: dict[Architecture, tuple[Deb, ...]] = {}
        with self._indexes(list(DEBIAN_ARCHITECTURES)) as indexes:
            for architecture, index in indexes.items():
                there = {deb.package: _pinned(index, deb) for deb in base.debs[architecture]}
                names = [name for name in TOOLS if index.best(name) is not None]
                tools[architecture] = tuple(
                    package.deb() for package in self._closure(index, there, names, ()).values()
                )
        return base.model_copy(update={"tools": tools})

    def _busybox(self, debs: Sequence[Deb]) -> Busybox:
        """Pin the program in busybox-static too: Nix is given that, since it cannot open the package."""
        deb = next(deb for deb in debs if deb.package == "busybox-static")
        program = read_busybox(fetch_deb(deb, self._mirrors, self._cache / _DEBS))
        return Busybox(**deb.model_dump(), nar_sha256=busybox_nar_sha256(program))

    def with_additions(
        self,
        base: Base,
        target: Architecture,
        extra: Sequence[str],
        build: Sequence[str],
        defaults: Sequence[str],
        *,
        compiles: bool,
    ) -> Base:
        """A base with what an app and its builds need beyond it, and pins that it has of these kept where they fit.

        Args:
            base: whose own packages stay as they are.
            target: the architecture.
            extra: packages for the image, by name.
            build: packages for builds alone, by name.
            defaults: more of these, but for those that one of `build` provides.
            compiles: whether builds need compilers.

        Raises:
            HeldBackError: a package of the base is too old for one of them.
            ResolveError: there is no such package, or dependencies cannot be met.
        """
        there = base.debs[target]
        image = self._additions(extra, target, there, base.extra) if extra else ()
        tools: tuple[Deb, ...] = ()
        if compiles:
            names = [*(name.format(v=self._python) for name in TOOLCHAIN), *build]
            tools = self._additions(names, target, (*there, *image), base.build, defaults)
        return base.model_copy(update={"extra": image, "build": tools})

    def _additions(
        self,
        names: Sequence[str],
        target: Architecture,
        there: Sequence[Deb],
        before: Sequence[Deb],
        defaults: Sequence[str] = (),
    ) -> tuple[Deb, ...]:
        """What the named packages need beyond those that are there, with earlier pins kept where they fit."""
        debian = DEBIAN_ARCHITECTURES[target]
        old = {deb.package: deb for deb in before if deb.architecture in (debian, "all")}
        with self._indexes([target]) as indexes:
            index = indexes[target]
            # The same packages as before stay as they are, all together: they fit each other, and what is there. A
            # newer one would often need a newer base, as libc6-dev does, which goes with one version of libc6 alone.
            current = {deb.package: index.best(deb.package) or _pinned(index, deb) for deb in there}
            if old and self._closure(index, current, names, defaults).keys() == old.keys():
                return tuple(old.values())
            pinned = {deb.package: _pinned(index, deb) for deb in there}
            found = self._closure(index, pinned, names, defaults)
        # An old pin's own dependencies are not known any more: they are in no index. While nothing that came
        # with the old pins has gone from the set, they still have what they had; otherwise all are pinned
        # anew.
        if not old.keys() <= found.keys():
            old = {}
        kept = {name: deb for name, deb in old.items() if _still_fits(deb, found.values())}
        return tuple(kept.get(package.name) or package.deb() for package in found.values())

    def _closure(
        self, index: Index, fixed: Mapping[str, Package], names: Sequence[str], defaults: Sequence[str]
    ) -> dict[str, Package]:
        """What the named packages need beyond fixed ones, sorted by name."""
        closure = Closure(index, suite=self._suite.codename, stop=STOP, fixed=fixed)
        closure.add(names, defaults=defaults)
        return {package.name: package for package in closure.packages()}

    @contextmanager
    def _indexes(self, architectures: Sequence[Architecture]) -> Iterator[dict[Architecture, Index]]:
        wanted = [(name, release) for name in architectures for release in self._verified_releases()]
        paths = each(
            lambda item: fetch_index(
                item[1], DEBIAN_ARCHITECTURES[item[0]], self._mirrors, self._cache / _INDEXES
            ),
            wanted,
            workers=4,
        )
        found = [(name, release, path) for (name, release), path in zip(wanted, paths, strict=True) if path]
        indexes: dict[Architecture, Index] = {}
        try:
            for architecture in architectures:
                databases = [
                    (release.pocket.archive, path)
                    for name, release, path in found
                    if name == architecture and self._still_served(architecture, release, path)
                ]
                if not databases:
                    raise ResolveError(
                        f"Debian {self._suite.codename} has no packages for {DEBIAN_ARCHITECTURES[architecture]} "
                        f"on the mirror that {self._mirrors.source} names",
                        hint="a partial mirror will not do: set another one in [tool.builder.mirrors]",
                    )
                indexes[architecture] = Index(databases)
            yield indexes
        finally:
            for index in indexes.values():
                index.close()

    def _still_served(self, architecture: Architecture, release: Release, database: Path) -> bool:
        """Whether a pocket's packages can be fetched, and not only its index.

        After a suite's support has ended Debian takes the files of its security pocket down, one architecture
        after the other, and leaves the index. The suite as it was released can still be had then. The whole
        pocket is left out, since versions of one source package depend on each other.
        """
        archive = release.pocket.archive
        if self._suite.status != "ended" or archive != "debian-security":
            return True
        key = (architecture, release.pocket.name)
        if key not in self._served:
            index = Index([(archive, database)])
            try:
                probes = filter(None, map(index.best, ("libc6", f"python{self._python}", "busybox-static")))
                self._served[key] = all(
                    exists(self._mirrors.url(archive, probe.filename)) for probe in probes
                )
            finally:
                index.close()
            if not self._served[key]:
                self._note(
                    f"{release.pocket.name} is left out for {architecture}: the support of {self._suite.codename} has "
                    f"ended and the mirror no longer has these packages, so Python {self._python} is used without "
                    "its last fixes"
                )
        return self._served[key]

    def _verified_releases(self) -> list[Release]:
        if self._releases is None:
            found = each(
                lambda pocket: fetch_release(pocket, self._mirrors, self._cache / _INDEXES),
                self._suite.pockets,
                workers=4,
            )
            self._releases = [release for release in found if release is not None]
            self._note_age(self._releases)
        return self._releases

    def _note_age(self, releases: Iterable[Release]) -> None:
        """Say so where a Release file is past its date.

        It is still used. Suites that are no longer supported have no such date, and a dated archive, the only
        source of some Pythons, is past it by its nature. What the date guards against is a mirror that holds
        fixes back unnoticed; so it is noticed. The lock shows each version, and a later lock takes what is
        newer.
        """
        if self._suite.status == "custom":
            return
        now = datetime.now(timezone.utc)
        late = [
            release for release in releases if release.valid_until is not None and release.valid_until < now
        ]
        if late:
            oldest = min(release.date for release in late)
            names = ", ".join(release.pocket.name for release in late)
            self._note(
                f"the Debian mirror that {self._mirrors.source} names is out of date: its index of {names} is of "
                f"{oldest:%Y-%m-%d}, and newer packages may exist"
            )


def base_names(index: Index, python: str, suite: Suite) -> list[str]:
    """The names of the packages that a base is the closure of.

    Raises:
        ResolveError: the suite has not this Python.
    """
    names = [name.format(v=python) for name in REQUIRED]
    if index.best(f"python{python}") is None:
        raise ResolveError(
            f"Debian {suite.codename} has no package python{python}",
            hint="[tool.builder.suites] names the suite and [tool.builder.mirrors] the mirror: a dated archive has the "
            "Pythons of its date",
        )
    for part in PARTS:
        package = index.best(part.format(v=python))
        if package is not None and re.match(re.escape(python) + r"(?!\d)", package.version):
            names.append(package.name)
    if index.best(LEGACY_ZONES) is not None:
        names.append(LEGACY_ZONES)
    return names


def _pinned(index: Index, deb: Deb) -> Package:
    """A package of the base at its pinned version, with what the suite's present version of it provides."""
    best = index.best(deb.package)
    if best is not None and best.version == deb.version:
        return best
    return Package(
        archive=deb.archive,
        name=deb.package,
        version=deb.version,
        architecture=deb.architecture,
        pre_depends="",
        depends="",
        conflicts="",
        breaks="",
        provides=best.provides if best is not None else "",
        filename=deb.path,
        sha256=deb.sha256,
        size=deb.size,
    )


def _still_fits(deb: Deb, found: Iterable[Package]) -> bool:
    """Whether no package of the set asks for another version of this one than the pin's."""
    return all(
        any(relation.name != deb.package or relation.admits(deb.version) for relation in group)
        for package in found
        for group in package.requirements
    )
