"""Writes a wheel anew, so that the same files always give the same bytes.

Entries are sorted, with `.dist-info` last and RECORD as its last, as the specification recommends ("Binary distribution
format", packaging.python.org); all have one time and one of two modes. Bytecode is left out: it is made where the wheel
is installed, and depends on what was compiled before it.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import stat
import zipfile
from typing import IO, TYPE_CHECKING

from wheel import Wheel, WheelError

if TYPE_CHECKING:
    from pathlib import Path

_TIME = (1980, 1, 2, 0, 0, 0)
_UNIX = 3
_EXECUTABLE = 0o111
_LEVEL = 9
_MAX_UNPACKED = 64 * 1024**3
# Signatures of RECORD, which is another one now.
_SIGNATURES = (".dist-info/RECORD.jws", ".dist-info/RECORD.p7s")


def repack(source: IO[bytes], target: Path, python_version: str) -> None:
    """Write a wheel anew.

    Args:
        source: the wheel as a build backend made it.
        target: the file to write, with the wheel's name.
        python_version: of the environment that it is for: "3.11".

    Raises:
        WheelError: it is no wheel that can be installed.
        OSError: something cannot be read or written.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            # Of entries of one name the last counts, as when they are unpacked one after the other.
            entries = {info.filename: info for info in archive.infolist() if _is_kept(info)}
            _write(archive, entries, target)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise WheelError(f"{target.name}: it is no zip file that can be read: {error}") from None
    with target.open("rb", buffering=0) as file:
        # Reading it is the check: of names, paths, metadata and RECORD.
        Wheel(file.fileno(), target.name, python_version, "/opt/venv", _MAX_UNPACKED).wrappers()


def _is_kept(info: zipfile.ZipInfo) -> bool:
    parts = info.filename.split("/")
    bytecode = "__pycache__" in parts[:-1] and parts[-1].endswith((".pyc", ".pyo"))
    return not (info.is_dir() or bytecode or info.filename.endswith(_SIGNATURES))


def _write(archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], target: Path) -> None:
    record = next((name for name in entries if _is_record(name)), None)
    if record is None:
        raise WheelError(f"{target.name}: it has no .dist-info/RECORD")
    rows = []
    names = sorted(entries.keys() - {record}, key=lambda name: (_is_metadata(name), name))
    with zipfile.ZipFile(target, "w") as wheel:
        for name in names:
            content = archive.read(entries[name])
            wheel.writestr(_entry(name, entries[name].external_attr >> 16), content, compresslevel=_LEVEL)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            rows.append((name, f"sha256={digest}", str(len(content))))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([*sorted(rows), (record, "", "")])
        wheel.writestr(_entry(record, 0), text.getvalue().encode(), compresslevel=_LEVEL)


def _is_record(name: str) -> bool:
    folder, _, file = name.partition("/")
    return folder.endswith(".dist-info") and file == "RECORD"


def _is_metadata(name: str) -> bool:
    return name.partition("/")[0].endswith(".dist-info")


def _entry(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _TIME)
    info.create_system = _UNIX
    info.compress_type = zipfile.ZIP_DEFLATED
    # A symbolic link stays one, to be refused with the wheel's other faults.
    kind = stat.S_IFLNK if stat.S_ISLNK(mode) else stat.S_IFREG
    info.external_attr = (kind | (0o755 if mode & _EXECUTABLE else 0o644)) << 16
    return info
