"""What is in an image is what uv and pip install from the same lock."""

from __future__ import annotations

import configparser
import csv
import io
import os
import re
import subprocess
import sys

import pytest
import tomllib
from uv import find_uv_bin

# Compiled code, scripts, data files, headers, namespaces, entry points, vendored trees, odd names.
UV = """
numpy pillow scipy pandas ruff black jupyterlab-widgets notebook-shim debugpy pyzmq tornado psutil lxml cryptography
grpcio protobuf googleapis-common-protos zope-interface zope-event pyyaml markupsafe jinja2 click rich httpx fastapi
uvicorn websockets regex tokenizers safetensors matplotlib fonttools kiwisolver contourpy setuptools wheel pip cython
ninja cmake pybind11 greenlet sqlalchemy orjson msgpack aiohttp jsonschema nbconvert ipykernel sympy networkx tqdm
pytest coverage mypy six attrs docutils
"""
PIP = """
numpy pillow ruff debugpy jupyterlab-widgets pyzmq lxml zope-interface googleapis-common-protos setuptools cython
pybind11 greenlet matplotlib docutils black uvicorn fonttools cmake tqdm
"""
# What names the installer, or how it was asked.
INSTALLERS_OWN = ("INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json")


@pytest.fixture(scope="module")
def image_tree(session_project, tmp_path_factory):
    """A project with the wheels, and the unpacked /opt/venv of its image."""
    project = session_project("wheels")
    project.app(UV.split())
    image = project.build()
    copy, bundle = tmp_path_factory.mktemp("oci") / "oci", tmp_path_factory.mktemp("bundle") / "bundle"
    run("skopeo", "copy", "--quiet", f"oci:{image['path']}:latest", f"oci:{copy}:latest")
    run("umoci", "unpack", "--image", f"{copy}:latest", bundle)
    return project, bundle / "rootfs/opt/venv"


def run(*words, **more):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def tree(venv):
    """Files that an installer wrote: path -> (executable, content); what may differ is made equal."""
    found = {}
    site = next((venv / "lib").glob("python*")) / "site-packages"
    for folder in (site, venv / "bin", venv / "share", venv / "etc", venv / "include"):
        for path in folder.rglob("*"):
            if path.is_dir() or path.is_symlink() or "__pycache__" in path.parts:
                continue
            metadata = path.parent.name.endswith(".dist-info")
            if metadata and path.name in INSTALLERS_OWN:
                continue
            data = path.read_bytes()
            if metadata and path.name == "RECORD":
                data = record(data)
            if path.parent.name == "bin":
                data = re.sub(rb"^#!.*", b"#!python", data)
            found[path.relative_to(venv).as_posix()] = (bool(path.stat().st_mode & 0o100), data)
    return found


def record(data):
    """A RECORD's rows, less those of files that differ between installers by their nature."""
    rows = set()
    for row in csv.reader(io.StringIO(data.decode())):
        name = row[0]
        own = ".dist-info/" in name and name.endswith(INSTALLERS_OWN)
        if not own and not name.endswith(".pyc"):
            rows.add((name,) if "/bin/" in name else tuple(row))  # a script's hash covers its shebang
    return rows


def entry_points(venv):
    """The scripts that an installer makes of entry points."""
    found = set()
    for path in venv.glob("lib/python*/site-packages/*.dist-info/entry_points.txt"):
        parser = configparser.ConfigParser(delimiters=("=",))
        parser.optionxform = str
        parser.read_string(path.read_text())
        for section in ("console_scripts", "gui_scripts"):
            if parser.has_section(section):
                found |= {f"bin/{name}" for name in parser.options(section)}
    return found


def compare(ours, theirs):
    """The files that differ, but for what is there without any package: the environment's own and our runtime."""
    bare = re.compile(
        r"bin/(python[0-9.]*|[Aa]ctivate.*|deactivate.*|pydoc.*)"
        r"|lib/python[^/]*/site-packages/(_virtualenv.*|distutils-precedence.*|builder/.*)"
    )
    names = {name for name in (*ours, *theirs) if not bare.fullmatch(name)}
    return {name for name in names if ours.get(name) != theirs.get(name)}


def test_the_image_holds_the_files_that_uv_installs(image_tree, tmp_path):
    project, ours = image_tree
    venv = tmp_path / "venv"
    run(find_uv_bin(), "venv", "--quiet", "--no-config", "--python", sys.executable, venv)
    environment = {**os.environ, "VIRTUAL_ENV": str(venv)}
    lock = project.folder / "pylock.app.toml"
    run(find_uv_bin(), "pip", "install", "--preview", "--link-mode", "copy", "-r", lock, env=environment)
    assert compare(tree(ours), tree(venv)) == set()


def test_the_image_holds_the_files_that_pip_installs(image_tree, tmp_path):
    project, ours = image_tree
    venv = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv)
    lock = tomllib.loads((project.folder / "pylock.app.toml").read_text())
    wheels = {package["name"]: package["wheels"][0] for package in lock["packages"]}
    lines = [
        f"{name} @ {wheels[name]['url']} --hash=sha256:{wheels[name]['hashes']['sha256']}"
        for name in PIP.split()
    ]
    (tmp_path / "requirements.txt").write_text("\n".join(lines))
    words = ["install", "--no-deps", "--no-compile", "--quiet", "-r", tmp_path / "requirements.txt"]
    run(sys.executable, "-m", "pip", "--python", venv / "bin/python", *words)
    theirs = tree(venv)
    mine = {name: value for name, value in tree(ours).items() if name in theirs}
    # Each installer has a text of its own for the scripts it makes of entry points; ours is uv's (see above).
    for name in entry_points(venv):
        assert mine.pop(name)[0] == theirs.pop(name)[0]
    assert compare(mine, theirs) == set()
