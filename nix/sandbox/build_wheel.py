"""Builds a package from source, in a Nix build: asks its backend what it needs, or for the wheel.

The specification, a JSON object:
    name: the project's.
    step: "requires" or "wheel".
    source: path of an archive, or of a folder.
    subdirectory: the project's folder in the source, or null.
    root: the root file system of the build.
    requires: wheels that the backend needs, each with `path` and `filename`.
    crates: Rust crates for cargo, each with `path`, `name`, `version` and `sha256`.
    variables: environment variables besides the usual ones.
    python_version: "3.11".
    cores: processes that may run at a time.
    out: the folder that gets `requires.json`, or the wheel.

What a backend does is what its project says (PEP 517): it may be anyone's code. It runs in a room (`build_room`) that
has the same paths, the same environment and the same times on every machine. What it leaves is taken for data.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections import deque
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import build_environment
import build_failure
import build_frontend
import build_room
import crates
from repack_wheel import repack
from unpack_source import EPOCH, SourceError, unpack
from wheel import WheelError

if TYPE_CHECKING:
    from collections.abc import Mapping

_BUILD = "/build"
_ENVIRONMENT = f"{_BUILD}/env"
_KEPT_LINES = 400
_LARGEST_LIST = 1 << 20


def build(spec: dict[str, Any]) -> None:
    """Do the step.

    Args:
        spec: see above.

    Raises:
        SourceError: the build failed; the message is for the user.
        OSError: something cannot be read or written.
    """
    folder = Path.cwd() / "room"
    room = build_room.Room(
        root=Path(spec["root"]),
        build=folder / "build",
        fixed=("env", "crates") if spec["crates"] else ("env",),
        tmp=folder / "tmp",
        mount_point=folder / "root",
    )
    for path in (folder, room.build, room.tmp, room.mount_point, room.build / "home", room.build / "out"):
        path.mkdir()
    # Opened before the build begins: it can put another folder in this one's place.
    results = os.open(room.build / "out", os.O_RDONLY | os.O_DIRECTORY)
    shown = spec["name"]
    try:
        source = room.build / "src"
        unpack(Path(spec["source"]), source)
        shown = f"{spec['name']}{_version(source)}"
        project = _project(source, spec["subdirectory"])
        _provide(room, spec)
        _call_backend(room, spec, project)
        out = Path(spec["out"])
        out.mkdir()
        if spec["step"] == "requires":
            with _result(results, build_frontend.REQUIRES) as file:
                (out / build_frontend.REQUIRES).write_bytes(file.read(_LARGEST_LIST))
        else:
            _take_wheel(results, out, spec["python_version"])
    except SourceError as error:
        raise SourceError(f"{shown} could not be built: {error}") from None
    finally:
        os.close(results)


def _project(source: Path, subdirectory: str | None) -> str:
    """The project's folder in the room."""
    folder = os.path.normpath(subdirectory or ".")
    if os.path.isabs(folder) or folder.startswith("..") or not (source / folder).is_dir():
        raise SourceError(f"its source has no folder {subdirectory!r}")
    return os.path.normpath(f"{_BUILD}/src/{folder}")


def _version(source: Path) -> str:
    """The version that an sdist states, with a blank before it, for messages; "" where there is none."""
    try:
        lines = (source / "PKG-INFO").read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((f" {line[9:].strip()}" for line in lines if line.startswith("Version: ")), "")


def _provide(room: build_room.Room, spec: Mapping[str, Any]) -> None:
    """Put into the room what the build is done with."""
    environment = room.build / "env"
    build_environment.install(spec["requires"], environment, spec["python_version"], _ENVIRONMENT)
    shutil.copyfile(build_frontend.__file__, environment / "build_frontend.py")
    crates.provide(spec["crates"], room.build, Path(spec["root"]), _BUILD)


def _call_backend(room: build_room.Room, spec: Mapping[str, Any], project: str) -> None:
    command = [
        f"{_ENVIRONMENT}/bin/python",
        f"{_ENVIRONMENT}/build_frontend.py",
        spec["step"],
        project,
        f"{_BUILD}/out",
    ]
    last: deque[str] = deque(maxlen=_KEPT_LINES)

    def say(line: bytes) -> None:
        sys.stderr.buffer.write(line)
        sys.stderr.flush()
        last.append(line.decode("utf-8", "replace"))

    environment = {**_variables(spec), **spec["variables"]}
    code = build_room.run(room, command, environment, project, say)
    if code:
        raise SourceError(build_failure.explain(list(last), code))


def _variables(spec: Mapping[str, Any]) -> dict[str, str]:
    """The environment of every build."""
    jobs = str(spec["cores"])
    # gcc names what has no name of its own by a random number, unless it is told one. Debian's Python has extension
    # modules compiled with debugging information, which is larger than they are and of no use in an image.
    flags = f"-g0 -frandom-seed={spec['name']}"
    return {
        "PATH": f"{_ENVIRONMENT}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": f"{_BUILD}/home",
        "TMPDIR": "/tmp",  # noqa: S108 - the room's own
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "VIRTUAL_ENV": _ENVIRONMENT,
        # Bytecode beside the sources would come into wheels, and is never in the same order.
        "PYTHONPYCACHEPREFIX": "/tmp/pycache",  # noqa: S108 - the room's own
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "SOURCE_DATE_EPOCH": str(EPOCH),
        "CFLAGS": flags,
        "CXXFLAGS": flags,
        "FFLAGS": flags,
        "MAX_JOBS": jobs,
        "MAKEFLAGS": f"-j{jobs}",
        "CMAKE_BUILD_PARALLEL_LEVEL": jobs,
        "CARGO_BUILD_JOBS": jobs,
        "CARGO_NET_OFFLINE": "true",
        "PIP_NO_INDEX": "1",
    }


def _take_wheel(results: int, out: Path, python_version: str) -> None:
    """Write the wheel that the backend made anew; its folder must hold one."""
    wheels = sorted(name for name in os.listdir(results) if name.endswith(".whl"))
    if len(wheels) != 1:
        raise SourceError(f"its backend made {len(wheels)} wheels and should make one")
    with _result(results, wheels[0]) as file:
        try:
            repack(file, out / wheels[0], python_version)
        except WheelError as error:
            raise SourceError(f"its backend made a wheel that cannot be installed: {error}") from None


def _result(results: int, name: str) -> IO[bytes]:
    """Open a file that the build has left. It may be anything, a link out of the room too.

    Raises:
        SourceError: it is no file.
    """
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=results)
    except OSError as error:
        raise SourceError(f"its backend's result cannot be read: {name}: {error.strerror}") from None
    file = os.fdopen(fd, "rb")
    if not Path(f"/proc/self/fd/{fd}").is_file():
        file.close()
        raise SourceError(f"its backend's result is no file: {name}")
    return file
