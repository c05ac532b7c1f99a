"""Every Python on both processors: images run with all of Python, and those for ARM are made of ARM's parts."""

from __future__ import annotations

import json
import struct
import tarfile
from pathlib import Path

import pytest
from conftest import free_port, get_json
from stores import steps
from test_run import running

PYTHONS = ["3.9", "3.11", "3.13", "3.14"]
AARCH64 = 183  # e_machine of the ELF specification
REQUIREMENTS = ["pyyaml==6.0.3", "attrs==25.3.0", "six==1.17.0"]

PROBE = """
    @builder.endpoint("/probe")
    def probe(self) -> dict:
        import importlib, os, ssl, sys, yaml, zoneinfo

        for name in ("bz2", "ctypes", "curses", "dbm.gnu", "decimal", "ensurepip", "hashlib", "lzma"):
            importlib.import_module(name)
        for name in ("multiprocessing", "readline", "sqlite3", "uuid", "venv", "xml.etree", "zlib"):
            importlib.import_module(name)
        for folder in (".", "~", "/tmp"):
            with open(os.path.expanduser(folder + "/writable"), "w") as file:
                file.write("yes")
        cached = {name: getattr(module, "__cached__", None) for name, module in list(sys.modules.items())}
        return {
            "python": "%d.%d" % sys.version_info[:2],
            "user": os.getuid(),
            "prefix": sys.prefix,
            "encoding": sys.stdout.encoding,
            "libyaml": yaml.__with_libyaml__,
            "authorities": len(ssl.create_default_context().get_ca_certs()) > 50,
            "zone": str(zoneinfo.ZoneInfo("Europe/Berlin")),
            "compiled now": [
                name for name, path in cached.items()
                if path and path.startswith("/usr/lib/") and not os.path.exists(path)
            ],
        }
"""


@pytest.mark.parametrize("python", PYTHONS)
def test_an_app_is_served_by_each_python_with_its_whole_standard_library(project, python):
    project.app(REQUIREMENTS, python=python, body=PROBE)
    project.build()
    port = free_port()
    with running(project, "app.py", "--port", str(port)) as process:
        get_json(f"http://127.0.0.1:{port}/health", attempts=300)
        answer = get_json(f"http://127.0.0.1:{port}/probe", {})
        process.terminate()
        process.communicate(timeout=60)
    assert answer == {
        "python": python,
        "user": 1000,
        "prefix": "/opt/venv",
        "encoding": "utf-8",
        "libyaml": True,
        "authorities": True,
        "zone": "Europe/Berlin",
        # Of the standard library, all but Debian's link into /etc was compiled when the image was built.
        "compiled now": ["sitecustomize"],
    }


@pytest.mark.parametrize("python", PYTHONS)
def test_an_image_for_arm_is_made_on_any_machine(project, python):
    project.app(REQUIREMENTS, python=python)
    here = project.build("app.py", "--platform", "linux/amd64", "--no-link")
    arm = project.build("app.py", "--platform", "linux/arm64", "--no-link")
    index = json.loads(Path(arm["path"], "index.json").read_text())
    assert index["manifests"][0]["platform"] == {"architecture": "arm64", "os": "linux"}
    config = Path(arm["path"], "blobs", arm["image_id"].replace(":", "/"))
    assert json.loads(config.read_text())["architecture"] == "arm64"

    # Wheels without machine code are the same layers; all others have none but ARM's.
    ours, theirs = outputs(here), outputs(arm)
    for name in ("layer-attrs-25.3.0", "layer-six-1.17.0", "layer-app", "layer-runtime"):
        assert ours[name] == theirs[name]
    assert ours["layer-pyyaml-6.0.3"] != theirs["layer-pyyaml-6.0.3"]
    base = files(theirs[f"layer-base-python{python}-aarch64"])
    programs = {**programs_in(base), **programs_in(files(theirs["layer-pyyaml-6.0.3"]))}
    assert set(programs.values()) == {AARCH64}
    assert f"usr/bin/python{python}" in programs
    assert any("/yaml/_yaml." in name for name in programs)

    # The same source is the same bytecode, which x86_64's Python compiled for both.
    other = files(ours[f"layer-base-python{python}-x86_64"])
    compiled = [
        name for name in base if name.endswith(".pyc") and base.get(source(name)) == other.get(source(name))
    ]
    assert len(compiled) > 500
    assert all(base[name] == other[name] for name in compiled)


def outputs(image):
    return {step.name: step.out for step in steps(image["path"])}


def files(layer):
    with tarfile.open(layer / "blob") as archive:
        return {member.name: archive.extractfile(member).read() for member in archive if member.isreg()}


def programs_in(files):
    """The processor that each ELF file is for."""
    return {
        name: struct.unpack_from("<H", data, 18)[0]
        for name, data in files.items()
        if data.startswith(b"\x7fELF")
    }


def source(compiled):
    folder, name = compiled.split("/__pycache__/")
    return f"{folder}/{name.split('.')[0]}.py"
