"""Says where a wheel's files go in a virtual environment and what an installer adds to them.

The specification is "Binary distribution format" (packaging.python.org; PEP 427 and its amendments), with the
parts it refers to: entry points, recording installed projects (PEP 376, 627), direct URLs (PEP 610). Where it
leaves something open, this does what uv does.

Paths are relative to the environment's root ("bin/f2py", "lib/python3.11/site-packages/numpy/__init__.py").
"""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
import io
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import pep440
from gzip_members import LayerError
from zip_index import ZipEntry, ZipError, ZipIndex

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTALLER = "builder"

_FILENAME = re.compile(
    r"(?P<name>[^-]+)-(?P<version>[^-]+)(?:-(?P<build>\d[^-]*))?-(?P<python>[^-]+)-(?P<abi>[^-]+)-(?P<platform>[^-]+)\.whl"
)
_DRIVE = re.compile(r"[A-Za-z]:")
_ENTRY_POINT = re.compile(r"(?P<module>[\w.-]+)\s*:\s*(?P<object>[\w.-]+)\s*(?:\[[^\]]*\])?")
_SCRIPT_NAME = re.compile(r"[^/\\\0\n\r]+")
_PIP_SCRIPT = re.compile(r"pip[0-9.]*")
_SCHEMES = ("purelib", "platlib", "headers", "scripts", "data")
_OF_THE_INSTALLER = ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json")
_MIN_DIGEST = 32  # bytes: the specification wants sha256 or better
_MAX_NAME = 255  # bytes that file systems allow
_MAX_TEXT = 64 * 1024 * 1024
_MODE_TYPE, _MODE_SYMLINK, _MODE_EXECUTABLE = 0o170000, 0o120000, 0o111
_SHEBANG = b"#!python"

# Letter by letter what uv writes, so that an image can be compared with an installation.
_WRAPPER = """\
#!{python}
# -*- coding: utf-8 -*-
import sys
from {module} import {name}
if __name__ == "__main__":
    if sys.argv[0].endswith("-script.pyw"):
        sys.argv[0] = sys.argv[0][:-11]
    elif sys.argv[0].endswith(".exe"):
        sys.argv[0] = sys.argv[0][:-4]
    sys.exit({object}())
"""


class WheelError(LayerError):
    """A wheel that must not be installed: what is wrong, in which entry of which wheel."""


class Recorded(NamedTuple):
    """A row of RECORD.

    Attributes:
        algorithm: hashlib's name, or "" where the row has no hash.
        digest: the hash as written.
        hexdigest: the same in hex.
        size: bytes, as written; may be "".
    """

    algorithm: str
    digest: str
    hexdigest: str
    size: str


class Placed(NamedTuple):
    """A file of the wheel and its place.

    Attributes:
        entry: the wheel's entry.
        path: the path in the environment.
        mode: 0o644 or 0o755.
        is_script: whether a `#!python` line in it is to be replaced.
    """

    entry: ZipEntry
    path: str
    mode: int
    is_script: bool


