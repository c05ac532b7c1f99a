"""Reads and writes locks: `pylock.<app>.toml`, a standard lock file (PEP 751).

The standard part is what uv and pip install from: one wheel for each package, since a lock is for one Python
on one platform. `[tool.builder]` has what the standard has no place for: the pinned Debian base, and the
declaration the lock was made for.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from packaging.pylock import Package, Pylock, PylockUnsupportedVersionError, PylockValidationError
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from pydantic import ValidationError

from builder.errors import LockError, is_disk_full
from builder.files import replacing
from builder.models import Architecture, Base, Deb, Lock, Model, Wheel
from builder.variant import lock_file, variant

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from builder.models import AppSpec
    from builder.requirements import Requirement, Requirements
    from builder.settings import Settings

FORMAT = 1
"""Version of `[tool.builder]`. A reader refuses what is newer than itself."""

_ANEW = "Take it from version control again, or delete it: `builder lock` then chooses all versions anew."
_FILENAME = re.compile(r"[A-Za-z0-9._+!-]+\.whl")


class Declared(Model):
    """What decides a lock, as text that can be compared, shown and committed: credentials are masked.

    The app's code, its endpoints and labels are no part of it, and no mirror is: those change nothing in a
    lock.

    Attributes:
        python: "3.11".
        suite: the Debian suite that the settings name for this Python, or None.
        architecture: the target's.
        machine_types: as declared.
        requirements: per step, options first, requirements sorted.
        runtime: what this program adds.
        system_packages: sorted.
        index_strategy: the settings', or None.
    """

    python: str
    suite: str | None = None
    architecture: Architecture
    machine_types: tuple[str, ...]
    requirements: tuple[tuple[str, ...], ...] = ()
    runtime: tuple[str, ...] = ()
    system_packages: tuple[str, ...] = ()
    index_strategy: str | None = None

    def fingerprint(self) -> str:
        """sha256 hex of all of it."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def difference(self, other: Declared) -> Iterator[str]:
        """What is different in `other`, a phrase each."""
        for field, name in (
            ("python", "Python"),
            ("suite", "Debian suite"),
            ("architecture", "architecture"),
            ("machine_types", "machine types"),
            ("index_strategy", "index strategy"),
        ):
            before, after = getattr(self, field), getattr(other, field)
            if before != after:
                yield f"{name} was {_words(before)}, is {_words(after)}"
        for field, name in (
            ("requirements", "requirement"),
            ("system_packages", "system package"),
            ("runtime", "runtime requirement"),
        ):
            before, after = set(_flat(getattr(self, field))), set(_flat(getattr(other, field)))
            yield from (f"{name} added: {item}" for item in sorted(after - before))
            yield from (f"{name} removed: {item}" for item in sorted(before - after))
        if self.requirements != other.requirements and _flat(self.requirements) == _flat(other.requirements):
            yield "requirements are in other install steps"


def declared(
    spec: AppSpec,
    requirements: Requirements,
    settings: Settings,
    *,
    runtime: Iterable[Requirement],
    python: str,
    architecture: Architecture,
) -> Declared:
    """Gather what decides a lock."""
    return Declared(
        python=python,
        suite=settings.suites.get(python),
        architecture=architecture,
        machine_types=spec.machine_types,
        requirements=tuple(step.canonical() for step in requirements.steps),
        runtime=tuple(sorted(requirement.shown for requirement in runtime)),
        system_packages=tuple(sorted(set(spec.system_packages))),
        index_strategy=settings.index_strategy,
    )


@dataclass(frozen=True)
class LockFile:
    """A lock as it stands in its file.

    Attributes:
        lock: the pins.
        declared: what they were chosen for.
    """

    lock: Lock
    declared: Declared


def lock_path(spec: AppSpec, architecture: Architecture | None = None) -> Path:
    """Where an app's lock is. The name is one that PEP 751 allows.

    Args:
        spec: the app.
        architecture: the target's; None for what its machines have.
    """
    return lock_file(spec.root, variant(spec.name, spec.machine_types, architecture))


def lock_digest(path: Path) -> str:
    """The lock file's digest, `sha256:<hex>`."""
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


# Writing


def write_lock(path: Path, content: LockFile, *, target: str = "TARGET") -> bool:
    """Write a lock, all of it or nothing; return whether the file has changed.

    Args:
        path: where.
        content: what.
        target: what the command line calls the app, for the comment at the top.
    """
    text = dumps(content, target=target)
    with contextlib.suppress(OSError):
        if path.read_bytes() == text.encode():
            return False
    try:
        with replacing(path) as file:
            file.write(text.encode())
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
    except OSError as error:
        if is_disk_full(error):
            raise
        raise LockError(f"{path} cannot be written: {error.strerror}") from error
    return True


