"""The same app is the same bytes: however its layers are made again, wherever and by whichever Nix it is built."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from stores import other_store, steps

from builder.store import nar_sha256

# The suites that have these Pythons have Nix 2.26 (trixie) and 2.34 (forky): two of the four are checked with each.
PYTHONS = ["3.9", "3.11", "3.13", "3.14"]
# A layer of its own and a shared one; extension modules, sources to compile, scripts. All have wheels for PYTHONS.
REQUIREMENTS = ["pillow==11.3.0", "pyyaml==6.0.3", "markupsafe==3.0.3", "attrs==25.3.0", "docutils==0.21.2"]

# Runs the rest of its command line as Python would, but every folder lists its names in reverse.
REVERSED = """
import os, runpy, sys

scandir, listdir = os.scandir, os.listdir

class Reversed:
    def __init__(self, folder="."):
        with scandir(folder) as entries:
            self.entries = iter(sorted(entries, key=lambda entry: entry.name, reverse=True))
    def __iter__(self):
        return self
    def __next__(self):
        return next(self.entries)
    def __enter__(self):
        return self
    def __exit__(self, *_):
        pass

class Names:
    def __call__(self, folder="."):
        return sorted(listdir(folder), reverse=True)

os.scandir = Reversed
os.listdir = Names()
del sys.argv[0]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def built(session_project):
    """Projects and what building them said, by Python; each is built when it is first asked for."""
    known = {}

    def build(python):
        if python not in known:
            project = session_project(f"python{python}")
            project.app(REQUIREMENTS, python=python, body="    def setup(self):\n        import PIL")
            known[python] = project, project.build()
        return known[python]

    return build


@pytest.mark.parametrize("python", PYTHONS)
def test_another_core_count_hash_seed_and_file_order_make_the_same_layers(built, python, tmp_path):
    _, image = built(python)
    shim = tmp_path / "reversed.py"
    shim.write_text(REVERSED)
    remade = []
    for step in steps(image["path"]):
        if "spec" not in step.env:
            continue
        *interpreter, main, script = step.command
        out = tmp_path / step.name
        spec = tmp_path / "spec.json"
        spec.write_text(json.dumps({**json.loads(step.env["spec"]), "out": str(out)}))
        # Not in a sandbox: the caller's environment is there, and modules of Python are not compiled beforehand.
        environment = {**os.environ, "specPath": str(spec), "NIX_BUILD_CORES": "3", "PYTHONHASHSEED": "1980"}
        subprocess.run([*interpreter, shim, main, script], env=environment, check=True)
        assert nar_sha256(out) == nar_sha256(step.out), step.name
        remade.append(step.name)
    assert expected(python) <= set(remade)


@pytest.mark.parametrize("python", PYTHONS)
def test_nix_finds_no_difference_when_it_builds_every_step_again_on_one_core(built, newer, python):
    _, image = built(python)
    own = [step for step in steps(image["path"]) if not step.is_download]
    assert expected(python) < {step.name for step in own}  # what makes them is among the steps too
    options = ["--option", "cores", "1", "--option", "max-jobs", "2", "--option", "substituters", ""]
    path = newer(python) if python in ("3.13", "3.14") else os.environ["PATH"]
    done = subprocess.run(
        ["nix-store", "--realise", "--check", *options, *(step.path for step in own)],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("python", ["3.13", "3.14"])
def test_newer_nix_gives_the_same_image_and_takes_over_what_this_one_built(built, newer, python, tmp_path):
    project, image = built(python)
    environment = {"PATH": newer(python)}
    version = subprocess.run(
        ["nix", "--version"], env={**os.environ, **environment}, capture_output=True, check=True
    )
    assert version.stdout.split()[-1].decode() >= "2.26"
    other = project.build("app.py", "--frozen", "--no-link", env={**environment, **elsewhere(tmp_path)})
    assert other["path"].startswith(str(tmp_path))
    assert other["built"] > 12
    assert other["digest"] == image["digest"]
    # What another cache folder does not remember has to be evaluated.
    same = project.build("app.py", "--frozen", env={**environment, "XDG_CACHE_HOME": str(tmp_path / "cache")})
    assert (same["path"], same["built"]) == (image["path"], 0)
    assert Path(project.folder / same["out_link"]).resolve() == Path(image["path"])


def expected(python):
    """Names of what an image is made of: all kinds of layers, and itself."""
    layers = {
        f"base-python{python}-x86_64",
        "pillow-11.3.0",
        "attrs-25.3.0",
        "small-wheels",
        "runtime",
        "app",
    }
    return {f"layer-{name}" for name in layers} | {"image-app"}


def elsewhere(folder):
    """An environment with a store and a memory of its own, in which everything has to be built."""
    return {**other_store(folder), "XDG_CACHE_HOME": str(folder / "cache")}
