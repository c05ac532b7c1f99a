"""Servers of tests: nginx in one process with TLS, and what any server in a process of its own takes."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
{user}
events {{ }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    ssl_certificate {cert};
    ssl_certificate_key {key};
{http}
}}
"""


@contextlib.contextmanager
def serving(
    folder: Path, http: str, *, cert: Path, key: Path, port: int, writes: bool = False
) -> Iterator[None]:
    """Run nginx, whose files are in a folder, until the block ends.

    Args:
        folder: gets the configuration, `error.log` and what passes through.
        http: what is in the configuration's block `http`: logs, maps, servers.
        cert, key: the certificate's files.
        port: one that it listens on, for seeing that it does.
        writes: whether it takes files; root's nginx would write them as nobody.
    """
    text = _CONFIGURATION.format(
        folder=folder,
        cert=cert,
        key=key,
        http=http,
        user="user root;" if writes and os.geteuid() == 0 else "",
    )
    configuration = folder / "nginx.conf"
    configuration.write_text(text)
    errors = folder / "error.log"
    with started("nginx", "-p", folder, "-e", errors, "-c", configuration) as process:
        deadline = time.monotonic() + 20
        while not _listens(port):
            assert process.poll() is None, errors.read_text()
            assert time.monotonic() < deadline, "nginx does not answer"
            time.sleep(0.05)
        yield


@contextlib.contextmanager
def started(name: str, *words: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server in one process, which ends with the tests even when those are killed."""
    program = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    assert program, f"{name} is missing"
    process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", program, *words])
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def free_ports(number: int) -> list[int]:
    """Ports of 127.0.0.1 that nothing listens on, each another."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
