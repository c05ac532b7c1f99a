"""Downloads files that are pinned by their sha256, where Nix cannot: with credentials, over verified TLS."""

from __future__ import annotations

import hashlib
import http.client
import os
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

from builder.credentials import NOBODY, Credentials, origin
from builder.errors import ResolveError
from builder.files import replacing
from builder.redact import redact, redact_url, strip_url, url_secrets, without_userinfo
from builder.refusal import explain_status
from builder.trust import trusted_by_nix
from builder.version import version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Progress = Callable[[int, int | None], None]

_CHUNK = 1 << 20
_ATTEMPTS = 4
_REDIRECTS = 10
_TIMEOUT = 60.0  # seconds without a byte
_LONGEST_WAIT = 30.0  # seconds, whatever a server asks for
_REDIRECT_CODES = (301, 302, 303, 307, 308)
_PASSING_CODES = (408, 425, 429, 500, 502, 503, 504)
_OFFLINE = "Check the network and the proxy settings, then run the command again: it goes on where it was."


class FetchError(ResolveError):
    """A file could not be had, or is not the one that was wanted.

    Attributes:
        status: the server's answer (RFC 9110), or None when it gave none.
        is_unreachable: whether nobody answers there: a host that is not known, a connection that is refused.
    """

    def __init__(
        self, message: str, *, hint: str = "", status: int | None = None, is_unreachable: bool = False
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.is_unreachable = is_unreachable


@contextmanager
def fetching_for(place: str) -> Iterator[None]:
    """Let the message of each FetchError in the block begin with what the file is for: the step, the requirement."""
    try:
        yield
    except FetchError as error:
        raise FetchError(f"{place}: {error}", hint=error.hint, status=error.status) from error


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
        report: told of each attempt that failed and of the next one, in a sentence without secrets.
    """

    credentials: Credentials = NOBODY
    cert: Path | None = None
    insecure_hosts: tuple[str, ...] = ()
    wait: float = 0.5
    report: Callable[[str], None] | None = field(default=None, compare=False)


def download(
    url: str,
    *,
    sha256: str | None,
    size: int | None,
    folder: Path,
    session: Session,
    progress: Progress | None = None,
    filename: str | None = None,
) -> Path:
    """Fetch a file and check its hash.

    Args:
        url: http, https or file URL; may hold credentials.
        sha256: hex digest the file must have; None where nobody has said.
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
        try:
            digest, read = _Transfer(url, session, sink, limit=size, progress=progress).run()
        except FetchError as error:
            raise _wanting(error, target.name, sha256) from error
        if sha256 is not None and digest != sha256:
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
        return _Transfer(url, session, sink, progress=progress).run()


def digests(url: str, algorithms: Iterable[str], session: Session) -> set[str]:
    """Fetch a file only to learn its digests, each as `algorithm:hex`.

    Args:
        url: as `download` takes it.
        algorithms: names that hashlib has.
        session: how to reach servers.

    Raises:
        FetchError: see `download`.
    """
    with tempfile.TemporaryFile() as sink:
        _Transfer(url, session, sink).run()
        found = set()
        for name in algorithms:
            sink.seek(0)
            digest = hashlib.new(name, usedforsecurity=False)
            while chunk := sink.read(_CHUNK):
                digest.update(chunk)
            found.add(f"{name}:{digest.hexdigest()}")
        return found


def read_text(url: str, session: Session, *, accept: str) -> tuple[str, str, str]:
    """Fetch a page.

    Args:
        url: http or https URL; may hold credentials.
        session: how to reach servers.
        accept: the `Accept` header (RFC 9110, section 12.5.1).

    Returns:
        Its text, its media type without parameters, and the URL it came from after redirects.

    Raises:
        FetchError: see `download`; its status is 404 where there is no such page.
    """
    with tempfile.TemporaryFile() as sink:
        transfer = _Transfer(url, session, sink, accept=accept)
        transfer.run()
        sink.seek(0)
        return sink.read().decode("utf-8", "replace"), transfer.media_type, transfer.final_url


def _wanting(error: FetchError, filename: str, sha256: str | None) -> FetchError:
    """The error of a refused download, with what would do in place of it."""
    if sha256 is None or error.status is None:
        return error
    return FetchError(
        f"{error}; wanted is {filename} with sha256 {sha256}",
        hint=f"{error.hint} A file of that hash from anywhere will do: put it beside the lock, or into a folder that "
        "is named by --find-links or pip's find-links.".lstrip(),
        status=error.status,
    )


class _Transfer:
    """One file on its way into `sink`, over as many connections as it takes.

    Args:
        url: http, https or file URL; may hold credentials.
        session: how to reach servers.
        sink: where its bytes go.
        limit: bytes it has at most, where known.
        progress: called with the bytes read so far and the file's size, where known.
        accept: the `Accept` header of a page that is wanted; None for a file, for which no page is taken.
    """

    def __init__(
        self,
        url: str,
        session: Session,
        sink: IO[bytes],
        *,
        limit: int | None = None,
        progress: Progress | None = None,
        accept: str | None = None,
    ) -> None:
        self.url = url
        self.shown = redact_url(url)
        self.session = session
        self.sink = sink
        self.limit = limit
        self.progress = progress
        self.accept = accept
        self.media_type = ""
        self.final_url = url
        # What names the bytes that are here already, for the rest of them (RFC 9110, section 13.1.5).
        self.validator = ""
        self.restart()

    def restart(self) -> None:
        self.sink.seek(0)
        self.sink.truncate()
        self.digest = hashlib.sha256()
        self.read = 0

    def run(self) -> tuple[str, int]:
        """Fetch it and return its sha256 (hex) and size. Raises FetchError."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._attempt()
            except _PassingError as failure:
                error = failure.error
                if attempt == _ATTEMPTS:
                    raise FetchError(
                        f"{error} ({_ATTEMPTS} attempts)",
                        hint=error.hint,
                        status=error.status,
                        is_unreachable=error.is_unreachable,
                    ) from failure
                wait = failure.wait if failure.wait is not None else self.session.wait * 2 ** (attempt - 1)
                if self.session.report:
                    self.session.report(f"{error}; attempt {attempt + 1} of {_ATTEMPTS} in {wait:g} s")
                time.sleep(wait)
            else:
                return self.digest.hexdigest(), self.read
        raise AssertionError

    def _attempt(self) -> None:
        if self.read and not self.validator:
            self.restart()
        try:
            with self._opened() as (body, length):
                end = None if length is None else self.read + length
                while chunk := body.read(_CHUNK):
                    self._take(chunk, end if end is not None else self.limit)
            # http.client ends quietly when a connection closes early during reads of limited size.
            if end is not None and self.read < end:
                lost = f"the connection to {self.shown} was lost after {self.read} of {end} bytes"
                raise _PassingError(FetchError(lost, hint=_OFFLINE))
        except (ssl.SSLCertVerificationError, urllib.error.URLError) as error:
            raise self._unreachable(error) from error
        except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
            message = redact(str(error) or type(error).__name__, url_secrets(self.url))
            failed = f"the connection to {self.shown} failed after {self.read} bytes: {message}"
            raise _PassingError(FetchError(failed, hint=_OFFLINE)) from error

    def _take(self, chunk: bytes, size: int | None) -> None:
        self.read += len(chunk)
        if self.limit is not None and self.read > self.limit:
            raise FetchError(f"{self.shown} sent more than the {self.limit} bytes that were locked")
        self.digest.update(chunk)
        self.sink.write(chunk)
        if self.progress:
            self.progress(self.read, size)

    def _unreachable(self, error: OSError) -> Exception:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            return FetchError(
                f"the certificate of {self.shown} is not trusted: {reason.verify_message}",
                hint="Name the file of your CA's certificates in SSL_CERT_FILE, or as pip's `cert`.",
            )
        words = reason.strerror or str(reason) if isinstance(reason, OSError) else str(reason)
        return _PassingError(
            FetchError(f"{self.shown} cannot be reached: {words}", hint=_OFFLINE, is_unreachable=True)
        )

    @contextmanager
    def _opened(self) -> Iterator[tuple[IO[bytes], int | None]]:
        """The bytes that are missing, and how many they are, where that is known."""
        parts = urlsplit(self.url)
        if parts.scheme == "file":
            try:
                path = Path(unquote(parts.path))
                with path.open("rb") as body:
                    yield body, os.fstat(body.fileno()).st_size
            except OSError as error:
                raise FetchError(f"{path} cannot be read: {error.strerror}") from error
            return
        headers = {"Accept": self.accept or "*/*", "Accept-Encoding": "identity"}
        if self.read:
            headers |= {"Range": f"bytes={self.read}-", "If-Range": self.validator}
        with _request(self.url, self.session, headers) as response:
            self._check(response)
            length = response.headers.get("Content-Length", "")
            yield response, int(length) if length.isdigit() else None

    def _check(self, response: http.client.HTTPResponse) -> None:
        """Look at an answer's head: whether it is a file, and whether it is the rest of one."""
        self.media_type = response.headers.get_content_type()
        self.final_url = response.geturl()
        if self.accept is None and self.media_type == "text/html" and not _is_page(self.url):
            raise FetchError(
                f"{self.shown} answered with a web page, and not with the file",
                hint="It may be a page to log in at: check the URL, and whether it needs credentials.",
                status=response.status,
            )
        began = response.headers.get("Content-Range", "").startswith(f"bytes {self.read}-")
        if self.read and not (response.status == http.client.PARTIAL_CONTENT and began):
            self.restart()
            if response.status == http.client.PARTIAL_CONTENT:
                raise _PassingError(
                    FetchError(f"{self.shown} sent another part of the file than it was asked for")
                )
        tag = response.headers.get("ETag", "")
        # A weak tag does not promise the same bytes.
        self.validator = (
            tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
        )


def _is_page(url: str) -> bool:
    return urlsplit(url).path.endswith((".html", ".htm", "/"))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves redirects to `_request`, which decides for each whether credentials go along."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def _request(url: str, session: Session, headers: dict[str, str]) -> http.client.HTTPResponse:
    """GET a URL, following redirects (RFC 9110, section 15.4)."""
    current = url
    for _ in range(_REDIRECTS + 1):
        scheme, host, _port = origin(current)
        if scheme not in ("http", "https") or not host:
            raise FetchError(
                f"{redact_url(current)} is not an http or https URL", hint="Check where it was written."
            )
        plain = without_userinfo(current).partition("#")[0]
        request = urllib.request.Request(plain, headers={"User-Agent": f"builder/{version()}", **headers})  # noqa: S310 - the scheme was checked
        known = None
        if host not in session.insecure_hosts:
            known = session.credentials.authorization(current, redirected=origin(current) != origin(url))
        if known:
            request.add_unredirected_header("Authorization", known)
        try:
            response: http.client.HTTPResponse = _opener(session, host).open(request, timeout=_TIMEOUT)
        except urllib.error.HTTPError as answer:
            with answer:
                location = answer.headers.get("Location")
                if answer.code not in _REDIRECT_CODES or not location:
                    raise _refusal(answer, current, scheme=known.split()[0] if known else None) from answer
                following = urljoin(plain, location)
            if scheme == "https" and urlsplit(following).scheme == "http":
                raise FetchError(
                    f"{redact_url(current)} redirects to {redact_url(following)}, without encryption",
                    hint="Name a URL that stays encrypted.",
                ) from None
            # A redirect within the origin keeps the credentials that stood in the URL; elsewhere only what is
            # configured for that place is sent.
            own = "@" in urlsplit(current).netloc
            if own and origin(following) == origin(current) and "@" not in urlsplit(following).netloc:
                following = Credentials((current,)).embed(following)
            current = following
        else:
            return response
    raise FetchError(
        f"{redact_url(url)} redirects more than {_REDIRECTS} times",
        hint="Open it in a browser: it may lead to a page to log in at, or in a circle.",
    )


def _opener(session: Session, host: str) -> urllib.request.OpenerDirector:
    context = ssl.create_default_context()
    if session.cert:
        context.load_verify_locations(cafile=str(session.cert))
    if host in session.insecure_hosts:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=context))


