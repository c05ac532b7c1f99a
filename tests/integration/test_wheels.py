"""What is in an image is what uv and pip install from the same lock, and its compiled modules can be imported."""

from __future__ import annotations

import configparser
import csv
import io
import json
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
pytest coverage mypy six attrs docutils scikit-learn h5py shapely numba uvloop httptools watchfiles psycopg2-binary
zstandard lz4 brotli ujson rapidfuzz bcrypt pynacl pycryptodome xxhash pyproj glfw pygame mpi4py levenshtein
pyinstrument line-profiler murmurhash cymem preshed ormsgpack pyclipper frozendict immutables asyncpg hiredis soundfile
sentencepiece opencv-python-headless
"""
PIP = """
numpy pillow ruff debugpy jupyterlab-widgets pyzmq lxml zope-interface googleapis-common-protos setuptools cython
pybind11 greenlet matplotlib docutils black uvicorn fonttools cmake tqdm
"""
# Back ends and plugins of these lack libraries that no import asks for.
OPTIONAL = {"mpi4py", "numba", "pygame"}
# Imports, in a container, the top-level modules of all packages that have compiled parts; prints those that failed.
IMPORT_ALL = """
import concurrent.futures, importlib.metadata, json, subprocess, sys

compiled = {
    distribution.metadata["Name"]
    for distribution in importlib.metadata.distributions()
    if any(".so" in file.name for file in distribution.files)
}
modules = sorted(
    module
    for module, names in importlib.metadata.packages_distributions().items()
    if compiled.intersection(names) and module.isidentifier() and not module.startswith("_")
)

def attempt(module):
    done = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True)
    return module, done.returncode, done.stderr[-500:]

with concurrent.futures.ThreadPoolExecutor(2) as pool:
    results = list(pool.map(attempt, modules))
print(json.dumps([len(compiled), [result for result in results if result[1]]]))
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


def test_what_the_link_check_passes_can_be_imported(image_tree):
    project, venv = image_tree
    assert len(list(venv.glob("lib/python*/site-packages/*.dist-info"))) >= 150
    compiled, failed = json.loads(project.run("run", "app.py", "--", "python", "-c", IMPORT_ALL).out)
    assert compiled >= 75
    assert failed == []
    # It told of nothing that is there: these have parts whose needs nothing meets, and say so when they are loaded.
    image = json.loads(project.run("build", "app.py", "--json").out)
    told = image["labels"]["builder.link.optional"].split("; ")
    assert {entry.partition(" ")[0] for entry in told} == OPTIONAL
    missing = {}
    for entry in told:
        name, _, library = entry.partition(": ")[2].partition(" for ")
        path = f"/opt/venv/lib/python3.11/site-packages/{library.partition(' and ')[0]}"
        missing.setdefault(path, set()).add(name)
    for path, names in missing.items():
        code = f"import ctypes; ctypes.CDLL({path!r})"
        loaded = project.run("run", "app.py", "--", "python", "-c", code, check=False)
        said = loaded.err.rpartition("OSError: ")[2]
        assert any(said.startswith(f"{name}: cannot open shared object file") for name in names)


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