def dumps(content: LockFile, *, target: str = "TARGET") -> str:
    """A lock as text, the same for the same lock; one pin a line, so that a diff of two can be read."""
    from builder.tags import Target

    lock = content.lock
    lines = [
        f"# What the image of {lock.name} is made of, each file by its sha256: a standard lock (PEP 751).",
        "# Made by builder; commit it, and leave the editing to these:",
        f"#   builder lock {target}                          after a change; keeps every pin that still fits",
        f"#   builder lock {target} --upgrade                for newer versions of everything",
        f"#   builder lock {target} --upgrade-package NAME   for a newer version of one package",
    ]
    if lock.portable:
        lines += [
            "# It names no place to get files from (portable = true): builder finds them by name and hash",
            "# on the indexes that uv and pip have been given; uv and pip need the wheels to lie beside it.",
        ]
    marker = Target.of_base(lock.base, lock.architecture).environment
    lines += [
        'lock-version = "1.0"',
        f"environments = [{_string(marker)}]",
        f"requires-python = {_string(f'=={lock.python}.*')}",
        'created-by = "builder"',
    ]
    if not lock.wheels:
        lines.append("packages = []")
    for wheel in sorted(lock.wheels, key=lambda wheel: wheel.name):
        lines += ["", "[[packages]]", *_package(wheel, portable=lock.portable)]
    lines += [
        "",
        "[tool.builder]",
        f"format = {FORMAT}",
        f"tool-version = {_string(lock.tool_version)}",
        f"name = {_string(lock.name)}",
        f"portable = {_value(lock.portable)}",
        f"fingerprint = {_string(lock.fingerprint)}",
        "",
        "# The declaration this lock was made for, credentials masked.",
        "[tool.builder.declared]",
        *_declared(content.declared),
        "",
        "# Debian packages, in the order they are unpacked. Those of both architectures: an image of",
        "# either is built on machines of either.",
        "[tool.builder.base]",
        f"suite = {_string(lock.base.suite)}",
        f"python = {_string(lock.base.python)}",
        *_debs("extra", lock.base.extra),
        "",
        "[tool.builder.base.busybox]",
        *(f"{name} = {_inline(_deb(deb))}" for name, deb in sorted(lock.base.busybox.items())),
        "",
        "[tool.builder.base.debs]",
    ]
    for name, debs in sorted(lock.base.debs.items()):
        lines += _debs(name, debs)
    return "\n".join(lines) + "\n"


def _package(wheel: Wheel, *, portable: bool) -> Iterator[str]:
    yield f"name = {_string(wheel.name)}"
    yield f"version = {_string(wheel.version)}"
    entry: dict[str, Any] = {}
    if wheel.url is None or portable:
        entry["path"] = wheel.filename
    else:
        # The standard takes the name from the URL's last part where the two agree.
        if not wheel.direct and unquote(urlsplit(wheel.url).path.rpartition("/")[2]) != wheel.filename:
            entry["name"] = wheel.filename
        entry["url"] = wheel.url
    if wheel.size is not None:
        entry["size"] = wheel.size
    entry["hashes"] = {"sha256": wheel.sha256}
    yield f"archive = {_inline(entry)}" if wheel.direct else f"wheels = [{_inline(entry)}]"


def _declared(value: Declared) -> Iterator[str]:
    for key, item in value.model_dump(exclude={"requirements"}, exclude_none=True).items():
        yield f"{key.replace('_', '-')} = {_value(item)}"
    yield "requirements = ["
    for step in value.requirements:
        yield "    ["
        yield from (f"        {_string(word)}," for word in step)
        yield "    ],"
    yield "]"


def _debs(key: str, debs: Iterable[Deb]) -> Iterator[str]:
    yield f"{key} = ["
    yield from (f"    {_inline(_deb(deb))}," for deb in debs)
    yield "]"


def _deb(deb: Deb) -> dict[str, Any]:
    return {key.replace("_", "-"): value for key, value in deb.model_dump().items()}


def _inline(table: Mapping[str, Any]) -> str:
    return "{ " + ", ".join(f"{key} = {_value(value)}" for key, value in table.items()) + " }"


def _value(value: Any) -> str:  # noqa: ANN401 - any value that TOML has
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, dict):
        return _inline(value)
    return "[" + ", ".join(_value(item) for item in value) + "]"


def _string(text: str) -> str:
    # A JSON string is a TOML basic string, but for U+007F, which only TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


# Reading


