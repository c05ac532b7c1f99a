"""Files from a mirror: over HTTP with the system's proxies and CAs, checked, and cached.

Proxies come from `http_proxy`, `https_proxy` and `no_proxy`, CAs from `SSL_CERT_FILE` and the system, as
urllib has it.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote, urlsplit, urlunsplit

from builder.debian.mirrors import Mirrors, redact
from builder.errors import ResolveError, is_disk_full
from builder.files import replacing

if TYPE_CHECKING:
    from pathlib import Path

    from builder.models import Deb

_TIMEOUT = 30.0  # seconds without a byte
_ATTEMPTS = 3
_CHUNK = 1 << 20
# Answers below 500 that another attempt may change: request timeout, too early, too many requests.
_PASSING = (408, 425, 429)
# Release files are 30 to 150 kB; what is many times that is no Release file and is not read to its end.
_SMALL_FILE = 16 << 20
_OFFLINE_HINT = (
    "check the network, the proxy variables and [tool.builder.mirrors], then run the command again"
)


_Reader = Callable[[http.client.HTTPResponse], None]


class MissingFileError(ResolveError):
    """The mirror answered that it has no such file."""


@dataclass(frozen=True)
class _Answer:
    """What a mirror sent: the file, or that the copy we have is still right (body None)."""

    body: bytes | None
    etag: str | None
    modified: str | None


def fetch_current(url: str, cache: Path) -> bytes:
    """A small file whose content changes, asked for anew each time; the mirror need not send what we have.

    Args:
        url: may contain credentials.
        cache: folder for the copy, which is kept beside the validators (RFC 9110, section 13) it came with.

    Raises:
        MissingFileError: the mirror has no such file.
        ResolveError: it could not be fetched.
    """
    key = hashlib.sha256(redact(url).encode()).hexdigest()[:32]
    copy, validators = cache / key, cache / f"{key}.json"
    headers = {}
    try:
        saved = json.loads(validators.read_text(encoding="utf-8"))
        if saved["sha256"] == hashlib.sha256(copy.read_bytes()).hexdigest():
            headers = {
                name: saved[name] for name in ("If-None-Match", "If-Modified-Since") if saved.get(name)
            }
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no copy, or half of one: the file is asked for as if for the first time
    answer = _get(url, headers)
    if answer.body is None:
        return copy.read_bytes()
    with replacing(copy) as file:
        file.write(answer.body)
    saved = {
        "sha256": hashlib.sha256(answer.body).hexdigest(),
        "If-None-Match": answer.etag,
        "If-Modified-Since": answer.modified,
    }
    with replacing(validators) as file:
        file.write(json.dumps(saved).encode())
    return answer.body


def fetch_pinned(url: str, target: BinaryIO, *, sha256: str, size: int) -> None:
    """A file whose hash is known, written to `target`.

    Args:
        url: may contain credentials.
        target: a file open for writing; what it holds after an exception must not be used.
        sha256: lowercase hex digest it must have.
        size: bytes it must have; no more than that is read.

    Raises:
        MissingFileError: the mirror has no such file.
        ResolveError: it could not be fetched, or is another file.
    """

    def read(response: http.client.HTTPResponse) -> None:
        target.seek(0)
        target.truncate()
        digest, received = hashlib.sha256(), 0
        while chunk := response.read(min(_CHUNK, size + 1 - received)):
            digest.update(chunk)
            target.write(chunk)
            received += len(chunk)
        if received < size:
            raise http.client.IncompleteRead(b"", size - received)
        if received > size or digest.hexdigest() != sha256:
            raise ResolveError(
                f"{redact(url)} is not the file that Debian's signed index names: "
                f"expected {size} bytes with sha256 {sha256}, got {digest.hexdigest()}",
                hint="a mirror being updated can answer so for some minutes; if it stays, use another one",
            )

    _attempt(url, {}, read)


def exists(url: str) -> bool:
    """Whether a mirror has a file, without fetching it.

    Args:
        url: may contain credentials.

    Raises:
        ResolveError: the mirror does not answer.
    """
    try:
        _attempt(url, {}, lambda _: None, method="HEAD")
    except MissingFileError:
        return False
    return True


def fetch_deb(deb: Deb, mirrors: Mirrors, cache: Path) -> Path:
    """The file of a pinned package, from the cache if that has it.

    Args:
        deb: the package.
        mirrors: where the archives are.
        cache: folder for downloaded packages; a file is called by its hash.

    Raises:
        ResolveError: it could not be fetched, or is another file.
    """
    path = cache / f"{deb.sha256}.deb"
    if path.is_file() and path.stat().st_size == deb.size:
        return path
    try:
        with replacing(path) as file:
            fetch_pinned(mirrors.url(deb.archive, deb.path), file, sha256=deb.sha256, size=deb.size)
    except MissingFileError as error:
        raise ResolveError(
            f"{error}: the mirror no longer has {deb.package} {deb.version}",
            hint="run `builder lock --upgrade` for the version it has now, or name a dated archive of Debian in "
            "[tool.builder.mirrors]",
        ) from error
    return path


def _get(url: str, headers: dict[str, str]) -> _Answer:
    answers: list[_Answer] = []

    def read(response: http.client.HTTPResponse) -> None:
        body = response.read(_SMALL_FILE + 1)
        if len(body) > _SMALL_FILE:
            raise ResolveError(
                f"{redact(url)} is larger than {_SMALL_FILE} bytes: it cannot be what it should be"
            )
        answers.append(_Answer(body, response.headers.get("ETag"), response.headers.get("Last-Modified")))

    if not _attempt(url, headers, read):
        return _Answer(None, None, None)
    return answers[-1]


def _attempt(url: str, headers: dict[str, str], read: _Reader, *, method: str = "GET") -> bool:
    """Open the URL and hand the response to `read`, again after errors that pass; False is "not modified"."""
    failure: Exception | None = None
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(0.5 * attempt)
        try:
            request = _request(url, headers, method)
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310 - checked
                read(response)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == http.HTTPStatus.NOT_MODIFIED:
                return False
            _refuse_final(error, url)
            failure = error
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.URLError) and isinstance(error.reason, FileNotFoundError):
                raise MissingFileError(f"{redact(url)} does not exist") from None
            if isinstance(error, OSError) and is_disk_full(error):
                raise  # not the mirror's fault
            failure = error
        else:
            return True
    raise ResolveError(f"cannot fetch {redact(url)}: {_reason(failure)}", hint=_OFFLINE_HINT) from None


def _refuse_final(error: urllib.error.HTTPError, url: str) -> None:
    """Raise what the server will answer again however often it is asked."""
    if error.code in (http.HTTPStatus.NOT_FOUND, http.HTTPStatus.GONE):
        raise MissingFileError(f"{redact(url)} does not exist (HTTP {error.code})") from None
    if error.code < http.HTTPStatus.INTERNAL_SERVER_ERROR and error.code not in _PASSING:
        raise ResolveError(f"cannot fetch {redact(url)}: {_reason(error)}", hint=_OFFLINE_HINT) from None


def _request(url: str, headers: dict[str, str], method: str) -> urllib.request.Request:
    """A request without the credentials in its URL, which urllib would take for part of the host's name."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "file"):
        raise ResolveError(f"{redact(url)}: only http, https and file URLs can be fetched")
    userinfo, _, host = parts.netloc.rpartition("@")
    bare = urlunsplit(parts._replace(netloc=host))
    request = urllib.request.Request(bare, headers=headers, method=method)  # noqa: S310 - checked above
    request.add_header("User-Agent", "builder")
    if userinfo:
        token = base64.b64encode(unquote(userinfo).encode()).decode()
        # "Unredirected": urllib would send an ordinary header on to whatever host a redirect names.
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request


def _reason(error: Exception | None) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        reason = error.reason
        return reason.strerror or str(reason) if isinstance(reason, OSError) else str(reason)
    if isinstance(error, http.client.IncompleteRead):
        return "the connection ended before the file did"
    return str(error) or type(error).__name__