class Wheel:
    """A wheel, read as far as needed to say what goes where.

    Args:
        fd: descriptor of the file, which stays the caller's to close.
        filename: its file name, which says its name and version.
        python_version: of the environment: "3.11".
        root: where the environment will be, absolute.
        max_unpacked: bytes that its files may have in all.

    Raises:
        WheelError: it breaks the specification, or could harm.
        OSError: it cannot be read.

    Attributes:
        name: normalized project name (PEP 503).
        version: as in the file name.
        zip: its entries.
        site_packages: the path of site-packages in the environment.
        dist_info: name of its .dist-info folder.
        files: what is copied out of it, in the order of the file.
        dropped: entries that are not copied: an installer writes these files itself, or another entry
            replaces them.
        is_record_executable: whether RECORD is installed with mode 0755.
        record: its RECORD by entry name, without RECORD's own row.
    """

    def __init__(self, fd: int, filename: str, python_version: str, root: str, max_unpacked: int) -> None:
        self._filename = filename
        self._python = f"{root}/bin/python"
        self._minor = python_version
        match = _FILENAME.fullmatch(filename)
        if match is None:
            raise WheelError(
                f"{filename}: this is not a wheel's file name (name-version-python-abi-platform.whl)"
            )
        self.name = _normalize_name(match["name"])
        self.version = match["version"]
        self.site_packages = f"lib/python{python_version}/site-packages"
        try:
            self.zip = ZipIndex(fd)
        except ZipError as error:
            raise self.error(error.entry, str(error)) from None
        self._check_entries(max_unpacked)
        self.record: dict[str, Recorded] = {}
        self._by_name = {entry.name: entry for entry in self.zip.entries}
        self.dist_info = self._find_dist_info()
        self._check_metadata()
        self.record = self._read_record()
        # uv rewrites RECORD in place, so it keeps its mode.
        self.is_record_executable = bool(self._required("RECORD").mode & _MODE_EXECUTABLE)
        self._reserved = self._paths_of_the_environment()
        self.files, self.dropped = self._place()

    def error(self, entry: str | None, problem: str) -> WheelError:
        """Make the error that names this wheel and, where one is at fault, the entry."""
        return WheelError(
            f"{self._filename}: {entry!r}: {problem}" if entry else f"{self._filename}: {problem}"
        )

    def read(self, entry: ZipEntry) -> bytes:
        """Read an entry whole.

        Raises:
            WheelError: it is damaged, or its hash is not RECORD's.
        """
        try:
            content = b"".join(self.zip.read(entry))
        except ZipError as error:
            raise self.error(error.entry, str(error)) from None
        row = self.record.get(entry.name)
        if row is not None and row.algorithm:
            self.check(entry.name, hashlib.new(row.algorithm, content).hexdigest())
        return content

    def check(self, name: str, hexdigest: str) -> None:
        """Hold an entry's hash, by the algorithm of its row in RECORD, against that row.

        Raises:
            WheelError: they differ.
        """
        row = self.record.get(name)
        if row is not None and row.algorithm and row.hexdigest != hexdigest:
            raise self.error(name, f"its {row.algorithm} is {hexdigest}, RECORD says {row.hexdigest}")

    def requires(self) -> list[str]:
        """What its metadata says that it requires, extras included (Requires-Dist, PEP 508)."""
        return [value for key, value in self._lines("METADATA") if key == "requires-dist"]

    def drop(self, paths: set[str]) -> None:
        """Leave out the files at these paths, which something else will write."""
        self.dropped += [placed.entry for placed in self.files if placed.path in paths]
        self.files = [placed for placed in self.files if placed.path not in paths]

    def script(self, content: bytes) -> bytes:
        """Put the environment's Python in the place of a script's `#!python` or `#!pythonw` line."""
        if not content.startswith(_SHEBANG):
            return content
        return b"#!" + self._python.encode() + b"\n" + content.partition(b"\n")[2]

    def wrappers(self) -> dict[str, bytes]:
        """Make the scripts that entry_points.txt asks for, by path, sorted.

        Raises:
            WheelError: it cannot be parsed, or asks for a script that would do damage.
        """
        entry = self._by_name.get(f"{self.dist_info}/entry_points.txt")
        if entry is None:
            return {}
        import configparser  # half the wheels have no use for it

        parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
        parser.optionxform = str  # type: ignore[assignment,method-assign]  # names are case-sensitive
        try:
            parser.read_string(self._text(entry))
        except configparser.Error as error:
            raise self.error(entry.name, f"it cannot be parsed: {error}") from None
        points: dict[str, str] = {}
        for group in ("console_scripts", "gui_scripts"):
            if parser.has_section(group):
                points.update(parser.items(group))
        if self.name == "pip" and "pip" in points:
            # pip names its scripts after the Python that builds it; every installer puts that right.
            points = {
                name: point for name, point in points.items() if not _PIP_SCRIPT.fullmatch(name)
            } | dict.fromkeys(("pip", "pip3", f"pip{self._minor}"), points["pip"])
        return {f"bin/{name}": self._wrapper(entry, name, points[name]) for name in sorted(points)}

    def metadata_files(self, direct_url: dict[str, Any] | None, *, requested: bool) -> dict[str, bytes]:
        """Make the files that an installer adds to .dist-info, RECORD aside, by path.

        Args:
            direct_url: the content of direct_url.json, for what did not come from an index (PEP 610).
            requested: whether the user asked for this project, rather than another project.
        """
        files = {"INSTALLER": INSTALLER.encode()}
        if requested:
            files["REQUESTED"] = b""
        if direct_url is not None:
            files["direct_url.json"] = json.dumps(direct_url, separators=(",", ":")).encode()
        return {f"{self.site_packages}/{self.dist_info}/{name}": data for name, data in files.items()}

    def installed_record(self, written: dict[str, bytes]) -> bytes:
        """Make RECORD as an installer leaves it: paths as installed, sorted.

        Args:
            written: what was not copied as it is, by path: rewritten scripts and all that an installer adds.
        """
        rows = {}
        for placed in self.files:
            row = self.record.get(placed.entry.name)
            # What RECORD forgot gets a row without hash, as with uv.
            hashed = f"{row.algorithm}={row.digest}" if row and row.algorithm else ""
            rows[self._relative(placed.path)] = (hashed, (row and row.size) or str(placed.entry.size))
        for path, data in written.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            rows[self._relative(path)] = (f"sha256={digest}", str(len(data)))
        rows[f"{self.dist_info}/RECORD"] = ("", "")
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows((path, *rows[path]) for path in sorted(rows))
        return text.getvalue().encode()

    def _relative(self, path: str) -> str:
        """Write a path the way RECORD does: relative to site-packages."""
        folder = self.site_packages
        up = ""
        while folder and not path.startswith(f"{folder}/"):
            folder = folder.rpartition("/")[0]
            up += "../"
        return up + path[len(folder) + 1 if folder else 0 :]

    # Checks

    def _check_entries(self, max_unpacked: int) -> None:
        total = sum(entry.size for entry in self.zip.entries)
        if total > max_unpacked:
            raise self.error(None, f"it unpacks to {total} bytes, and {max_unpacked} are allowed")
        for entry in self.zip.entries:
            problem = _problem_with_path(entry.name)
            if problem is None and entry.mode & _MODE_TYPE == _MODE_SYMLINK:
                problem = "it is a symbolic link, which a wheel cannot hold"
            if problem is not None:
                raise self.error(entry.name, problem)

    def _find_dist_info(self) -> str:
        tops = {entry.name.partition("/")[0] for entry in self.zip.entries if "/" in entry.name}
        found = sorted(top for top in tops if top.endswith(".dist-info"))
        if len(found) != 1:
            raise self.error(None, f"it has {len(found)} .dist-info folders {found} and should have one")
        name, _, version = found[0][: -len(".dist-info")].rpartition("-")
        if _normalize_name(name) != self.name or not pep440.is_same(
            _unescape(version), _unescape(self.version)
        ):
            raise self.error(found[0], "this is not the name and version of the wheel")
        return found[0]

    def _check_metadata(self) -> None:
        metadata = self._headers("METADATA")
        if _normalize_name(metadata.get("name", "")) != self.name:
            raise self.error(
                f"{self.dist_info}/METADATA", f"the project's name there is {metadata.get('name')!r}"
            )
        if not pep440.is_same(metadata.get("version", ""), _unescape(self.version)):
            raise self.error(
                f"{self.dist_info}/METADATA", f"the version there is {metadata.get('version')!r}"
            )
        version = self._headers("WHEEL").get("wheel-version", "")
        if version.partition(".")[0] != "1":
            raise self.error(
                f"{self.dist_info}/WHEEL", f"its Wheel-Version is {version!r}; only 1.x is known"
            )

    def _headers(self, name: str) -> dict[str, str]:
        """Read the head of a file in the format of e-mail headers; of repeated keys, the first counts."""
        headers: dict[str, str] = {}
        for key, value in self._lines(name):
            headers.setdefault(key, value)
        return headers

    def _lines(self, name: str) -> Iterator[tuple[str, str]]:
        """The keys, in lower case, and values in the head of such a file."""
        for line in self._text(self._required(name)).splitlines():
            if not line.strip():
                break
            key, colon, value = line.partition(":")
            if colon and not line[0].isspace():
                yield key.strip().lower(), value.strip()

    def _required(self, name: str) -> ZipEntry:
        entry = self._by_name.get(f"{self.dist_info}/{name}")
        if entry is None:
            raise self.error(None, f"it has no {self.dist_info}/{name}")
        return entry

    def _text(self, entry: ZipEntry) -> str:
        if entry.size > _MAX_TEXT:
            raise self.error(entry.name, f"it has {entry.size} bytes, which is too much for what it is")
        try:
            return self.read(entry).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise self.error(entry.name, f"it is not UTF-8: {error.reason} at byte {error.start}") from None

    def _read_record(self) -> dict[str, Recorded]:
        entry = self._required("RECORD")
        record: dict[str, Recorded] = {}
        try:
            for row in csv.reader(io.StringIO(self._text(entry), newline="")):
                if row and row[0] != entry.name:
                    self._add_row(record, entry, row)
        except csv.Error as error:
            raise self.error(entry.name, f"it cannot be parsed: {error}") from None
        return record

    def _add_row(self, record: dict[str, Recorded], entry: ZipEntry, row: list[str]) -> None:
        name, hashed, size = (*row, "", "")[:3]
        if not hashed:
            record.setdefault(name, Recorded("", "", "", size))
            return
        algorithm, _, digest = hashed.partition("=")
        try:
            length = hashlib.new(algorithm).digest_size
            if len(digest) == 2 * length:  # in hex, against the specification; installers do not mind
                raw = bytes.fromhex(digest)
            else:
                raw = base64.urlsafe_b64decode(digest + "=" * (-len(digest) % 4))
        except (ValueError, binascii.Error):
            raise self.error(
                entry.name, f"its row for {name!r} has a hash that cannot be read: {hashed!r}"
            ) from None
        if length < _MIN_DIGEST:
            raise self.error(entry.name, f"its row for {name!r} has a hash weaker than sha256: {algorithm}")
        found = Recorded(algorithm, digest, raw.hex(), size)
        known = record.get(name)
        if known is not None and known.algorithm == algorithm and known.hexdigest != found.hexdigest:
            raise self.error(entry.name, f"it has two different hashes for {name!r}")
        if known is None or not known.algorithm:
            record[name] = found

    # Places

    def _paths_of_the_environment(self) -> set[str]:
        """Paths that no wheel may replace."""
        own = {
            "pyvenv.cfg",
            "lib64",
            "bin",
            "include",
            "bin/python",
            "bin/python3",
            f"bin/python{self._minor}",
        }
        parts = self.site_packages.split("/")
        return own | {"/".join(parts[:count]) for count in range(1, len(parts) + 1)}

    def _place(self) -> tuple[list[Placed], list[ZipEntry]]:
        placed: dict[str, Placed] = {}
        dropped = []
        # What is in .data replaces what the root has of the same path: installers write it later.
        data = f"{self.dist_info[: -len('.dist-info')]}.data/"
        for entry in sorted(self.zip.entries, key=lambda entry: entry.name.startswith(data)):
            if entry.name.endswith("/"):
                continue
            if entry.name in {f"{self.dist_info}/{name}" for name in _OF_THE_INSTALLER}:
                dropped.append(entry)
                continue
            path, is_script = self._path(entry.name, data)
            if path in self._reserved:
                raise self.error(entry.name, f"it would replace {path}, which is the environment's own")
            if path in placed:
                dropped.append(placed[path].entry)
            mode = 0o755 if is_script or entry.mode & _MODE_EXECUTABLE else 0o644
            placed[path] = Placed(entry, path, mode, is_script)
        return sorted(placed.values(), key=lambda one: one.entry.header), dropped

    def _path(self, name: str, data: str) -> tuple[str, bool]:
        """Say where an entry goes, and whether as a script."""
        if not name.startswith(data):
            return f"{self.site_packages}/{name}", False
        scheme, _, rest = name[len(data) :].partition("/")
        if scheme not in _SCHEMES or not rest:
            raise self.error(name, f"there is no scheme {scheme!r} (known are {', '.join(_SCHEMES)})")
        if scheme == "scripts":
            if "/" in rest:
                raise self.error(name, "scripts cannot be in folders")
            return f"bin/{rest}", True
        if scheme == "headers":
            return f"include/site/python{self._minor}/{self.name}/{rest}", False
        if scheme == "data":
            # In a virtual environment lib64 is a link to lib, and a layer must not replace it by a folder.
            return re.sub(r"^lib64/", "lib/", rest), False
        return f"{self.site_packages}/{rest}", False

    def _wrapper(self, entry: ZipEntry, name: str, point: str) -> bytes:
        match = _ENTRY_POINT.fullmatch(point.strip())
        if match is None:
            raise self.error(entry.name, f"the script {name!r} has no module and function: {point!r}")
        if not _SCRIPT_NAME.fullmatch(name) or name in {".", ".."} or f"bin/{name}" in self._reserved:
            raise self.error(entry.name, f"a script cannot be called {name!r}")
        text = _WRAPPER.format(
            python=self._python,
            module=match["module"],
            name=match["object"].partition(".")[0],
            object=match["object"],
        )
        return text.encode()


def _normalize_name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _unescape(version: str) -> str:
    """Undo the escaping of "-" in file names, as far as a version can have one (in a local part)."""
    return version.replace("_", "-")


def _problem_with_path(name: str) -> str | None:
    """Say why a path must not be unpacked; None for a path that stays inside its folder."""
    if not name.isprintable() and "\0" in name:
        return "its name has a NUL in it"
    if "\\" in name:
        return "its name has a backslash in it"
    if name.startswith("/") or _DRIVE.match(name):
        return "it is an absolute path"
    parts = name[:-1].split("/") if name.endswith("/") else name.split("/")
    if ".." in parts:
        return "its path leads out of the wheel"
    if "" in parts or "." in parts:
        return "its path is not in its simplest form"
    if any(len(part.encode("utf-8", "surrogatepass")) > _MAX_NAME for part in parts):
        return f"its name is longer than {_MAX_NAME} bytes"
    return None
