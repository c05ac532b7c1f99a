"""A web server on this machine that is a binary cache: nginx with TLS from a private authority."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import nginx
from private_ca import PrivateCA

if TYPE_CHECKING:
    from pathlib import Path

# For /private/.
USER, PASSWORD = "filler", "canary-cache-pass"
_CONFIGURATION = """
    log_format asked '$request_method $uri $status';
    access_log {folder}/access.log asked;
    client_max_body_size 0;
    server {{
        listen 127.0.0.1:{port} ssl;
        location /cache/ {{ root {folder}; dav_methods PUT; create_full_put_path on; }}
        location /private/ {{
            auth_basic "cache"; auth_basic_user_file {folder}/passwords;
            root {folder}; dav_methods PUT; create_full_put_path on;
        }}
        location /broken/ {{ return 500; }}
    }}
"""


@dataclass(frozen=True)
class WebServer:
    """nginx with TLS, which takes what is put there.

    Attributes:
        folder: of its files; what is put is in `cache` and `private` in it.
        authority: which its certificate is of.
        port: where it listens.
    """

    folder: Path
    authority: PrivateCA
    port: int

    def url(self, name):
        return f"https://localhost:{self.port}/{name}"

    def asked(self):
        return [line.split() for line in (self.folder / "access.log").read_text().splitlines()]


@contextlib.contextmanager
def running(folder):
    """The server, while the block lasts."""
    authority = PrivateCA(folder / "ca")
    cert, key = authority.issue(["localhost"])
    [port] = nginx.free_ports(1)
    for name in ("cache", "private"):
        (folder / name).mkdir()
    (folder / "passwords").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
    http = _CONFIGURATION.format(folder=folder, port=port)
    with nginx.serving(folder, http, cert=cert, key=key, port=port, writes=True):
        yield WebServer(folder, authority, port)
