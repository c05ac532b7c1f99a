"""An image in a registry is the one that was built, and what the registry has is not sent again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time

import pytest
import registry_server
from conftest import BUILDER


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with registry_server.running(tmp_path_factory.mktemp("registry")) as server:
        yield server


def blobs(manifest):
    return {manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])}


def test_after_one_small_change_only_what_is_new_is_sent(project, registry, tmp_path):
    env = registry.environment(tmp_path)
    project.app(["humanize==4.14.0"])
    references = [f"docker://{registry.host}/team/app:{tag}" for tag in ("1.0", "latest")]
    done = project.run("push", "app.py", *references, "--json", env=env)
    pushed = json.loads(done.out)
    assert pushed["digest"] == project.build()["digest"]
    first = registry.manifest("team/app:1.0", env)
    assert registry.manifest(f"team/app@{pushed['digest']}", env) == first
    assert registry.manifest("team/app:latest", env) == first
    assert registry.blobs_sent(0) == blobs(first)
    project.app(["humanize==4.14.0", "tomli==2.2.1"])
    start = registry.log.stat().st_size
    second = json.loads(project.run("push", "app.py", references[0], "--json", env=env).out)
    new = registry.manifest("team/app:1.0", env)
    assert second["digest"] != pushed["digest"]
    # The layer that tomli came into, the code, which says so, and the configuration.
    assert registry.blobs_sent(start) == blobs(new) - blobs(first)
    assert len(registry.blobs_sent(start)) == 3
    # Another repository of the registry has the layers mounted; the configuration, of a kilobyte or two, is sent.
    start = registry.log.stat().st_size
    project.run("push", "app.py", f"{registry.host}/team/sister:1.0", env=env)
    assert registry.blobs_sent(start) <= {new["config"]["digest"]}
    assert registry.manifest("team/sister:1.0", env) == new


def test_a_build_can_push_what_it_has_built(project, registry, tmp_path):
    env = registry.environment(tmp_path)
    project.app(["humanize==4.14.0"])
    built = project.build("app.py", "--push", f"docker://{registry.host}/team/built:2", env=env)
    assert registry.manifest(f"team/built@{built['digest']}", env) == registry.manifest("team/built:2", env)


def test_an_image_is_loaded_into_the_engine_of_this_machine(project):
    project.app(["humanize==4.14.0"])
    loaded = json.loads(project.run("load", "app.py", "--json").out)
    assert loaded["engine"] == "podman"
    words = ["podman", "image", "inspect", "--format", "{{.Digest}}", loaded["image"]]
    done = subprocess.run(words, capture_output=True, check=True, text=True)
    assert done.stdout.strip() == loaded["digest"]


class Slow(threading.Thread):
    """Stands before a server and hands on what is sent to it, some bytes a second."""

    def __init__(self, port, rate):
        super().__init__(daemon=True)
        self._port, self._rate = port, rate
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.sent = 0
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                for source, sink, slow in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._hand_on, args=(source, sink, slow), daemon=True).start()

    def _hand_on(self, source, sink, slow):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
                if slow:
                    self.sent += len(data)
                    time.sleep(len(data) / self._rate)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.close()

    def close(self):
        self._server.close()


def test_after_a_push_that_was_killed_in_the_middle_the_next_one_finishes(project, registry, tmp_path):
    project.app(["humanize==4.14.0"])
    built = project.build()
    slow = Slow(int(registry.host.partition(":")[2]), 4_000_000)
    host = registry.host
    registry.host = f"localhost:{slow.port}"
    env = registry.environment(tmp_path)
    registry.host = host
    start = registry.log.stat().st_size
    words = [BUILDER, "push", "app.py", f"localhost:{slow.port}/team/killed:1"]
    # A session of its own: builder and skopeo in it are killed at once, as by a machine that is turned off.
    pushing = subprocess.Popen(
        words,
        cwd=project.folder,
        env=project.environment(env),
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while slow.sent < 3_000_000 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(pushing.pid, signal.SIGKILL)
    assert pushing.wait() == -signal.SIGKILL
    pushing.stderr.close()
    slow.close()
    # It was in the middle: not all was sent, and no image came of it.
    assert slow.sent < built["size"]
    env = registry.environment(tmp_path)
    with pytest.raises(subprocess.CalledProcessError):
        registry.manifest("team/killed:1", env)
    before = registry.blobs_sent(start)
    project.run("push", "app.py", f"{registry.host}/team/killed:1", env=env)
    manifest = registry.manifest("team/killed:1", env)
    assert registry.manifest(f"team/killed@{built['digest']}", env) == manifest
    assert before < blobs(manifest) <= registry.blobs_sent(0)


def test_who_may_not_push_is_told_to_log_in_and_no_password_is_shown(project, registry, tmp_path):
    project.app([])
    env = registry.environment(tmp_path, "canary-wrong")
    done = project.run("push", "app.py", f"{registry.host}/team/app:1.0", env=env, check=False)
    assert done.code == 6
    assert f"podman login {registry.host}" in done.err
    assert "canary" not in done.err + done.out


def test_a_registry_whose_authority_is_not_known_is_not_talked_to(project, registry, tmp_path):
    project.app([])
    env = {**registry.environment(tmp_path), "SSL_CERT_FILE": ""}
    done = project.run("push", "app.py", f"{registry.host}/team/app:1.0", env=env, check=False)
    assert done.code == 6
    assert f"/etc/containers/certs.d/{registry.host}/ca.crt" in done.err


@pytest.mark.parametrize("reference", ["docker://", "app", "host/Team/app", "docker://host/app@sha256:00"])
def test_what_is_no_reference_is_refused_before_anything_is_built(project, reference):
    project.app([])
    done = project.run("push", "app.py", reference, check=False)
    assert done.code == 3
    assert "names no image in a registry" in done.err
    assert not (project.folder / "pylock.app.toml").exists()
