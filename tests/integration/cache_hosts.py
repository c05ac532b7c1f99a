"""Hosts with Nix stores of their own on one machine, and a binary cache between them: fixtures of `conftest`."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess

import pytest

# humanize has a layer with bytecode; the base is the largest layer.
REQUIREMENTS = ["humanize==4.14.0"]
USERS = "/nix/var/nix/userpool"
WORDS = ("--cache", "cache", "--json")


class Host:
    """A machine with a store, a configuration and a cache folder of its own; it has the project's files in common."""

    def __init__(self, folder, project):
        self.store = folder / "nix"
        for name in ("nix/store", "nix/var", "home"):
            (folder / name).mkdir(parents=True)
        env = {"HOME": str(folder / "home"), "XDG_CONFIG_HOME": str(folder / "conf")}
        env["XDG_CACHE_HOME"] = str(folder / "cache")
        self.project = dataclasses.replace(project, env={**project.env, **env})

    def shell(self, *words):
        """Run a command that is no part of this project."""
        subprocess.run([*self.wrapper, *words], check=True, capture_output=True)

    @property
    def wrapper(self):
        # Nix ends all processes of a build user when it takes one: both stores have to know who is free.
        users = f"mkdir -p {USERS} {self.store}/var/nix/userpool && mount --bind {USERS} {self.store}/var/nix/userpool"
        script = f'{users} && mount --rbind {self.store} /nix && exec "$@"'
        return ("unshare", "-m", "sh", "-c", script, "sh")

    def run(self, *words, **more):
        return self.project.run(*words, wrapper=self.wrapper, **more)

    def build(self, *words, **more):
        done = self.run("build", "app.py", *WORDS, *words, **more)
        return json.loads(done.out), done.err


@pytest.fixture(scope="session")
def first_host(session_project, tmp_path_factory):
    """A host that has built the app and pushed it; also what was built, and the public key."""
    project = session_project("cached")
    project.app(REQUIREMENTS)
    host = Host(tmp_path_factory.mktemp("first"), project)
    public = json.loads(host.run("cache", "keygen", "team-1", "--json").out)["public_key"]
    built, said = host.build()
    assert built["built"] > 5
    assert said == ""
    host.run("cache", "push", "app.py", "--cache", "cache")
    return host, built, public


@pytest.fixture
def second_host(first_host, tmp_path):
    """Another host, with an empty store, that trusts what the first one has signed; and a copy of the cache."""
    host, built, public = first_host
    project = dataclasses.replace(host.project, folder=tmp_path / "project", env={})
    project.folder.mkdir()
    for name in ("app.py", "pylock.app.toml"):
        project.write(name, (host.project.folder / name).read_text())
    copy = project.folder / "cache"
    for path in (host.project.folder / "cache").rglob("*"):
        target = copy / path.relative_to(host.project.folder / "cache")
        if path.is_dir():
            target.mkdir(parents=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, target)
    project.write("pyproject.toml", f'[tool.builder]\ncache-keys = ["{public}"]\n')
    return Host(tmp_path, project), built


@pytest.fixture(scope="session")
def seed_store(first_host, tmp_path_factory):
    """A store that has what every image starts from, and nothing of this one's own."""
    host, _, _ = first_host
    folder = tmp_path_factory.mktemp("seed")
    subprocess.run(["cp", "-al", host.store / "store", folder / "store"], check=True)
    subprocess.run(["cp", "-a", host.store / "var", folder / "var"], check=True)
    seeded = Host(folder / "host", host.project)
    seeded.store = folder
    own = re.compile(r"[0-9a-z]{32}-(image-|links|layer-(humanize|small-wheels|app|runtime)).*(?<!\.drv)")
    paths = [f"/nix/store/{path.name}" for path in (folder / "store").iterdir() if own.fullmatch(path.name)]
    seeded.shell("nix-store", "--delete", "--ignore-liveness", *paths)
    return folder


@pytest.fixture
def third_host(second_host, seed_store):
    """Like the second host, but that it need not build what every image starts from."""
    host, built = second_host
    for name, words in (("store", "-al"), ("var", "-a")):
        shutil.rmtree(host.store / name)
        subprocess.run(["cp", words, seed_store / name, host.store / name], check=True)
    return host, built


@pytest.fixture
def cache_server(tmp_path_factory):
    # Here, since it has what conftest has, and that has this.
    import cache_server as web

    with web.running(tmp_path_factory.mktemp("web")) as server:
        yield server


def replace(path, text):
    """Write a file anew: the one that is there is linked to the first host's."""
    path.unlink()
    path.write_bytes(text)


def narinfos(host):
    return sorted((host.project.folder / "cache").glob("*.narinfo"))
