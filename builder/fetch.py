"""Downloads files that are pinned by their sha256, where Nix cannot: with credentials, over verified TLS."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

from builder.credentials import NOBODY, Credentials, origin
from builder.errors import ResolveError
from builder.files import replacing
from builder.redact import redact, redact_url, strip_url, url_secrets
from builder.version import version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    Progress = Callable[[int, int | None], None]

_CHUNK = 1 << 20
_ATTEMPTS = 4
_REDIRECTS = 10
_TIMEOUT = 60.0  # seconds without a byte
_REDIRECT_CODES = (301, 302, 303, 307, 308)
_PASSING_CODES = (408, 425, 429, 500, 502, 503, 504)


class FetchError(ResolveError):
    """A file could not be had, or is not the one that was wanted.

    Attributes:
        status: the server's answer (RFC 9110), or None when it gave none.
    """

    def __init__(self, message: str, *, hint: str = "", status: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class _PassingError(Exception):
    """A failure that another attempt may not meet."""

    def __init__(self, error: FetchError, wait: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait = wait


@dataclass(frozen=True)
class Session:
    """How to reach servers.

    Attributes:
        credentials: who we are; sent to the origin they belong to and to no other.
        cert: file of CA certificates beside the system's, or None. `SSL_CERT_FILE` is heeded in any case.
        insecure_hosts: hosts whose certificates are not checked. They are sent no credentials.
        wait: seconds before the second attempt; each later one waits twice as long.
    """

    credentials: Credentials = NOBODY
    cert: Path | None = None
    insecure_hosts: tuple[str, ...] = ()
    wait: float = 0.5


def download(
    url: str,
    *,
    sha256: str,
    size: int | None,
    folder: Path,
    session: Session,
    progress: Progress | None = None,
    filename: str | None = None,
) -> Path:
    """Fetch a file and check its hash.

    Args:
        url: http, https or file URL; may hold credentials.
        sha256: hex digest the file must have.
        size: bytes it should have, where known; only used to stop early when more come.
        folder: where to put it. It appears there under its name when it is whole and right, never before.
        session: how to reach servers.
        progress: called with the bytes read so far and the file's size, where known.
        filename: its name; by default the URL's last part.

    Returns:
        The file's path.

    Raises:
        FetchError: it could not be had after a few attempts, or has another hash.
    """
    target = folder / (filename or unquote(urlsplit(url).path.rpartition("/")[2]))
    with replacing(target) as sink:
        digest, read = _fetch(url, session, sink, limit=size, progress=progress)
        if digest != sha256:
            raise FetchError(
                f"hash mismatch for {target.name}: expected sha256 {sha256}, got {digest} ({read} bytes) "
                f"from {redact_url(url)}",
                hint="That is not the file that was locked. If it was replaced on purpose, lock anew "
                "with `builder lock --upgrade-package NAME`.",
            )
        os.fchmod(sink.fileno(), 0o644)
    return target


def hash_of(url: str, session: Session, progress: Progress | None = None) -> tuple[str, int]:
    """Fetch a file only to learn its sha256 (hex) and its size in bytes. Raises what `download` raises."""
    with tempfile.TemporaryFile() as sink:
        return _fetch(url, session, sink, limit=None, progress=progress)


def _fetch(
    url: str, session: Session, sink: IO[bytes], *, limit: int | None, progress: Progress | None
) -> tuple[str, int]:
    """Write a file's bytes to `sink`, starting over when the connection fails; return sha256 and size."""
    for attempt in range(_ATTEMPTS):
        sink.seek(0)
        sink.truncate()
        try:
            return _attempt(url, session, sink, limit=limit, progress=progress)
        except _PassingError as failure:
            if attempt == _ATTEMPTS - 1:
                error = failure.error
                raise FetchError(
                    f"{error} ({_ATTEMPTS} attempts)", hint=error.hint, status=error.status
                ) from failure
            time.sleep(failure.wait if failure.wait is not None else session.wait * 2**attempt)
    raise AssertionError


