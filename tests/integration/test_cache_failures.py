"""Whatever happens to a cache, a build that asks it ends with the right image, and nothing half-written is kept."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cache_hosts import narinfos
from test_nix_setups import AS_USER, USER

from builder.cache_gc import parse_narinfo


class Failing(BaseHTTPRequestHandler):
    """Serves a cache's files, and fails in a way in the middle of those with content."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = self.server.folder / self.path.lstrip("/")
        if self.server.gone.is_set() or not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if path.suffix != ".nar" or len(data) < 1000:
            self.wfile.write(data)
            return
        half = len(data) // 2
        self.wfile.write(data[:half])
        self.wfile.flush()
        self.server.failed.set()
        with contextlib.suppress(OSError):
            getattr(self, self.server.way)(data[half:])
        self.close_connection = True

    do_HEAD = do_GET  # noqa: N815 - the base class's names

    def dies(self, _):
        # Nobody answers any more, as when the process has been killed.
        self.server.socket.close()

    def stalls(self, _):
        self.server.gone.wait(120)

    def trickles(self, rest):
        for place in range(0, len(rest), 500):
            self.wfile.write(rest[place : place + 500])
            self.wfile.flush()
            if self.server.gone.wait(0.5):
                return


@contextlib.contextmanager
def failing(folder, way):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Failing)
    server.daemon_threads = True
    server.folder, server.way = folder, way
    server.gone, server.failed = threading.Event(), threading.Event()
    server.handle_error = lambda *_: None

    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
        assert server.failed.is_set()
    finally:
        server.gone.set()
        # One whose socket is closed would ask it for requests again and again, as long as the tests take.
        server.shutdown()
        server.server_close()


def check_store(host):
    """What the store says it has is what it has, by Nix's own account."""
    host.shell("nix-store", "--verify", "--check-contents")


@pytest.mark.parametrize(
    ("what", "way", "says"),
    [
        ("app.py", "dies", "cannot be reached"),
        ("app.py", "stalls", "cannot be reached"),
        ("app.py", "trickles", "is too slow: "),
        ("--all", "dies", "cannot be reached"),
        ("--all", "trickles", "is too slow: "),
    ],
)
def test_a_cache_that_fails_in_the_middle_costs_seconds_and_the_image_is_built_here(
    third_host, what, way, says
):
    host, built = third_host
    with failing(host.project.folder / "cache", way) as url:
        started = time.monotonic()
        done = host.run("build", what, "--cache", url, "--json", timeout=300)
        took = time.monotonic() - started
    found = json.loads(done.out)
    [had] = found if what == "--all" else [found]
    assert had["digest"] == built["digest"]
    assert had["built"] >= 1
    assert f"{url} {says}" in done.err
    # A build without a cache takes less than ten seconds of these.
    assert took < 60
    check_store(host)


@contextlib.contextmanager
def small_disk(folder, size):
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def whole(folder):
    """Whether all content that a cache's descriptions name is there, in full."""
    infos = [parse_narinfo(path.name, path.read_text()) for path in folder.glob("*.narinfo")]
    return all((folder / info.nar).stat().st_size == info.size for info in infos)


@pytest.mark.parametrize("kind", ["folder", "web"])
def test_a_full_cache_is_told_and_the_next_push_finishes(third_host, cache_server, kind):
    host, built = third_host
    host.run("cache", "keygen", "me")
    folder = cache_server.folder / "cache"
    env = {"NIX_SSL_CERT_FILE": str(cache_server.authority.cert)}
    url = cache_server.url("cache") if kind == "web" else str(folder)
    with small_disk(folder, "3m"):
        done = host.run("build", "app.py", "--cache", url, "--json", env=env, timeout=300)
        assert json.loads(done.out)["digest"] == built["digest"]
        assert "could not be filled: " in done.err
        refused = host.run("cache", "push", "app.py", "--cache", url, env=env, check=False)
        assert refused.code in (6, 8)
        assert re.search(r"disk is full|HTTP error 50\d|No space", refused.err)
        assert whole(folder)
        subprocess.run(["mount", "-o", "remount,size=500m", folder], check=True)
        host.run("cache", "push", "app.py", "--cache", url, env=env)
        assert whole(folder)
        # All of it is there, and another has it.
        shutil.rmtree(host.project.folder / "cache")
        (host.project.folder / "result-app").unlink()
        host.shell("nix-store", "--delete", "--ignore-liveness", built["path"])
        had = host.run("cache", "pull", "app.py", "--cache", url, env=env)
        assert built["digest"] in had.out


AS_DAEMON = """
NIX_CONFIG="$1" nix-daemon 2>/dev/null & daemon=$!
shift
while [ ! -S /nix/var/nix/daemon-socket/socket ]; do sleep 0.05; done
"$@"; code=$?
kill $daemon; wait $daemon 2>/dev/null
exit $code
"""


def test_a_user_whom_the_daemon_does_not_trust_is_told_what_to_write_and_that_is_enough(third_host, tmp_path):
    host, built = third_host
    # Every folder on the way must be one that any user can reach, and the project his own.
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder != folder.parent:
            folder.chmod(folder.stat().st_mode | 0o011)
    subprocess.run(["chown", "-R", f"{USER}:{USER}", tmp_path / "project", tmp_path / "home"], check=True)

    def build(configuration, name, what="app.py"):
        folder = tmp_path / name
        folder.mkdir()
        folder.chmod(0o777)
        words = [
            *host.wrapper,
            "sh",
            "-c",
            AS_DAEMON,
            "sh",
            f"trusted-users = root\n{configuration}",
            *AS_USER,
        ]
        env = {"XDG_CACHE_HOME": str(folder)}
        command = ["build", what, "--cache", "cache", "--json", "--no-link", "--frozen"]
        done = host.project.run(*command, wrapper=words, env=env, timeout=300)
        return json.loads(done.out), done.err

    had, said = build("", "first")
    assert (had["digest"], had["built"] >= 3) == (built["digest"], True)
    assert "does not trust this user" in said
    _, told = build("", "all", "--all")
    assert told.count("does not trust this user") == 1
    wanted = re.findall(r"^  (extra-trusted-[\w-]+ = .+)$", said, re.MULTILINE)
    assert [line.partition(" ")[0] for line in wanted] == [
        "extra-trusted-public-keys",
        "extra-trusted-substituters",
    ]
    own = [f"/nix/store/{path.name}" for path in (host.store / "store").glob("*-image-app")]
    own += [f"/nix/store/{path.name}" for path in (host.store / "store").glob("*-layer-humanize-4.14.0")]
    host.shell("nix-store", "--delete", "--ignore-liveness", *own)
    had, said = build("\n".join(wanted), "second")
    assert (had["digest"], had["built"]) == (built["digest"], 0)
    assert "trust" not in said


def test_only_what_is_pushed_is_described(first_host):
    host, _, _ = first_host
    assert whole(host.project.folder / "cache")
    assert len(narinfos(host)) > 3
