"""What passes between the stages: the app as declared, and the lock that pins it.

Every value is immutable. Nothing in here reads a file, runs a program or knows of a later stage.
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pydantic resolves annotations at run time
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Architecture = Literal["x86_64", "aarch64"]
Cuda = Literal["none", "runtime", "devel"]


class Model(BaseModel):
    """A frozen model that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Endpoint(Model):
    """A method that is served over HTTP.

    Attributes:
        method: the name of the method in the class.
        path: the URL path, with its leading slash.
    """

    method: str
    path: str


class AppSpec(Model):
    """One app as its author declared it; the result of loading a target.

    Attributes:
        name: the app's name: lock file, image and out link are called after it. Matches `[a-z0-9][a-z0-9_-]*`.
        class_name: the class in the app file.
        file: the app file, absolute.
        root: the folder that locks are written to: that of pyproject.toml when the target came from or lies
            beside one, otherwise the app file's.
        kind: whose App the class derives from.
        python: "3.11" where declared, otherwise None.
        local_python: version of the interpreter that loaded the file ("3.11"), the default for `python`.
        requirements: install steps in order, each a tuple of pip command-line words.
        requirements_place: where they are written, for errors: `app.py:12: Upscale.requirements`.
        requirements_context_dir: base of local paths in requirements, absolute.
        machine_types: fallbacks in order; never empty.
        architecture: the processor of these machines.
        num_gpus: GPUs asked for, or None.
        cuda: what of CUDA the image has: nothing; what packages bring; the toolkit with its compiler too. Without a
            machine that has a GPU there is none, whatever this says.
        local_python_modules, app_files, app_files_ignore, app_files_context_dir: see docs/cli.md.
        local_modules: where local modules and the packages they are in are found, by import name: the file, or the
            folders of a package (several where a namespace package is spread). None are named for a part of Python
            itself; what is not found is not here.
        system_packages: Debian packages named by hand, for the image and for builds from source.
        system_packages_auto: whether packages are added for libraries that an import would lack.
        build_packages: Debian packages that only builds from source have.
        secrets: names of environment variables the app gets at run time.
        endpoints: what is served.
        labels: platform settings that do not matter to the build (`keep_alive`, ...), as strings.
    """

    name: str
    class_name: str
    file: Path
    root: Path
    kind: Literal["builder", "fal"] = "builder"
    python: str | None = None
    local_python: str
    requirements: tuple[tuple[str, ...], ...] = ()
    requirements_place: str = ""
    requirements_context_dir: Path
    machine_types: tuple[str, ...] = ("S",)
    architecture: Architecture = "x86_64"
    num_gpus: int | None = None
    cuda: Cuda = "runtime"
    local_python_modules: tuple[str, ...] = ()
    local_modules: dict[str, tuple[Path, ...]] = Field(default_factory=dict)
    app_files: tuple[str, ...] = ()
    app_files_ignore: tuple[str, ...] = ()
    app_files_context_dir: Path | None = None
    system_packages: tuple[str, ...] = ()
    system_packages_auto: bool = True
    build_packages: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    labels: dict[str, str] = Field(default_factory=dict)


class PinnedFile(Model):
    """A pinned file of a package: a wheel, or an archive that one is built from.

    Attributes:
        name: normalized project name (PEP 503).
        version: PEP 440 version.
        filename: the file's name.
        sha256: lowercase hex digest of the file.
        size: bytes, where the index said.
        url: where it was found, without credentials; None in a portable lock.
        direct: True when the requirement named this URL or path itself (PEP 610 applies).
    """

    name: str
    version: str
    filename: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int | None = None
    url: str | None = None
    direct: bool = False


class Wheel(PinnedFile):
    """A pinned wheel; its file name is one of the binary distribution format."""


