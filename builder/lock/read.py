"""Reads a lock and checks all of it."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from packaging.pylock import (
    Package,
    PackageArchive,
    PackageSdist,
    PackageWheel,
    Pylock,
    PylockUnsupportedVersionError,
    PylockValidationError,
)
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from pydantic import ValidationError

from builder.errors import LockError
from builder.lock.declared import Declared
from builder.lock.file import FORMAT, LockFile
from builder.lock.recorded import Recorded
from builder.models import Base, Built, Lock, Source, Toolkit, Wheel

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_ANEW = "Take it from version control again, or delete it: `builder lock` then chooses all versions anew."
_FILENAME = re.compile(r"[A-Za-z0-9._+!-]+\.whl")


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
        packages = [self._package(index, package) for index, package in enumerate(pylock.packages)]
        names: set[str] = set()
        for index, package in enumerate(packages):
            if package.name in names:
                raise self.fail(f"packages[{index}]", f"{package.name} is there twice")
            names.add(package.name)
        try:
            described = Declared.model_validate(_underscored(ours.get("declared")))
            base = Base.model_validate(_base(ours.get("base")))
            cuda = Toolkit.model_validate(ours["cuda"]) if "cuda" in ours else None
            recorded = Recorded.model_validate(ours["recorded"]) if "recorded" in ours else None
            lock = Lock.model_validate(
                {
                    "name": ours.get("name"),
                    "python": described.python,
                    "architecture": described.architecture,
                    "machine_types": described.machine_types,
                    "wheels": tuple(package for package in packages if isinstance(package, Wheel)),
                    "built": tuple(package for package in packages if isinstance(package, Built)),
                    "base": base,
                    "additions": ours.get("additions", ()),
                    "cuda": cuda,
                    "fingerprint": ours.get("fingerprint"),
                    "tool_version": ours.get("tool-version"),
                    "portable": ours.get("portable"),
                }
            )
        except ValidationError as error:
            first = error.errors()[0]
            place = {"Declared": "declared", "Base": "base", "Toolkit": "cuda", "Recorded": "recorded"}.get(
                error.title, ""
            )
            for part in first["loc"]:
                place += f"[{part}]" if isinstance(part, int) else f".{part.replace('_', '-')}"
            raise self.fail("tool.builder." + place.lstrip("."), first["msg"].lower()) from error
        if "libc6" not in {deb.package for deb in base.debs.get(lock.architecture, ())}:
            raise self.fail(f"tool.builder.base.debs.{lock.architecture}", "libc6 is missing")
        return LockFile(lock, described, recorded)

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

    def _package(self, index: int, package: Package) -> Wheel | Built:
        place = f"packages[{index}]"
        if package.version is None:
            raise self.fail(f"{place}.version", "is missing")
        if package.archive is not None:
            filename = _last_part(package.archive.url, package.archive.path)
            if not filename.endswith(".whl"):
                return self._built(place, package)
            return self._wheel(f"{place}.archive", package, package.archive, filename, direct=True)
        if package.wheels is None:
            return self._built(place, package)
        if len(package.wheels) != 1 or package.sdist is not None:
            raise self.fail(place, f"{package.name} should have one wheel and nothing else")
        wheel = package.wheels[0]
        return self._wheel(f"{place}.wheels[0]", package, wheel, wheel.filename, direct=False)

    def _wheel(
        self,
        place: str,
        package: Package,
        entry: PackageWheel | PackageArchive,
        filename: str,
        *,
        direct: bool,
    ) -> Wheel:
        if not _FILENAME.fullmatch(filename):
            raise self.fail(place, f"{filename!r} is not the name of a wheel")
        try:
            name, version, _, _ = parse_wheel_filename(filename)
        except InvalidWheelFilename as error:
            raise self.fail(place, str(error)) from error
        if (name, version) != (package.name, package.version):
            raise self.fail(place, f"{filename} is not {package.name} {package.version}")
        return Wheel(
            name=package.name,
            version=str(package.version),
            filename=filename,
            sha256=self._sha256(place, entry),
            size=entry.size,
            url=entry.url,
            direct=direct,
        )

    def _sha256(self, place: str, entry: PackageWheel | PackageArchive | PackageSdist) -> str:
        if entry.path is not None and "/" in entry.path:
            raise self.fail(f"{place}.path", f"{entry.path!r} should be a bare file name")
        sha256 = entry.hashes.get("sha256", "")
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise self.fail(f"{place}.hashes.sha256", f"{sha256!r} is not a sha256 in lower-case hex")
        return sha256

    def _built(self, place: str, package: Package) -> Built:
        ours = (package.tool or {}).get("builder")
        if not isinstance(ours, dict):
            raise self.fail(f"{place}.tool.builder", "is missing: it says how the package is built")
        place += ".tool.builder"
        wheel = ours.get("wheel") or {}
        requires = ours.get("requires", ())
        try:
            return Built(
                name=package.name,
                version=str(package.version),
                source=self._source(place, package, ours),
                requires=tuple(
                    self._requirement(f"{place}.requires[{number}]", entry)
                    for number, entry in enumerate(requires)
                ),
                crates=ours.get("crates", ()),
                compiled=ours.get("compiled", False),
                variables=ours.get("variables", {}),
                filename=wheel.get("name"),
                sha256=wheel.get("hashes", {}).get("sha256"),
                size=wheel.get("size"),
            )
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part).replace("_", "-") for part in first["loc"])
            raise self.fail(f"{place}.{where}", first["msg"].lower()) from error
        except (AttributeError, TypeError) as error:
            raise self.fail(place, "is malformed") from error

    def _source(self, place: str, package: Package, ours: Mapping[str, Any]) -> Source:
        if package.vcs is not None:
            vcs = package.vcs
            if vcs.type != "git":
                raise self.fail(place, f"{vcs.type!r} is not a version control system that is known here")
            return Source(
                kind="git",
                sha256=ours.get("tree-sha256"),
                url=vcs.url,
                commit=vcs.commit_id,
                revision=vcs.requested_revision,
                subdirectory=vcs.subdirectory,
                direct=True,
            )
        if package.directory is not None:
            folder = package.directory
            return Source(kind="directory", path=folder.path, subdirectory=folder.subdirectory, direct=True)
        entry: PackageArchive | PackageSdist
        if package.sdist is not None:
            entry, filename, subdirectory = package.sdist, package.sdist.filename, None
        else:
            assert package.archive is not None
            entry = package.archive
            filename = ours.get("filename") or _last_part(entry.url, entry.path)
            subdirectory = entry.subdirectory
        if not filename or "/" in filename:
            raise self.fail(place, f"{filename!r} is not the name of a file")
        return Source(
            kind="archive",
            filename=filename,
            sha256=self._sha256(place, entry),
            size=entry.size,
            url=entry.url,
            subdirectory=subdirectory,
            direct=ours.get("direct", package.archive is not None),
        )

    def _requirement(self, place: str, entry: Mapping[str, Any]) -> Wheel:
        wheel = entry.get("wheel") or {}
        filename = wheel.get("name") or _last_part(wheel.get("url"), wheel.get("path"))
        if not _FILENAME.fullmatch(filename):
            raise self.fail(place, f"{filename!r} is not the name of a wheel")
        return Wheel(
            name=entry.get("name"),
            version=entry.get("version"),
            filename=filename,
            sha256=wheel.get("hashes", {}).get("sha256"),
            size=wheel.get("size"),
            url=wheel.get("url"),
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
