"""`make demo`: builds examples/vision, runs its container, sends it a request and shows the answer."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

APP = Path(__file__).parent / "vision" / "app.py"
BUILDER = Path(sysconfig.get_path("scripts")) / "builder"
REQUEST = {"shape": "disk", "size": 128}
PATIENCE = 120  # seconds for the container to start


def main() -> int:
    """Run the demo; the exit code is 0 when the endpoint answered."""
    command = BUILDER.relative_to(Path.cwd()) if BUILDER.is_relative_to(Path.cwd()) else BUILDER
    target = APP.relative_to(Path.cwd()) if APP.is_relative_to(Path.cwd()) else APP
    say(f"{command} build {target}")
    if subprocess.run([BUILDER, "build", str(target)], check=False).returncode:
        return 1
    port = free_port()
    say(f"{command} run {target} --port {port} &")
    with subprocess.Popen([BUILDER, "run", str(target), "--port", str(port)]) as server:
        try:
            wait_for(f"http://127.0.0.1:{port}/health", server)
            say(
                f"curl -X POST 127.0.0.1:{port}/ -H 'Content-Type: application/json' -d '{json.dumps(REQUEST)}'"
            )
            answer = fetch(f"http://127.0.0.1:{port}/", REQUEST)
            print(json.dumps(answer, indent=2))
        finally:
            server.send_signal(signal.SIGINT)
    print(f"\nThe endpoint answered from its container. Next: {command} build YOUR_APP.py")
    return 0


def say(text: str) -> None:
    """Show a command before it is run."""
    width = shutil.get_terminal_size().columns
    print(f"\n{'─' * min(width, 100)}\n$ {text}", flush=True)


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
    return port


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    started = time.monotonic()
    while True:
        try:
            fetch(url)
        except (urllib.error.URLError, ConnectionError):
            if server.poll() is not None:
                sys.exit(f"the container ended with {server.returncode}")
            if time.monotonic() - started > PATIENCE:
                sys.exit(f"{url} did not answer within {PATIENCE} seconds")
            time.sleep(0.2)
        else:
            return


def fetch(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310 - http, here
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        return json.loads(response.read())


if __name__ == "__main__":
    sys.exit(main())
