"""What the integration tests share: projects to build, and the command as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import git_server as real_git_server
import newer_nix
import nginx
import pytest
import servers as real_servers
from cache_hosts import cache_server, first_host, second_host, seed_store, third_host  # noqa: F401 - fixtures
from private_ca import PrivateCA

BUILDER = Path(sysconfig.get_path("scripts")) / "builder"


@dataclass
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


@dataclass
class Project:
    """A user's project folder."""

    folder: Path
    env: dict[str, str]

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def app(self, requirements, *, python="3.11", body="", name="app.py", class_name="App", **attributes):
        """Write an app file."""
        lines = [f"    {key} = {value!r}" for key, value in attributes.items()]
        text = "\n".join(
            [
                "import builder",
                "",
                f"class {class_name}(builder.App):",
                f"    python_version = {python!r}",
                f"    requirements = {requirements!r}",
                *lines,
                body or "    pass",
            ]
        )
        return self.write(name, text + "\n")

    def environment(self, env=None):
        return {**os.environ, **self.env, **(env or {})}

    def run(self, *words, env=None, check=True, timeout=900, wrapper=()):
        done = subprocess.run(
            [*wrapper, BUILDER, *map(str, words)],
            cwd=self.folder,
            env=self.environment(env),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if check and done.returncode:
            raise AssertionError(
                f"builder {words} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
            )
        return Done(done.returncode, done.stdout, done.stderr)

    def build(self, target="app.py", *words, **more):
        """Build and return what `--json` says."""
        return json.loads(self.run("build", target, "--json", *words, **more).out)


@pytest.fixture(scope="session", autouse=True)
def no_images_left():
    """What containers were made of does not stay in the engine's store: the images are in Nix's."""
    before = images_of_the_engine()
    yield
    if new := images_of_the_engine() - before:
        subprocess.run(["podman", "rmi", "--force", *new], capture_output=True, check=False)


def images_of_the_engine():
    listed = subprocess.run(
        ["podman", "images", "--all", "--quiet"], capture_output=True, text=True, check=True
    )
    return set(listed.stdout.split())


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """One cache for all projects of a run: Debian's package indexes are fetched once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def project(tmp_path, cache):
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(folder, {"XDG_CACHE_HOME": str(cache)})


@pytest.fixture(scope="session")
def session_project(tmp_path_factory, cache):
    """A project for images that several tests of a module look at."""
    return lambda name: Project(tmp_path_factory.mktemp(name), {"XDG_CACHE_HOME": str(cache)})


@pytest.fixture(scope="session")
def newer(tmp_path_factory, cache):
    """PATH with the commands of the Nix of the suite that has this Python."""
    known = {}

    def path(python):
        if python not in known:
            known[python] = newer_nix.install(tmp_path_factory.mktemp("nix"), cache, python)
        return f"{known[python]}:{os.environ['PATH']}"

    return path


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    """The servers of `servers`, with nothing published yet."""
    with real_servers.running(tmp_path_factory.mktemp("servers")) as running:
        yield running


@pytest.fixture(scope="session")
def git_server(tmp_path_factory):
    """The server of `git_server`, without repositories."""
    folder = tmp_path_factory.mktemp("git")
    with real_git_server.running(folder / "server", PrivateCA(folder / "ca")) as running:
        yield running


def free_port() -> int:
    return nginx.free_ports(1)[0]


def get_json(url, body=None, *, attempts=1):
    """GET, or POST a JSON body; tried until the server answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"content-type": "application/json"})
    for attempt in range(attempts):
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError:
            raise  # the server answers: trying again will not change what it says
        except (urllib.error.URLError, ConnectionError):
            if attempt == attempts - 1:
                raise
            time.sleep(0.2)
    raise AssertionError("no attempt was made")
