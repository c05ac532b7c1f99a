"""Whether an image can be made again, and what differs where it cannot."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sysconfig
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import registry_server

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
    assert (said["digest"], said["different"], said["comparisons"]) == (digest, [], [])
    assert "has no digest recorded" in done.err
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
    env = {"PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"}
    done = project.run("check", "app.py", "--json", "--junit", "check.xml", check=False, env=env)
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
    assert "made = " in Path(wheel["report"]).read_text()
    suite = ET.fromstring((project.folder / "check.xml").read_text())
    assert changed in next(case for case in suite if case.get("name") == "wheel-planted")[0].text
    shown = project.run("check", "app.py", check=False)
    assert "wheel-planted: not the same" in shown.out


def test_a_check_that_cannot_be_made_is_told_from_one_that_fails(project):
    project.app(["humanize==4.14.0", "no-such-package-anywhere"])
    assert project.run("check", "app.py", check=False).code == 2


@pytest.fixture
def registry(tmp_path):
    folder = tmp_path / "registry"
    folder.mkdir()
    with registry_server.running(folder) as server:
        yield server


def outcomes(done):
    return {entry["kind"]: entry for entry in json.loads(done.out)["comparisons"]}


def test_an_image_is_compared_with_what_its_lock_a_cache_and_a_registry_have(project, registry, tmp_path):
    env = {**registry.environment(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "conf")}
    project.app(["humanize==4.14.0"])
    digest = project.build()["digest"]
    lock = project.folder / "pylock.app.toml"
    recorded = json.loads(project.run("lock", "app.py", "--record-digest", "--json").out)
    assert (recorded["recorded"], recorded["changed"]) == (digest, True)
    assert digest in lock.read_text()
    # The image is labelled with the lock's digest: what is recorded must not change that.
    assert project.build()["digest"] == digest
    again = json.loads(project.run("lock", "app.py", "--record-digest", "--json").out)
    assert (again["recorded"], again["changed"]) == (digest, False)
    project.run("cache", "keygen", "me", env=env)
    project.run("cache", "push", "app.py", "--cache", "cache", env=env)
    one, two, both = (f"docker://{registry.host}/team/app:{tag}" for tag in ("1", "2", "both"))
    project.run("push", "app.py", one, env=env)
    project.app(["humanize==4.14.0"], name="other.py", class_name="App", body="    other = 1")
    other = json.loads(project.run("push", "other.py", two, "--json", env=env).out)["digest"]
    # An index has both: the one for this image's processor counts.
    entries = [described(registry, other, "arm64", env), described(registry, digest, "amd64", env)]
    registry.put_index("team/app:both", *entries)
    words = ("check", "app.py", "--json", "--cache", "cache", "--registry")
    found = outcomes(project.run(*words, both, env=env))
    assert {kind: entry["state"] for kind, entry in found.items()} == dict.fromkeys(
        ("recorded", "cache", "registry"), "same"
    )
    assert found["registry"]["there"] == digest

    # Another image under a tag, and another layer at the same path of the cache.
    blob = forge_layer(project.folder / "cache")
    done = project.run(*words, two, "--junit", "check.xml", env=env, check=False)
    assert done.code == 1
    found = outcomes(done)
    assert (found["recorded"]["state"], found["registry"]["state"]) == ("same", "different")
    layers = {part["name"]: part for part in found["registry"]["parts"]}
    assert [file["path"] for file in layers["layer app"]["files"]][:2] == [
        "blob!app/app.py",
        "blob!app/other.py",
    ]
    [part] = found["cache"]["parts"]
    assert part["name"].startswith("layer-app")
    assert part["files"] == [{"path": "layer.json", "offset": blob}]
    for first, second in (part["results"], layers["layer app"]["results"]):
        assert Path(first).exists()
        assert Path(second).exists()
    suite = ET.fromstring((project.folder / "check.xml").read_text())
    assert (suite.get("failures"), suite.get("errors")) == ("2", "0")

    # What changes after it was recorded is said.
    project.app(["humanize==4.14.0"], body="    changed = 1")
    done = project.run("check", "app.py", "--cache", "cache", "--registry", f"{registry.host}/team/none:1", env=env,
                       check=False)  # fmt: skip
    assert done.code == 1
    assert "the app's own files have changed" in done.out
    assert "layer app: not the same" in done.out
    assert done.out.count("could not be compared") == 2
    project.app(["humanize==4.14.0", "tomli==2.2.1"])
    project.run("lock", "app.py")
    assert "recorded" not in lock.read_text()


def described(registry, digest, architecture, env):
    """A manifest of team/app as an index describes it."""
    words = ["skopeo", "inspect", "--raw", f"docker://{registry.host}/team/app@{digest}"]
    text = subprocess.run(words, capture_output=True, check=True, env={**os.environ, **env}).stdout
    platform = {"os": "linux", "architecture": architecture}
    return {
        "mediaType": json.loads(text)["mediaType"],
        "digest": digest,
        "size": len(text),
        "platform": platform,
    }


def forge_layer(cache):
    """Change a byte of what a cache has of the layer of the app's code; return which byte of layer.json it is."""
    found = {
        path: re.search(r"^StorePath: .*-layer-app$", path.read_text(), re.MULTILINE)
        for path in cache.glob("*.narinfo")
    }
    [narinfo] = [path for path, is_app in found.items() if is_app]
    text = narinfo.read_text()
    nar = cache / re.search(r"^URL: (.*)", text, re.MULTILINE)[1]
    layer = cache / "forged"
    subprocess.run(["nix-store", "--restore", layer], input=nar.read_bytes(), check=True)
    known = (layer / "layer.json").read_bytes()
    place = known.index(b"sha256:") + len(b"sha256:")
    (layer / "layer.json").write_bytes(known[:place] + b"x" + known[place + 1 :])
    nar.write_bytes(subprocess.run(["nix-store", "--dump", layer], capture_output=True, check=True).stdout)
    words = ["nix-hash", "--type", "sha256", "--base32", "--flat", nar]
    hashed = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    narinfo.write_text(re.sub(r"^((Nar|File)Hash: sha256:).*", rf"\g<1>{hashed}", text, flags=re.MULTILINE))
    return place


def test_a_digest_is_recorded_of_nothing_that_may_not_be_written(project):
    project.app([])
    done = project.run("lock", "app.py", "--frozen", "--record-digest", check=False)
    assert done.code == 5
