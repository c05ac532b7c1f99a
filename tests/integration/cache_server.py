"""A web server on this machine that is a binary cache: nginx with TLS from a private authority."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time

from conftest import free_port
from private_ca import PrivateCA

# For /private/.
USER, PASSWORD = "filler", "canary-cache-pass"
NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    log_format asked '$request_method $uri $status';
    access_log {folder}/access.log asked;
    ssl_certificate {cert};
    ssl_certificate_key {key};
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
}}
"""


class WebServer:
    """nginx with TLS, which takes what is put there."""

    def __init__(self, folder):
        self.folder = folder
        self.authority = PrivateCA(folder / "ca")
        cert, key = self.authority.issue(["localhost"])
        self.port = free_port()
        for name in ("cache", "private"):
            (folder / name).mkdir()
        (folder / "passwords").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
        text = NGINX.format(folder=folder, cert=cert, key=key, port=self.port)
        (folder / "nginx.conf").write_text(text)
        # Workers write as nobody where nginx is root's.
        self.process = subprocess.Popen(
            ["/usr/sbin/nginx", "-p", folder, "-c", folder / "nginx.conf", "-g", "user root;"]
        )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError((folder / "error.log").read_text())

    def url(self, name):
        return f"https://localhost:{self.port}/{name}"

    def asked(self):
        return [line.split() for line in (self.folder / "access.log").read_text().splitlines()]


@contextlib.contextmanager
def running(folder):
    """The server, while the block lasts."""
    server = WebServer(folder)
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.wait()
