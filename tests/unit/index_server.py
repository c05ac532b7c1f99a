"""A package index on this machine for tests: wheels made on the spot, served well or badly."""

from __future__ import annotations

import base64
import hashlib
import http.server
import os
import threading
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def make_wheel(
    folder: Path, name: str, version: str, *, tags: str = "py3-none-any", requires: tuple[str, ...] = ()
) -> Path:
    """Write a wheel with one module; equal arguments give equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    metadata = [
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}",
        *(f"Requires-Dist: {r}" for r in requires),
    ]
    files = {
        f"{module}.py": f"version = {version!r}\n",
        f"{info}/METADATA": "\n".join(metadata) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        + "".join(f"Tag: {tag}\n" for tag in [tags]),
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    path = folder / f"{module}-{version}-{tags}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in files.items():
            archive.writestr(zipfile.ZipInfo(member, (1980, 1, 2, 0, 0, 0)), text)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass
class Index:
    """A running server.

    Attributes:
        files: the folder whose wheels it serves, at /files/, and lists, at /simple/.
        user, password: asked for where set, on every path.
        hashes: whether its pages give sha256.
        failures: per path, what to answer before the file: a status code, or a number of bytes to break off after.
        redirects: per path, where it is now.
        token: asked for where set, as a bearer token.
        headers: sent with each answer, and with each that is a failure.
        ranges: whether a part of a file can be asked for.
        kind: the media type of files.
        seen: path and Authorization header of every request.
    """

    files: Path
    port: int = 0
    user: str = ""
    password: str = ""
    hashes: bool = True
    failures: dict[str, list[int]] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    token: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = False
    kind: str = "application/octet-stream"
    seen: list[tuple[str, str | None]] = field(default_factory=list)

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def simple(self) -> str:
        return f"{self.root}/simple"

    def with_login(self, path: str) -> str:
        return f"http://{self.user}:{quote(self.password)}@127.0.0.1:{self.port}{path}"


class _Handler(http.server.BaseHTTPRequestHandler):
    index: Index

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        index, path = self.index, unquote(urlsplit(self.path).path)
        given = self.headers.get("Authorization")
        index.seen.append((self.path, given))
        if index.token and given != f"Bearer {index.token}":
            self.refuse(401)
            return
        if index.user:
            wanted = "Basic " + base64.b64encode(f"{index.user}:{index.password}".encode()).decode()
            if given != wanted:
                self.refuse(401)
                return
        if path in index.redirects:
            self.send_response(302)
            self.send_header("Location", index.redirects[path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body, kind = self.body(path)
        failure = index.failures.get(path, [])
        step = failure.pop(0) if failure else 0
        if body is None or step >= 400:
            self.refuse(step or 404)
            return
        begin = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0]
        if index.ranges and begin != "0" and self.headers.get("If-Range") == index.headers.get("ETag"):
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
            body = body[int(begin) :]
        else:
            self.send_response(200)
        for name, value in index.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:step] if step else body)
        if step:
            self.close_connection = True

    def refuse(self, status: int) -> None:
        self.send_response(status)
        for name, value in self.index.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815 - the base class's name

    def fragment(self, wheel: Path) -> str:
        return f"#sha256={sha256(wheel)}" if self.index.hashes else ""

    def body(self, path: str) -> tuple[bytes | None, str]:
        parts = path.strip("/").split("/")
        if parts[0] == "files" and len(parts) == 2 and (self.index.files / parts[1]).is_file():
            return (self.index.files / parts[1]).read_bytes(), self.index.kind
        if parts[0] == "simple" and len(parts) == 2:
            wheels = [
                w
                for w in sorted(self.index.files.glob("*.whl"))
                if w.name.split("-")[0].replace("_", "-") == parts[1]
            ]
            if wheels:
                links = "".join(
                    f'<a href="/files/{quote(w.name)}{self.fragment(w)}">{w.name}</a>' for w in wheels
                )
                return f"<!DOCTYPE html><html><body>{links}</body></html>".encode(), "text/html"
        return None, ""


def serve(files: Path) -> Index:
    """Start a server on a free port; it ends with the process."""
    files.mkdir(parents=True, exist_ok=True)
    index = Index(files)
    handler = type("Handler", (_Handler,), {"index": index})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    index.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.05}).start()
    return index


def bare_machine(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """A machine on which neither pip nor uv is configured, and no proxy is in the way."""
    for name in list(os.environ):
        if (
            name.startswith(("PIP_", "UV_"))
            or name.lower().endswith("_proxy")
            or name in ("VIRTUAL_ENV", "NETRC")
        ):
            monkeypatch.delenv(name)
    home.mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(home / "xdg"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
