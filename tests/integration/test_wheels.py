"""What is in an image is what uv and pip install from the same lock."""

from __future__ import annotations

import csv
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from uv import find_uv_bin

# Compiled code, scripts, data files, headers, namespaces, entry points, vendored trees, odd names.
UV = [
    "numpy", "pillow", "scipy", "pandas", "ruff", "black", "jupyterlab-widgets", "notebook-shim", "debugpy", "pyzmq",
    "tornado", "psutil", "lxml", "cryptography", "grpcio", "protobuf", "googleapis-common-protos", "zope-interface",
    "zope-event", "pyyaml", "markupsafe", "jinja2", "click", "rich", "httpx", "fastapi", "uvicorn", "websockets",
    "regex", "tokenizers", "safetensors", "matplotlib", "fonttools", "kiwisolver", "contourpy", "setuptools", "wheel",
    "pip", "cython", "ninja", "cmake", "pybind11", "greenlet", "sqlalchemy", "orjson", "msgpack", "aiohttp", "jsonschema",
    "nbconvert", "ipykernel", "sympy", "networkx", "tqdm", "pytest", "coverage", "mypy", "six", "attrs", "docutils",
]  # fmt: skip
PIP = [
    "numpy", "pillow", "ruff", "debugpy", "jupyterlab-widgets", "pyzmq", "lxml", "zope-interface", "googleapis-common-protos",
    "setuptools", "cython", "pybind11", "greenlet", "matplotlib", "docutils", "black", "uvicorn", "fonttools", "cmake", "tqdm",
]  # fmt: skip


@pytest.fixture(scope="module")
def image_tree(session_project, tmp_path_factory):
    """A project with the wheels, and the unpacked /opt/venv of its image."""
    project = session_project("wheels")
    project.app(UV)
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
    """Files of an environment that an installer wrote: path -> (executable, content with what may differ made equal)."""
    found = {}
    site = next((venv / "lib").glob("python*")) / "site-packages"
    for folder in (site, venv / "bin", venv / "share", venv / "etc", venv / "include"):
        for path in folder.rglob("*"):
            name = path.relative_to(venv).as_posix()
            if path.is_dir() or path.is_symlink() or "__pycache__" in path.parts:
                continue
            data = path.read_bytes()
            if path.name == "RECORD" and path.parent.name.endswith(".dist-info"):
                data = record(data)
            if path.parent.name.endswith(".dist-info") and path.name in ("INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"):
                continue  # names the installer, or how it was asked
            if path.parent.name == "bin":
                data = re.sub(rb"^#!.*", b"#!python", data)
            found[name] = (bool(path.stat().st_mode & 0o100), data)
    return found


def record(data):
    """A RECORD's rows, less those of files that differ between installers by their nature."""
    rows = set()
    for row in csv.reader(io.StringIO(data.decode())):
        name = row[0]
        own = name.endswith((".dist-info/INSTALLER", ".dist-info/REQUESTED", ".dist-info/direct_url.json", "uv_cache.json"))
        if own or name.endswith(".pyc"):
            continue
        script = "/bin/" in name  # its hash covers the shebang
        rows.add((name,) if script else tuple(row))
    return rows


def compare(ours, theirs):
    site = re.compile(r"^(lib/python[^/]*/site-packages/)(?:_virtualenv|distutils-precedence)")
    ours = {name: value for name, value in ours.items() if "/site-packages/builder/" not in name and not site.match(name)}
    theirs = {name: value for name, value in theirs.items() if not site.match(name)}
    own = {"bin/python", "bin/python3", "bin/python3.11"}
    activate = re.compile(r"^bin/([Aa]ctivate|deactivate|pydoc)")
    names = {name for name in (*ours, *theirs) if name not in own and not activate.match(name)}
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
    import tomllib

    lock = tomllib.loads((project.folder / "pylock.app.toml").read_text())
    wheels = {package["name"]: package["wheels"][0] for package in lock["packages"]}
    lines = [f"{name} @ {wheels[name]['url']} --hash=sha256:{wheels[name]['hashes']['sha256']}" for name in PIP]
    (tmp_path / "requirements.txt").write_text("\n".join(lines))
    words = ["install", "--no-deps", "--no-compile", "--quiet", "-r", tmp_path / "requirements.txt"]
    run(sys.executable, "-m", "pip", "--python", venv / "bin/python", *words)
    theirs = tree(venv)
    assert compare({name: value for name, value in tree(ours).items() if name in theirs}, theirs) == set()
