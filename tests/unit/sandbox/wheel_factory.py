"""Makes small wheels, good ones and ones that are wrong in one respect."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"
SITE = f"opt/venv/lib/python{MINOR}/site-packages"
METADATA = "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def record_hash(data: bytes, algorithm: str = "sha256") -> str:
    digest = base64.urlsafe_b64encode(hashlib.new(algorithm, data).digest()).rstrip(b"=").decode()
    return f"{algorithm}={digest}"


def make_wheel(
    folder: Path,
    files: dict[str, bytes | str],
    *,
    name: str = "demo",
    version: str = "1.0",
    filename: str | None = None,
    metadata: str | None = METADATA,
    wheel: str | None = WHEEL,
    record: str | None = "",
    rows: dict[str, str] | None = None,
    modes: dict[str, int] | None = None,
    method: int = zipfile.ZIP_DEFLATED,
) -> Path:
    """Write a wheel; `rows` replaces rows of RECORD, `record=None` leaves RECORD out."""
    info = f"{name}-{version}.dist-info"
    content = {path: data.encode() if isinstance(data, str) else data for path, data in files.items()}
    for key, text in (("METADATA", metadata), ("WHEEL", wheel)):
        if text is not None:
            content[f"{info}/{key}"] = text.replace("Name: demo", f"Name: {name}").encode()
    if record is not None:
        lines = {path: f'"{path}",{record_hash(data)},{len(data)}' for path, data in content.items()}
        lines |= {f"{info}/RECORD": f"{info}/RECORD,,"} | (rows or {})
        content[f"{info}/RECORD"] = (record or "\n".join(filter(None, lines.values())) + "\n").encode()
    path = folder / (filename or f"{name}-{version}-py3-none-any.whl")
    with zipfile.ZipFile(path, "w") as archive:
        for entry, data in content.items():
            zip_info = zipfile.ZipInfo(entry)
            zip_info.compress_type = method
            zip_info.create_system = 3
            zip_info.external_attr = (modes or {}).get(entry, 0o100644) << 16
            archive.writestr(zip_info, data)
    return path


class Entry(NamedTuple):
    """An entry of a layer, as tarfile reads it."""

    data: bytes
    mode: int
    link: str


class Layer(NamedTuple):
    """A layer on disk."""

    folder: Path
    entries: dict[str, Entry]
    facts: dict[str, Any]

    def files(self) -> dict[str, bytes]:
        """Contents of the files below site-packages."""
        prefix = f"{SITE}/"
        return {
            name[len(prefix) :]: entry.data for name, entry in self.entries.items() if name.startswith(prefix)
        }


def read_layer(folder: Path) -> Layer:
    """Read a layer with the standard library's tarfile; folders and the format's own entries are left out."""
    entries = {}
    with tarfile.open(folder / "blob") as tar:
        for member in tar:
            if member.isdir() or member.name in {".no.prefetch.landmark", "stargz.index.json"}:
                continue
            stream = tar.extractfile(member) if member.isreg() else None
            entries[member.name] = Entry(stream.read() if stream else b"", member.mode, member.linkname)
            assert (member.uid, member.gid, member.mtime) == (0, 0, 315619200)
    return Layer(folder, entries, json.loads((folder / "layer.json").read_text()))
