"""An HTTPS server that checks signed, expiring URLs, and one that misbehaves in a way that its URLs name.

A URL is `/BEHAVIOUR/PATH`. PATH is served from a folder; BEHAVIOUR says how:

    ok              as it is, ranges included
    signed          only with a query as `signed_query` makes it
    half            each answer breaks off in the middle
    half-once       the first answer for a path breaks off in the middle
    status-CODE     that status
    CODE-once, CODE-twice   that status, and then the file; 429 and 503 say `Retry-After: 1`
    loop            a redirect to itself
    elsewhere       a redirect to the same file at the host name `localhost`
    downgrade       a redirect to a URL without encryption
    slow            the file, after three seconds
    wrong           other bytes than the file's
    page            a page of HTML, whatever was asked for

With `-files` at its end a behaviour is for what lies in /files/ alone, with `-pages` for everything else.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.server
import re
import ssl
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from pathlib import Path

_KEY = b"the key that URLs are signed with"
_TIMES = {"once": 1, "twice": 2}


def signed_query(path, *, expires):
    """The query that lets anyone have a path until a time (Unix seconds)."""
    return f"Expires={expires}&Signature={_signature(path, expires)}"


def _signature(path, expires):
    return hmac.new(_KEY, f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class Asked:
    """A request: its path with the query, and its Authorization header or None."""

    host: str
    path: str
    authorization: str | None


@dataclass
class State:
    """What a running server knows.

    Attributes:
        folder: what it serves.
        port: where.
        asked: all requests.
        times: how often each path was asked for.
    """

    folder: Path
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    times: Counter[str] = field(default_factory=Counter)


class _Handler(http.server.BaseHTTPRequestHandler):
    state: State

    def log_message(self, *args):
        pass

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        self.state.asked.append(
            Asked(self.headers.get("Host", ""), self.path, self.headers.get("Authorization"))
        )
        self.state.times[path] += 1
        behaviour, _, rest = path.lstrip("/").partition("/")
        for ending, applies in (
            ("-files", rest.startswith("files/")),
            ("-pages", not rest.startswith("files/")),
        ):
            if behaviour.endswith(ending):
                behaviour = behaviour.removesuffix(ending) if applies else "ok"
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self.behave(behaviour, path, rest)

    do_HEAD = do_GET  # noqa: N815 - the base class's name

    def behave(self, behaviour, path, rest):
        nth = self.state.times[path]
        failing = re.fullmatch(r"status-(\d+)|(\d+)-(once|twice)", behaviour)
        if failing and nth <= _TIMES.get(failing[3], nth):
            self.status(int(failing[1] or failing[2]))
        elif behaviour == "signed" and not self.is_signed(path):
            pass
        elif behaviour == "loop":
            self.redirect(self.path)
        elif behaviour == "elsewhere":
            self.redirect(f"https://localhost:{self.state.port}/ok/{rest}")
        elif behaviour == "downgrade":
            self.redirect(f"http://127.0.0.1:{self.state.port}/ok/{rest}")
        else:
            if behaviour == "slow":
                time.sleep(3)
            half = behaviour == "half" or (behaviour == "half-once" and nth == 1)
            self.serve(rest, half=half, wrong=behaviour == "wrong", page=behaviour == "page")

    def is_signed(self, path):
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        expires = query.get("Expires", "0")
        if not hmac.compare_digest(query.get("Signature", ""), _signature(path, expires)):
            self.answer(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>", "application/xml")
        elif int(expires) < time.time():
            self.answer(403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
                        "application/xml")  # fmt: skip
        else:
            return True
        return False

    def status(self, code):
        headers = {"Retry-After": "1"} if code in (429, 503) else {}
        if code == 401:
            headers["WWW-Authenticate"] = 'Basic realm="test"'
        self.answer(code, b"", "text/plain", headers)

    def redirect(self, url):
        self.answer(302, b"", "text/plain", {"Location": url})

    def serve(self, rest, *, half, wrong, page):
        file = self.state.folder / rest
        if file.is_dir():
            file /= "index.html"
        if page:
            return self.answer(200, b"<!DOCTYPE html><html><body>Please log in.</body></html>", "text/html")
        if not file.is_file():
            return self.answer(404, b"", "text/plain")
        body = file.read_bytes()
        kind = "text/html" if file.suffix == ".html" else "application/octet-stream"
        if wrong:
            body = body[::-1]
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        if wanted and not half and self.headers.get("If-Range", tag) == tag:
            first, last = int(wanted[1]), min(int(wanted[2] or len(body)), len(body) - 1)
            span = {"Content-Range": f"bytes {first}-{last}/{len(body)}", "ETag": tag}
            return self.answer(206, body[first : last + 1], kind, span)
        return self.answer(200, body, kind, {"Accept-Ranges": "bytes", "ETag": tag}, half=half)

    def answer(self, code, body, kind, headers=None, *, half=False):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if half else body)
        self.close_connection = self.close_connection or half


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A client that does not trust the certificate, or leaves: part of the tests."""


@contextlib.contextmanager
def misbehaving(folder, cert, key):
    """Run the server on a free port of 127.0.0.1."""
    state = State(folder)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