class Source(Model):
    """What a package is built from.

    Attributes:
        kind: an sdist or another archive; a commit of a git repository; a folder of this machine.
        filename: an archive's file name; None for the others.
        sha256: lowercase hex digest: of an archive its bytes', of a commit's files their NAR's. None for a
            folder, which is read anew for each build.
        size: bytes of an archive, where known.
        url: of an archive or a repository, without credentials; None in a portable lock.
        commit: the commit's full hash.
        revision: the branch, tag or commit that was asked for, or None.
        subdirectory: the project's folder in it, or None.
        path: a folder's, relative to that of the lock.
        direct: True when the requirement named this source itself (PEP 610 applies).
    """

    kind: Literal["archive", "git", "directory"]
    filename: str | None = None
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    size: int | None = None
    url: str | None = None
    commit: str | None = None
    revision: str | None = None
    subdirectory: str | None = None
    path: str | None = None
    direct: bool = False


class Crate(Model):
    """A Rust crate of a registry, as a package's Cargo.lock pins it.

    Attributes:
        name: its name.
        version: its version (SemVer).
        sha256: lowercase hex digest of its archive.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    version: str = Field(pattern=r"^[0-9][0-9A-Za-z.+-]*$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @property
    def filename(self) -> str:
        """Its archive's name."""
        return f"{self.name}-{self.version}.crate"


class Built(Model):
    """A package that is built into a wheel.

    Attributes:
        name: normalized project name (PEP 503).
        version: PEP 440 version, as the lock found it; a folder's may have changed since.
        source: what it is built from.
        requires: the wheels its build backend needs (PEP 518), with all that they need, sorted by name.
        crates: the Rust crates that cargo finds in the build, sorted by name and version.
        compiled: whether the build has compilers; then it needs a machine of the image's architecture.
        variables: environment variables that the build gets besides the usual ones.
        filename: the wheel's file name; None for a folder.
        sha256: the wheel's, which every build of it must give; None for a folder.
        size: the wheel's, in bytes; None for a folder.
    """

    name: str
    version: str
    source: Source
    requires: tuple[Wheel, ...] = ()
    crates: tuple[Crate, ...] = ()
    compiled: bool = False
    variables: dict[str, str] = Field(default_factory=dict)
    filename: str | None = None
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    size: int | None = None

    @property
    def archive(self) -> PinnedFile | None:
        """The file it is built from, where it is one."""
        source = self.source
        if source.kind != "archive":
            return None
        assert source.filename is not None
        assert source.sha256 is not None
        return PinnedFile(
            name=self.name,
            version=self.version,
            filename=source.filename,
            sha256=source.sha256,
            size=source.size,
            url=source.url,
            direct=source.direct,
        )


class Deb(Model):
    """A pinned Debian package.

    Attributes:
        package: its name.
        version: its Debian version.
        architecture: "amd64", "arm64" or "all".
        archive: which archive's pool holds it: "debian" or "debian-security".
        path: the file's path in that archive (`pool/...`).
        sha256: lowercase hex digest of the file.
        size: bytes.
    """

    package: str
    version: str
    architecture: Literal["amd64", "arm64", "all"]
    archive: Literal["debian", "debian-security"]
    path: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int


class Busybox(Deb):
    """The pinned busybox-static package, which opens the first deb in a Nix build.

    Attributes:
        nar_sha256: hex digest of the NAR of a folder that holds the package's busybox and nothing else. Nix knows
            that folder by it; the package itself is only ever opened outside Nix.
    """

    nar_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Base(Model):
    """The pinned Debian base of a Python version.

    Attributes:
        suite: Debian's name of the release ("bookworm").
        python: "3.11".
        debs: per architecture, every package of the base, in the order they are unpacked. Both architectures
            are pinned, since a build host of either kind makes the layers of both.
        busybox: per architecture, the busybox that opens the debs.
        extra: per architecture, packages the app adds (`system_packages`), their dependencies included,
            nothing that `debs` has; only for the target's architecture.
        build: what packages with compiled parts are built with: compilers, and `build_packages`, their
            dependencies included, nothing that `debs` or `extra` has; only for the target's architecture, and
            empty where nothing is compiled.
        tools: per architecture, packages for the machine that builds, which no image has: see `TOOLS` in
            builder/debian/base.py. Their dependencies included, nothing that `debs` has. A lock that was written
            before there were any has no architecture here.
    """

    suite: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    python: str
    debs: dict[Architecture, tuple[Deb, ...]]
    busybox: dict[Architecture, Busybox]
    extra: tuple[Deb, ...] = ()
    build: tuple[Deb, ...] = ()
    tools: dict[Architecture, tuple[Deb, ...]] = Field(default_factory=dict)