def _refusal(answer: urllib.error.HTTPError, url: str, *, scheme: str | None) -> Exception:
    meaning, hint = explain_status(answer.code, url, scheme=scheme)
    said = f"{redact_url(url)} answered {answer.code} {answer.reason}".rstrip()
    error = FetchError(f"{said}: {meaning}" if meaning else said, hint=hint, status=answer.code)
    if answer.code in _PASSING_CODES:
        return _PassingError(error, _retry_after(answer.headers.get("Retry-After", "")))
    return error


def _retry_after(value: str) -> float | None:
    """The seconds that a server asks to wait (RFC 9110, section 10.2.3), within reason."""
    try:
        if value.isdigit():
            seconds = float(value)
        else:
            seconds = (parsedate_to_datetime(value) - datetime.now(timezone.utc)).total_seconds()
    except (TypeError, ValueError):
        return None
    return min(max(seconds, 0.0), _LONGEST_WAIT)


def public_url(url: str, session: Session) -> str | None:
    """The URL as it may be told to Nix, or None when Nix may not have the file from there.

    It gets no credentials, and none of the certificates that this process was told of. Whether a URL needs what is
    configured for its host is not tried out: what might is not given away.
    """
    if (
        "@" in urlsplit(url).netloc
        or urlsplit(url).query
        or urlsplit(url).hostname in session.insecure_hosts
        or session.credentials.authorization(url) is not None
        or not trusted_by_nix(url, session.cert)
    ):
        return None
    return strip_url(url)
