"""Nix as it is found: builds work, and give the same image, without their user setting anything.

Each of these builds everything in an empty store: as root, or as a user who may only read this program's files.
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from conftest import BUILDER
from stores import other_store

USER = pwd.getpwnam("nobody").pw_uid
READ_EVERYTHING = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
AS_USER = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *READ_EVERYTHING]


@pytest.fixture(scope="module")
def built(session_project):
    """A project, and its image as the machine's Nix builds it for root."""
    project = session_project("setups")
    project.app(["markupsafe==3.0.3"], body="    pass")
    return project, project.build()


@pytest.fixture
def folder():
    """A folder that any user can reach, which `tmp_path` is not."""
    with tempfile.TemporaryDirectory(prefix="builder-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def build(built, folder, *prefix, env):
    """Build a copy of the project by a command that begins with `prefix`; what it says is checked and returned."""
    project, image = built
    copy, home = folder / "project", folder / "home"
    for made in (copy, home):
        made.mkdir()
    for name in ("app.py", "pylock.app.toml"):
        (copy / name).write_bytes((project.folder / name).read_bytes())
    if "setpriv" in prefix:
        for path in (copy, home, *copy.iterdir()):
            os.chown(path, USER, USER)
    done = subprocess.run(
        [*prefix, BUILDER, "build", "app.py", "--json", "--frozen"],
        cwd=copy,
        env={"PATH": os.environ["PATH"], "HOME": str(home), **env},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stderr
    other = json.loads(done.stdout)
    assert other["built"] > 8
    assert other["digest"] == image["digest"]
    assert (copy / "result-app").resolve() == Path(other["path"])
    return Path(other["path"])


def test_root_without_build_users(built, folder):
    groups = folder / "group"
    groups.write_text(
        "".join(
            line for line in Path("/etc/group").read_text().splitlines(True) if not line.startswith("nixbld")
        )
    )
    configuration = folder / "etc"
    configuration.mkdir()
    without = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/group && exec "$@"', groups]
    path = build(built, folder, *without, env={**other_store(folder), "NIX_CONF_DIR": str(configuration)})
    assert path.is_relative_to(folder)


def test_a_user_with_a_daemon_that_trusts_him_nothing_and_has_no_sandbox(built, folder):
    env = other_store(folder)
    socket = Path(env["NIX_STATE_DIR"], "daemon-socket/socket")
    with subprocess.Popen(
        ["nix-daemon"],
        env={**os.environ, **env, "NIX_CONFIG": "sandbox = false\ntrusted-users = root"},
        stderr=subprocess.DEVNULL,
    ) as daemon:
        try:
            deadline = time.monotonic() + 10
            while not socket.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            path = build(built, folder, *AS_USER, env=env)
        finally:
            daemon.terminate()
    assert path.stat().st_uid != USER


def test_a_user_who_owns_the_store(built, folder):
    env = other_store(folder)
    for path in (Path(env["NIX_STORE_DIR"]), Path(env["NIX_STATE_DIR"]), folder):
        os.chown(path, USER, USER)
    path = build(built, folder, *AS_USER, env=env)
    assert path.stat().st_uid == USER
