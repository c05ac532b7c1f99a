"""Libraries of the system that packages need."""

from __future__ import annotations

import json


def test_a_module_that_cannot_be_imported_is_told_with_the_debian_package(project):
    project.app(["opencv-python==4.12.0.88"])
    done = project.run("build", "app.py", "--json")
    labels = json.loads(done.out)["labels"]
    assert "opencv-python 4.12.0.88: libGL.so.1 for cv2/cv2.abi3.so" in labels["builder.link.missing"]
    assert "note: these modules cannot be imported" in done.err
    named = json.loads(done.err.partition("system_packages = ")[2].partition("]")[0] + "]")
    assert "libgl1" in named
    # It is right: so says the loader, and what was named puts an end to it.
    code = "import cv2"
    failed = project.run("run", "app.py", "--", "python", "-c", code, check=False)
    assert "libGL.so.1: cannot open shared object file" in failed.err
    project.app(["opencv-python==4.12.0.88"], system_packages=named)
    mended = project.run("build", "app.py", "--json")
    assert "cannot be imported" not in mended.err
    assert "builder.link.missing" not in json.loads(mended.out)["labels"]
    assert (
        project.run("run", "app.py", "--", "python", "-c", code + "; print(cv2.__version__)").out.strip()
        == "4.12.0"
    )


def test_packages_that_lack_nothing_are_not_spoken_of(project):
    project.app(["numpy==2.3.5", "pillow==12.0.0", "scipy==1.16.3", "psycopg2-binary==2.9.11"])
    done = project.run("build", "app.py", "--json")
    assert done.err == ""
    assert not any(label.startswith("builder.link") for label in json.loads(done.out)["labels"])
