"""Lets any Nix use a bucket: a web server on this machine, as long as this process runs, that hands on what Nix asks.

Nix speaks HTTP to it; what goes to the bucket is signed here, so that neither Nix nor its daemon is given a credential.
It listens on the loopback interface, and answers this user and root, whose the daemon is, and nobody else.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import os
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

from builder.s3 import Bucket, refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHUNK = 1 << 18
_HANDED_ON = ("Content-Length", "Content-Range", "Content-Type", "Accept-Ranges", "ETag", "Last-Modified")
_LOCAL = "127.0.0.1"
_NO_PROXY = ("no_proxy", "NO_PROXY")


@functools.cache
def url_of(bucket: Bucket) -> str:
    """The URL at which Nix finds a bucket from now on."""
    server = _Server((_LOCAL, 0), _Handler)
    server.bucket = bucket
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # A proxy is for what is not on this machine; Nix, which this process starts, goes by the same variables.
    for name in _NO_PROXY:
        known = os.environ.get(name, "")
        if _LOCAL not in known.split(","):
            os.environ[name] = f"{known},{_LOCAL}".lstrip(",")
    return f"http://{_LOCAL}:{server.server_address[1]}"


class _Server(ThreadingHTTPServer):
    bucket: Bucket
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Nix may hang up when it pleases."""

    def verify_request(self, request: object, client_address: object) -> bool:  # noqa: ARG002
        """Whether the one who asks is this user or root."""
        assert isinstance(client_address, tuple)
        return _asker(client_address[1]) in (0, os.getuid())


def _asker(port: int) -> int | None:
    """The user whose socket on this machine has a port (proc(5), /proc/net/tcp)."""
    own = f"{struct.unpack('=I', socket.inet_aton(_LOCAL))[0]:08X}:{port:04X}"
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1] == own:
                return int(fields[7])
    return None


class _Handler(BaseHTTPRequestHandler):
    """Hands a request on, and the answer back, without keeping either."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: what goes wrong is said by Nix."""

    def do_GET(self) -> None:
        self._hand_on({name: self.headers[name] for name in ("Range",) if name in self.headers})

    do_HEAD = do_GET  # noqa: N815 - the base class's names

    def do_PUT(self) -> None:
        self._hand_on({"Content-Length": self.headers["Content-Length"] or "0"})

    def _hand_on(self, headers: Mapping[str, str]) -> None:
        name = self.path.partition("?")[0].lstrip("/")
        body = _Body(self, int(headers["Content-Length"])) if self.command == "PUT" else None
        try:
            answer = self.server.bucket.ask(self.command, name, headers=headers, body=body)  # type: ignore[arg-type]
        except (OSError, http.client.HTTPException) as error:
            self._refuse(
                502, f"{self.server.bucket.shown} cannot be reached: {error or type(error).__name__}"
            )
            return
        with contextlib.closing(answer):
            if answer.status >= 300:
                said = refusal(answer.status, answer.read(_CHUNK))
                # Nix would follow to another place, with nothing to say who it is.
                self._refuse(answer.status if answer.status >= 400 else 502, said)
                return
            self.send_response(answer.status)
            for key in _HANDED_ON:
                if (value := answer.headers[key]) is not None:
                    self.send_header(key, value)
            if answer.headers["Content-Length"] is None:
                self.close_connection = True
            self.end_headers()
            try:
                while self.command == "GET" and (chunk := answer.read(_CHUNK)):
                    self.wfile.write(chunk)
            except (OSError, http.client.HTTPException):
                # The answer is not whole; that is seen by the connection's end.
                self.close_connection = True
            if answer.length:
                self.close_connection = True

    def _refuse(self, status: int, reason: str) -> None:
        # What was being sent is not read to its end.
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.send_response(status, reason.replace("\n", " "))
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()


class _Body:
    """What Nix sends, read as it is sent on."""

    def __init__(self, handler: _Handler, size: int) -> None:
        self._file = handler.rfile
        self._left = size

    def read(self, size: int) -> bytes:
        """Some more of it; nothing at its end."""
        data = self._file.read(min(size, self._left, _CHUNK))
        self._left -= len(data)
        return data
