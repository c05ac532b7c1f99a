"""The files of a binary cache, besides what Nix does with them: what it says of itself, and what takes up its room.

A cache is a folder of files: `nix-cache-info`, a `.narinfo` for each path, and `nar/`. Which are to be kept is said by
files of this program's own, in `builder-roots/`; see `builder.cache_gc`.
"""

from __future__ import annotations

import contextlib
import netrc
import os
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

from builder import nix
from builder.errors import BuildError
from builder.files import replacing
from builder.store import STORE

if TYPE_CHECKING:
    from collections.abc import Iterator

INFO = "nix-cache-info"
_TIMEOUT = 10.0  # seconds


@dataclass(frozen=True)
class Entry:
    """A file of a cache.

    Attributes:
        name: its path in the cache, such as `nar/....nar`.
        size: bytes.
        time: when it was written, in seconds since 1970.
    """

    name: str
    size: int
    time: float


class Files(Protocol):
    """Files that can be read and written."""

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None where there is none of that name.

        Raises:
            BuildError: the cache cannot be reached or read.
        """

    def write(self, name: str, data: bytes) -> None:
        """Put a file there, whole or not at all.

        Raises:
            BuildError: the cache cannot be reached or written.
        """


class Listable(Files, Protocol):
    """Files that can be listed as well, and removed."""

    def entries(self, below: str = "") -> Iterator[Entry]:
        """All files, or those whose name begins so.

        Raises:
            BuildError: the cache cannot be reached or listed.
        """

    def is_writable(self) -> bool:
        """Whether this user may write there."""

    def remove(self, name: str) -> None:
        """Remove a file; it is no error if it has gone.

        Raises:
            BuildError: it cannot be removed.
        """


@dataclass(frozen=True)
class Folder:
    """A cache in a folder of this machine."""

    path: Path

    def read(self, name: str) -> bytes | None:
        """See `Files`."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failure(name, error) from error

    def write(self, name: str, data: bytes) -> None:
        """See `Files`."""
        try:
            with replacing(self.path / name) as file:
                # Others may read what is in a cache: a web server, say.
                os.fchmod(file.fileno(), 0o644)
                file.write(data)
        except OSError as error:
            raise self._failure(name, error) from error

    def entries(self, below: str = "") -> Iterator[Entry]:
        """See `Listable`."""
        for folder, _, names in os.walk(self.path, onerror=self._unlistable):
            for name in names:
                path = Path(folder, name)
                known = path.relative_to(self.path).as_posix()
                with contextlib.suppress(FileNotFoundError):
                    if known.startswith(below):
                        info = path.lstat()
                        yield Entry(known, info.st_size, info.st_mtime)

    def remove(self, name: str) -> None:
        """See `Listable`."""
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise self._failure(name, error) from error

    def is_writable(self) -> bool:
        """Whether this user may write there; the folder need not be there yet."""
        there = next(folder for folder in (self.path, *self.path.parents) if folder.exists())
        return there.is_dir() and os.access(there, os.W_OK)

    def _unlistable(self, error: OSError) -> None:
        raise self._failure("", error) from error

    def _failure(self, name: str, error: OSError) -> BuildError:
        return BuildError(f"{self.path / name}: {error.strerror or error}")


@dataclass(frozen=True)
class WebServer:
    """A cache of a web server, which takes `PUT` or does not. User and password are had where Nix has them."""

    url: str

    def read(self, name: str) -> bytes | None:
        """See `Files`."""
        try:
            return self._ask(urllib.request.Request(self._url(name)))  # noqa: S310 - http or https
        except _RefusedError as error:
            # A server that lists nothing may say 403 of what it has not.
            if error.status in (403, 404, 410):
                return None
            raise

    def write(self, name: str, data: bytes) -> None:
        """See `Files`."""
        self._ask(urllib.request.Request(self._url(name), data=data, method="PUT"))  # noqa: S310

    def is_writable(self) -> bool:
        """Whether it takes `PUT`: what it says of itself is put there again as it is, as Nix does when it pushes."""
        known = self.read(INFO)
        try:
            self.write(INFO, known or f"StoreDir: {STORE}\n".encode())
        except _RefusedError:
            return False
        return True

    def _url(self, name: str) -> str:
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}", query=""))

    def _ask(self, request: urllib.request.Request) -> bytes:
        from builder.redact import redact_url

        if login := _login(urlsplit(self.url).hostname or ""):
            request.add_header("Authorization", login)
        shown = redact_url(request.full_url)
        try:
            context = ssl.create_default_context(cafile=os.environ.get("NIX_SSL_CERT_FILE") or None)
            with urllib.request.urlopen(request, timeout=_TIMEOUT, context=context) as answer:  # noqa: S310
                data: bytes = answer.read()
                return data
        except urllib.error.HTTPError as error:
            error.close()
            raise _RefusedError(shown, error.code, error.reason) from None
        except (OSError, ValueError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise BuildError(f"{shown} cannot be reached: {reason}") from error


class _RefusedError(BuildError):
    """A server answered, and not with what was asked for."""

    def __init__(self, url: str, status: int, reason: str) -> None:
        super().__init__(f"{url}: HTTP error {status} ({reason})")
        self.status = status


def _login(host: str) -> str | None:
    """The header that says who we are, from Nix's netrc-file."""
    import base64

    try:
        found = netrc.netrc(str(nix.configured("netrc-file") or "/etc/nix/netrc")).authenticators(host)
    except (OSError, netrc.NetrcParseError):
        return None
    if found is None:
        return None
    return "Basic " + base64.b64encode(f"{found[0]}:{found[2]}".encode()).decode()


def files_of(url: str) -> Listable | WebServer | None:
    """The files of a cache by its URL; None for a store that is reached by ssh, which has none.

    Raises:
        DeclarationError: an S3 URL that does not say what it should.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Folder(Path(unquote(parts.path)))
    if parts.scheme == "s3":
        from builder.s3 import Bucket

        return Bucket.of(url)
    return WebServer(url) if parts.scheme in ("http", "https") else None