def _attempt(
    url: str, session: Session, sink: IO[bytes], *, limit: int | None, progress: Progress | None
) -> tuple[str, int]:
    shown = redact_url(url)
    offline = "Check the network and the proxy settings, then run the command again: it goes on where it was."
    digest = hashlib.sha256()
    read = 0
    try:
        with _open(url, session) as (body, length):
            expected = length if length is not None else limit
            while chunk := body.read(_CHUNK):
                read += len(chunk)
                if limit is not None and read > limit:
                    raise FetchError(f"{shown} sent more than the {limit} bytes that were locked")
                digest.update(chunk)
                sink.write(chunk)
                if progress:
                    progress(read, expected)
        # http.client ends quietly when a connection closes early during reads of limited size.
        if length is not None and read < length:
            raise _PassingError(
                FetchError(f"the connection to {shown} was lost after {read} of {length} bytes", hint=offline)
            )
    except (ssl.SSLCertVerificationError, urllib.error.URLError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise FetchError(
                f"the certificate of {shown} is not trusted: {reason.verify_message}",
                hint="Name the file of your CA's certificates in SSL_CERT_FILE, or as pip's `cert`.",
            ) from error
        words = reason.strerror or str(reason) if isinstance(reason, OSError) else str(reason)
        raise _PassingError(FetchError(f"{shown} cannot be reached: {words}", hint=offline)) from error
    except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
        message = redact(str(error) or type(error).__name__, url_secrets(url))
        raise _PassingError(
            FetchError(f"the connection to {shown} failed after {read} bytes: {message}", hint=offline)
        ) from error
    return digest.hexdigest(), read


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves redirects to `_open`, which decides for each whether credentials go along."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def _open(url: str, session: Session) -> AbstractContextManager[tuple[IO[bytes], int | None]]:
    from contextlib import contextmanager

    @contextmanager
    def opened() -> Iterator[tuple[IO[bytes], int | None]]:
        parts = urlsplit(url)
        if parts.scheme == "file":
            try:
                path = Path(unquote(parts.path))
                with path.open("rb") as body:
                    yield body, os.fstat(body.fileno()).st_size
            except OSError as error:
                raise FetchError(f"{path} cannot be read: {error.strerror}") from error
            return
        with _request(url, session) as response:
            length = response.headers.get("Content-Length", "")
            yield response, int(length) if length.isdigit() else None

    return opened()


def _request(url: str, session: Session) -> http.client.HTTPResponse:
    """GET a URL, following redirects (RFC 9110, section 15.4)."""
    current = url
    for _ in range(_REDIRECTS + 1):
        scheme, host, _port = origin(current)
        if scheme not in ("http", "https") or not host:
            raise FetchError(f"{redact_url(current)} is not an http or https URL")
        plain = _without_userinfo(current)
        headers = {"User-Agent": f"builder/{version()}", "Accept-Encoding": "identity"}
        request = urllib.request.Request(plain, headers=headers)  # noqa: S310 - the scheme was checked
        known = session.credentials.find(current)
        if known and host not in session.insecure_hosts:
            token = base64.b64encode(":".join(known).encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {token}")
        try:
            response: http.client.HTTPResponse = _opener(session, host).open(request, timeout=_TIMEOUT)
        except urllib.error.HTTPError as answer:
            with answer:
                location = answer.headers.get("Location")
                if answer.code not in _REDIRECT_CODES or not location:
                    raise _refusal(answer, current, asked_as=known) from answer
                following = urljoin(plain, location)
            if scheme == "https" and urlsplit(following).scheme != "https":
                raise FetchError(
                    f"{redact_url(current)} redirects to {redact_url(following)}, without encryption"
                ) from None
            # A redirect within the origin keeps the credentials that stood in the URL; elsewhere only what is
            # configured for that place is sent.
            own = "@" in urlsplit(current).netloc
            if own and origin(following) == origin(current) and "@" not in urlsplit(following).netloc:
                following = Credentials((current,)).embed(following)
            current = following
        else:
            return response
    raise FetchError(f"{redact_url(url)} redirects more than {_REDIRECTS} times")


def _opener(session: Session, host: str) -> urllib.request.OpenerDirector:
    context = ssl.create_default_context()
    if session.cert:
        context.load_verify_locations(cafile=str(session.cert))
    if host in session.insecure_hosts:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=context))


def _without_userinfo(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()


def _refusal(answer: urllib.error.HTTPError, url: str, *, asked_as: tuple[str, str] | None) -> Exception:
    shown = redact_url(url)
    signed = bool(urlsplit(url).query)
    if answer.code in (401, 403):
        if signed:
            hint = "The URL is signed and may have expired: get a new one from where it came from."
        elif asked_as:
            hint = "The user name and password that are configured for this host were not accepted."
        else:
            hint = "It may need credentials: write them into the index URL, as ${NAME}, or into ~/.netrc."
    elif answer.code in (404, 410):
        hint = "The file is gone from there; builder looks for it by name and hash on the configured indexes."
    else:
        hint = ""
    error = FetchError(
        f"{shown} answered {answer.code} {answer.reason}".rstrip(), hint=hint, status=answer.code
    )
    if answer.code in _PASSING_CODES:
        wait = answer.headers.get("Retry-After", "")
        return _PassingError(error, min(float(wait), 30.0) if wait.isdigit() else None)
    return error


def public_url(url: str, session: Session) -> str | None:
    """The URL as it may be told to Nix, or None when the file cannot be had without credentials from there.

    Whether a URL needs what is configured for its host is not tried out: what might is not given away.
    """
    if "@" in urlsplit(url).netloc or urlsplit(url).query or session.credentials.find(url) is not None:
        return None
    return strip_url(url)
