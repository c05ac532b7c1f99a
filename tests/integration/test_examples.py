"""Every example can be made again, and has one digest, whichever Nix makes it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from cache_hosts import Host
from conftest import Project
from stores import other_store

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/app.py"))


@pytest.fixture(scope="module")
def repository(session_project):
    """The examples as somebody's repository, all of them built."""
    project = session_project("examples")
    for name in NAMES:
        # One is of this project itself, which it names by the way from its own folder.
        text = (EXAMPLES / name / "app.py").read_text().replace('"../.."', f'"{EXAMPLES.parent}"')
        project.write(f"{name}/app.py", text)
    return project, digests(project)


def digests(project, *words, **more):
    done = project.run("build", "--all", "--no-link", "--json", *words, **more)
    found = {app["target"].partition("/")[0]: app["digest"] for app in json.loads(done.out)}
    assert sorted(found) == NAMES
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_example_can_be_made_again(repository, name):
    project, digest = repository
    done = json.loads(project.run("check", f"{name}/app.py", "--json").out)
    assert done["digest"] == digest[name]
    assert done["steps"] > 5
    assert done["different"] == []


@pytest.mark.parametrize(("python", "version"), [("3.13", "2.26"), ("3.14", "2.34")])
def test_newer_nix_gives_every_example_the_same_digest(repository, newer, python, version, tmp_path):
    project, digest = repository
    environment = {"PATH": newer(python), "XDG_CACHE_HOME": str(tmp_path / "cache"), **other_store(tmp_path)}
    said = subprocess.run(
        ["nix", "--version"], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    assert said.stdout.startswith(f"nix (Nix) {version}")
    assert digests(project, "--frozen", env=environment) == digest
    # It made them itself.
    made = list((tmp_path / "store").glob("*-image-*/index.json"))
    assert len(made) == len(NAMES)


@pytest.mark.parametrize("is_folder", [False, True])
def test_another_host_has_torch_from_a_cache_without_a_wheel(repository, cache_server, is_folder, tmp_path):
    project, digest = repository
    env = {
        "NIX_SSL_CERT_FILE": str(cache_server.authority.cert),
        "XDG_CONFIG_HOME": str(tmp_path / "configuration"),
    }
    url = str(tmp_path / "cache") if is_folder else cache_server.url("cache")
    app = "torch-cpu/app.py"
    public = json.loads(project.run("cache", "keygen", "team-1", "--json", env=env).out)["public_key"]
    project.run("cache", "push", app, "--cache", url, env=env)

    host = Host(tmp_path / "host", Project(tmp_path / "project", {}))
    for name in (app, "torch-cpu/pylock.torch-cpu.toml"):
        host.project.write(name, (project.folder / name).read_text())
    host.project.write("torch-cpu/pyproject.toml", f'[tool.builder]\ncache-keys = ["{public}"]\n')
    env.pop("XDG_CONFIG_HOME")
    done = host.run("build", app, "--frozen", "--cache", url, "--json", env=env)
    had = json.loads(done.out)
    assert (had["digest"], had["built"], done.err) == (digest["torch-cpu"], 0, "")
    names = {path.name[33:] for path in (host.store / "store").iterdir() if path.suffix != ".drv"}
    assert any(name.startswith("layer-torch-2") for name in names)
    assert not any(name.endswith((".whl", ".deb")) for name in names)