def read_lock(path: Path) -> LockFile:
    """Read a lock and check all of it.

    Raises:
        LockError: there is none, or it is malformed, made by another program or for a newer version of this
            one; the message has the file and the place in it.
    """
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError as error:
        raise LockError(f"there is no lock {path}", hint="Write it with `builder lock`.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise LockError(f"{path} cannot be read: {error}", hint=_ANEW) from error
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        hint = _ANEW
        if re.search(r"^(<{7}|>{7}|={7})", text, re.MULTILINE):
            hint = "It has conflict markers of a merge: take either side whole, then run `builder lock`."
        raise LockError(f"{path} is not valid TOML: {error}", hint=hint) from error
    return _Reader(path).read(document)


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path

    def fail(self, place: str, message: str, hint: str = _ANEW) -> LockError:
        return LockError(
            f"{self.path}: {place}: {message}" if place else f"{self.path}: {message}", hint=hint
        )

    def read(self, document: dict[str, Any]) -> LockFile:
        ours = self._ours(document)
        try:
            pylock = Pylock.from_dict(document)
        except PylockUnsupportedVersionError as error:
            raise self.fail("lock-version", str(error), hint="Use a newer version of builder.") from error
        except PylockValidationError as error:
            raise self.fail(error.context or "", error.message) from error
        wheels = tuple(self._wheel(index, package) for index, package in enumerate(pylock.packages))
        for index, wheel in enumerate(wheels):
            if wheel.name in {other.name for other in wheels[:index]}:
                raise self.fail(f"packages[{index}]", f"{wheel.name} is there twice")
        try:
            described = Declared.model_validate(_underscored(ours.get("declared")))
            base = Base.model_validate(_base(ours.get("base")))
            lock = Lock.model_validate(
                {
                    "name": ours.get("name"),
                    "python": described.python,
                    "architecture": described.architecture,
                    "machine_types": described.machine_types,
                    "wheels": wheels,
                    "base": base,
                    "fingerprint": ours.get("fingerprint"),
                    "tool_version": ours.get("tool-version"),
                    "portable": ours.get("portable"),
                }
            )
        except ValidationError as error:
            first = error.errors()[0]
            place = {"Declared": "declared", "Base": "base"}.get(error.title, "")
            for part in first["loc"]:
                place += f"[{part}]" if isinstance(part, int) else f".{part.replace('_', '-')}"
            raise self.fail("tool.builder." + place.lstrip("."), first["msg"].lower()) from error
        if "libc6" not in {deb.package for deb in base.debs.get(lock.architecture, ())}:
            raise self.fail(f"tool.builder.base.debs.{lock.architecture}", "libc6 is missing")
        return LockFile(lock, described)

    def _ours(self, document: dict[str, Any]) -> dict[str, Any]:
        tool = document.get("tool")
        ours = tool.get("builder") if isinstance(tool, dict) else None
        if not isinstance(ours, dict):
            made_by = document.get("created-by")
            raise self.fail(
                "",
                "it has no [tool.builder]" + (f": {made_by} made it" if isinstance(made_by, str) else ""),
                hint="Move it away; `builder lock` writes one of its own.",
            )
        number = ours.get("format")
        if not isinstance(number, int) or isinstance(number, bool):
            raise self.fail("tool.builder.format", "is missing or not a number")
        if number > FORMAT:
            raise self.fail(
                "tool.builder.format",
                f"a newer version of builder ({ours.get('tool-version')}) wrote this lock",
                hint="Use that version, or a newer one.",
            )
        return ours

    def _wheel(self, index: int, package: Package) -> Wheel:
        place = f"packages[{index}]"
        entry: Any
        if package.archive is not None:
            entry, inner, direct = package.archive, "archive", True
            filename = _last_part(package.archive.url, package.archive.path)
        elif package.wheels is not None and len(package.wheels) == 1 and package.sdist is None:
            entry, inner, direct = package.wheels[0], "wheels[0]", False
            filename = package.wheels[0].filename
        else:
            raise self.fail(place, f"{package.name} should have one wheel and nothing else")
        if package.version is None:
            raise self.fail(f"{place}.version", "is missing")
        if entry.path is not None and "/" in entry.path:
            raise self.fail(f"{place}.{inner}.path", f"{entry.path!r} should be a bare file name")
        sha256 = entry.hashes.get("sha256", "")
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise self.fail(f"{place}.{inner}.hashes.sha256", f"{sha256!r} is not a sha256 in lower-case hex")
        if not _FILENAME.fullmatch(filename):
            raise self.fail(f"{place}.{inner}", f"{filename!r} is not the name of a wheel")
        try:
            name, version, _, _ = parse_wheel_filename(filename)
        except InvalidWheelFilename as error:
            raise self.fail(f"{place}.{inner}", str(error)) from error
        if (name, version) != (package.name, package.version):
            raise self.fail(f"{place}.{inner}", f"{filename} is not {package.name} {package.version}")
        return Wheel(
            name=package.name,
            version=str(package.version),
            filename=filename,
            sha256=sha256,
            size=entry.size,
            url=entry.url,
            direct=direct,
        )


def _last_part(url: str | None, path: str | None) -> str:
    return path or unquote(urlsplit(url or "").path.rpartition("/")[2])


def _underscored(value: Any) -> Any:  # noqa: ANN401 - whatever TOML held; pydantic checks it
    return {key.replace("-", "_"): item for key, item in value.items()} if isinstance(value, dict) else value


def _base(value: Any) -> Any:  # noqa: ANN401 - whatever TOML held; pydantic checks it
    if not isinstance(value, dict):
        return value
    base = dict(value)
    if isinstance(base.get("busybox"), dict):
        base["busybox"] = {key: _underscored(item) for key, item in base["busybox"].items()}
    return base


def _flat(value: tuple[Any, ...]) -> list[str]:
    return sorted(item for part in value for item in (part if isinstance(part, tuple) else (part,)))


def _words(value: object) -> str:
    if value is None:
        return "not set"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
