"""Whether an image can be made again, and what differs where it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

BACKEND = """
import os, time, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "planted-1.0-py3-none-any.whl"
    files = {
        "planted/__init__.py": "same = 1\\n",
        "planted/when.py": f"made = {time.time_ns()}\\n",
        "planted-1.0.dist-info/METADATA": "Metadata-Version: 2.1\\nName: planted\\nVersion: 1.0\\n",
        "planted-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        "planted-1.0.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
    return name
"""


def test_an_image_that_can_be_made_again_passes_step_by_step(project):
    project.app(["humanize==4.14.0", "markupsafe==3.0.3"])
    digest = project.build()["digest"]
    done = project.run("check", "app.py", "--json", "--junit", "check.xml")
    said = json.loads(done.out)
    assert (said["digest"], said["different"]) == (digest, [])
    suite = ET.fromstring((project.folder / "check.xml").read_text())
    assert (suite.get("tests"), suite.get("failures")) == (str(said["steps"]), "0")
    names = {case.get("name") for case in suite}
    assert {"image-app", "rootfs-python3.11-x86_64", "layer-markupsafe-3.0.3", "layer-app"} <= names
    # What is pinned by its hash is not made, so it is not made again.
    assert not any(name.endswith((".whl", ".deb")) for name in names)


def test_what_differs_from_build_to_build_is_named_and_both_are_kept(project):
    project.write(
        "planted/pyproject.toml", '[build-system]\nrequires = []\nbuild-backend = "b"\nbackend-path = ["."]\n'
    )
    project.write("planted/b.py", BACKEND)
    project.app(["./planted"])
    project.build()
    done = project.run("check", "app.py", "--json", "--junit", "check.xml", check=False)
    assert done.code == 1
    found = {entry["name"]: entry for entry in json.loads(done.out)["different"]}
    wheel = found["wheel-planted"]
    changed = "planted-1.0-py3-none-any.whl!planted/when.py"
    [offset] = [file["offset"] for file in wheel["files"] if file["path"] == changed]
    assert offset > len("made = ")
    assert not any(file["path"].endswith("planted/__init__.py") for file in wheel["files"])
    first, second = map(Path, wheel["results"])
    assert (first / "planted-1.0-py3-none-any.whl").exists()
    assert (second / "planted-1.0-py3-none-any.whl").exists()
    suite = ET.fromstring((project.folder / "check.xml").read_text())
    assert changed in next(case for case in suite if case.get("name") == "wheel-planted")[0].text
    shown = project.run("check", "app.py", check=False)
    assert "wheel-planted: not the same" in shown.out


def test_a_check_that_cannot_be_made_is_told_from_one_that_fails(project):
    project.app(["humanize==4.14.0", "no-such-package-anywhere"])
    assert project.run("check", "app.py", check=False).code == 2