class Addition(Model):
    """What was added to a lock because a library of a package needs it.

    Attributes:
        kind: a Debian package; or a requirement, of NVIDIA's parts of CUDA.
        name: the package's name, or the requirement.
        library: the soname of what is needed.
        package: the package that needs it, by its normalized name. While that is in the lock, this is.
    """

    kind: Literal["debian", "requirement"]
    name: str
    library: str
    package: str


class CudaArchive(Model):
    """A pinned archive of NVIDIA's redistributables.

    Attributes:
        component: NVIDIA's name of what is in it ("cuda_nvcc").
        version: that part's own version.
        path: the file's path in the folder of redistributables.
        sha256: lowercase hex digest of the file.
        size: bytes.
    """

    component: str = Field(pattern=r"^[a-z0-9_]+$")
    version: str = Field(pattern=r"^[0-9][0-9A-Za-z.]*$")
    path: str = Field(pattern=r"^\w[\w.+-]*(/\w[\w.+-]*)*\.tar\.xz$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int

    @property
    def filename(self) -> str:
        """The file's name."""
        return self.path.rpartition("/")[2]


class Toolkit(Model):
    """The CUDA toolkit of an image.

    Attributes:
        version: the CUDA's ("12.8").
        compiler: the Debian package with the C++ compiler that nvcc calls ("g++", "g++-13").
        archives: what it is made of besides packages, sorted by component.
    """

    version: str = Field(pattern=r"^\d+\.\d+$")
    compiler: str = Field(pattern=r"^g\+\+(-\d+)?$")
    archives: tuple[CudaArchive, ...] = ()


class Lock(Model):
    """Everything that decides an image's bits besides the app's own code.

    Attributes:
        name: the app's name.
        python: "3.11".
        architecture: the target's.
        machine_types: as declared.
        wheels: packages that are installed from a wheel as it is, sorted by name.
        built: packages that are built into a wheel first, sorted by name; no name is in both.
        base: the Debian base.
        additions: what of all this the declaration does not ask for, sorted.
        cuda: the CUDA toolkit, where the app asks for it.
        fingerprint: sha256 hex of the declaration this lock was made for.
        tool_version: version of this program that wrote it.
        portable: whether URLs are left out.
    """

    name: str
    python: str
    architecture: Architecture
    machine_types: tuple[str, ...]
    wheels: tuple[Wheel, ...]
    built: tuple[Built, ...] = ()
    base: Base
    additions: tuple[Addition, ...] = ()
    cuda: Toolkit | None = None
    fingerprint: str
    tool_version: str
    portable: bool = False

    @property
    def packages(self) -> tuple[Wheel | Built, ...]:
        """Everything that is installed, sorted by name."""
        return tuple(sorted((*self.wheels, *self.built), key=lambda package: package.name))

    @property
    def files(self) -> tuple[PinnedFile, ...]:
        """Every file of a package that an image is made of or built with, each once."""
        found: dict[str, PinnedFile] = {wheel.sha256: wheel for wheel in self.wheels}
        for built in self.built:
            for file in (*([built.archive] if built.archive else []), *built.requires):
                found.setdefault(file.sha256, file)
        return tuple(found.values())
