"""Looks for secrets in whatever a build has written, compressed content included, and in what it has started."""

from __future__ import annotations

import base64
import contextlib
import io
import lzma
import subprocess
import tarfile
import threading
import time
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from urllib.parse import quote, quote_plus

_CHUNK = 1 << 20


def spellings(secret):
    """The bytes that a secret may stand as: as it is, percent-encoded, within base64."""
    plain = {secret, quote(secret, safe=""), quote(secret), quote_plus(secret)}
    plain |= {form.replace("%2F", "%2f").replace("%40", "%40".lower()) for form in plain}
    found = {form.encode() for form in plain}
    for shift in range(3):
        # What base64 makes of it behind any text, without what its neighbours decide too.
        encoded = base64.b64encode(b"\0" * shift + secret.encode())
        found.add(encoded[4 if shift else 0 : len(encoded) - 4])
    return found


class Search:
    """A search for some secrets; `found` has what holds one, by name."""

    def __init__(self, secrets):
        self._wanted = {form for secret in secrets for form in spellings(secret)}
        self._longest = max(map(len, self._wanted))
        self.found = []
        self.files = 0

    def text(self, name, text):
        self._stream(name, io.BytesIO(text.encode()))

    def folder(self, path, *, without=()):
        """All files below a folder, or one file; links are not followed, and their targets are looked at as texts."""
        path = Path(path)
        for place in [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]:
            if place in without:
                continue
            self.text(f"{place} (name)", str(place))
            if place.is_symlink():
                self.text(f"{place} (link)", str(place.readlink()))
            elif place.is_file():
                self.file(place)

    def file(self, path):
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            self._stream(str(path), file)

    def _stream(self, name, file):
        """Look through a stream, and through what is packed into it."""
        self.files += 1
        start = file.read(262)
        file.seek(0)
        self._plain(name, file)
        file.seek(0)
        # What is broken, as some tests' files are meant to be, has been looked through as it is.
        with contextlib.suppress(zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError, EOFError):
            self._unpack(name, file, start)

    def _unpack(self, name, file, start):
        if start.startswith(b"\x1f\x8b"):
            self._packed(name, _gunzipped(file))
        elif start.startswith(b"\xfd7zXZ"):
            with lzma.open(file) as inner:
                self._packed(name, inner)
        elif zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                for entry in archive.infolist():
                    with archive.open(entry) as inner:
                        self._packed(f"{name}!{entry.filename}", inner)
        elif start[257:262] == b"ustar":
            file.seek(0)
            with tarfile.open(fileobj=file) as archive:
                for member in archive:
                    if member.isreg() and (inner := archive.extractfile(member)):
                        self._packed(f"{name}!{member.name}", inner)
        elif start.startswith(b"\r\0\0\0\0\0\0\0nix-archive-1"):
            self._archive(name, file)

    def _packed(self, name, stream):
        self._stream(name, io.BytesIO(stream.read()))

    def _archive(self, name, file):
        """What Nix's archive of a path holds."""
        import tempfile

        file.seek(0)
        with tempfile.TemporaryDirectory() as scratch:
            restored = Path(scratch) / "restored"
            subprocess.run(["nix-store", "--restore", restored], input=file.read(), check=True)
            self.folder(restored)

    def _plain(self, name, file):
        end = b""
        while chunk := file.read(_CHUNK):
            seen = end + chunk
            if any(form in seen for form in self._wanted):
                self.found.append(name)
                return
            end = seen[-self._longest :]


def _gunzipped(file):
    """A stream of gzip members, one behind the other (RFC 1952)."""
    out = io.BytesIO()
    data = file.read()
    while data.startswith(b"\x1f\x8b"):
        member = zlib.decompressobj(31)
        out.write(member.decompress(data))
        data = member.unused_data
    out.seek(0)
    return out


@contextlib.contextmanager
def watched_processes(seen):
    """Note the arguments and the environment of every process that there is meanwhile, as a pair."""
    done = threading.Event()
    looks = Counter()

    def read(folder, name):
        return (folder / name).read_bytes().replace(b"\0", b"\n").decode(errors="replace")

    def watch():
        while not done.is_set():
            for folder in Path("/proc").glob("[0-9]*"):
                looks[folder.name] += 1
                # A process begins as what its parent was; one that has been there for long stays what it is.
                if looks[folder.name] < 30 or looks[folder.name] % 100 == 0:
                    with contextlib.suppress(OSError):
                        seen.add((read(folder, "cmdline"), read(folder, "environ")))
            time.sleep(0.005)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
