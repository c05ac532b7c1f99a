"""Building: what is done again, what is not, and what the command says."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def built(session_project):
    project = session_project("built")
    project.app(["six==1.17.0", "markupsafe==3.0.3", "numpy==2.3.5"])
    return project, project.build()


def test_the_summary_names_digest_size_layers_and_link(built):
    project, first = built
    link = project.folder / first["out_link"]
    assert link.resolve() == Path(first["path"])
    index = json.loads((link / "index.json").read_text())
    assert first["digest"] == index["manifests"][0]["digest"]
    done = project.run("build", "app.py")
    assert first["digest"] in done.out
    assert f"in {first['layers']} layers" in done.out
    assert "builder run app.py" in done.out


def test_an_unchanged_app_is_not_resolved_evaluated_or_built_again(built, tmp_path):
    project, first = built
    # Without nix and uv in reach, nothing can be: the answer must come from what is known.
    empty = tmp_path / "bin"
    empty.mkdir()
    again = project.build(env={"PATH": str(empty)})
    assert again["digest"] == first["digest"]
    assert again["built"] == 0


def test_changed_code_touches_only_the_last_layer(built):
    project, first = built
    source = (project.folder / "app.py").read_text()
    try:
        # In a way that no earlier run has had: what that built would be in the store.
        project.write("app.py", source + f"\n# changed {time.time_ns()}\n")
        changed = project.build()
    finally:
        project.write("app.py", source)
    before, after = layers(first["path"]), layers(changed["path"])
    assert before[:-1] == after[:-1]
    assert before[-1] != after[-1]
    assert changed["built"] == 2  # the code's layer and the image


@pytest.mark.parametrize("name", ["prompts/deep/one.txt", "helpers/core.py", "single.py"])
def test_a_changed_file_of_the_app_touches_only_the_last_layer(session_project, name):
    project = session_project("files")
    for path in (
        "prompts/deep/one.txt",
        "prompts/two.txt",
        "helpers/__init__.py",
        "helpers/core.py",
        "single.py",
    ):
        project.write(path, "")
    project.app(["six==1.17.0"], app_files=["prompts"], local_python_modules=["helpers", "single"])
    first = project.build()
    project.write(name, f"# changed {time.time_ns()}\n")
    changed = project.build()
    before, after = layers(first["path"]), layers(changed["path"])
    assert before[:-1] == after[:-1]
    assert before[-1] != after[-1]
    assert changed["built"] == 2  # the code's layer and the image


def test_one_more_small_requirement_changes_one_layer_and_rebuilds_no_other_wheel(built, session_project):
    _, first = built
    project = session_project("more")
    project.app(["six==1.17.0", "markupsafe==3.0.3", "numpy==2.3.5", "toolz==1.0.0"])
    more = project.build()
    assert (
        len(set(layers(more["path"])) - set(layers(first["path"]))) <= 2
    )  # the shared layer, and the code's
    assert more["built"] <= 6


def test_the_same_requirements_in_another_project_are_the_same_layers(built, session_project):
    _, first = built
    project = session_project("same")
    project.app(["numpy==2.3.5", "markupsafe==3.0.3", "six==1.17.0"], class_name="Other")
    other = project.build()
    assert layers(other["path"])[:-1] == layers(first["path"])[:-1]


def test_a_dry_run_says_what_would_be_built_and_builds_nothing(session_project):
    project = session_project("dry")
    project.app(["six==1.17.0"], body="    # never built: 7c1e\n    pass")
    project.run("lock", "app.py")
    before = set(Path("/nix/store").glob("*-image-app"))
    plan = json.loads(project.run("build", "app.py", "--dry-run", "--json").out)
    assert "image-app" in plan["build"]
    assert set(Path("/nix/store").glob("*-image-app")) == before
    assert not list(project.folder.glob("result*"))


def test_no_link_leaves_no_link(session_project):
    project = session_project("nolink")
    project.app(["six==1.17.0"])
    assert project.build("app.py", "--no-link")["out_link"] is None
    assert not list(project.folder.glob("result*"))


def test_the_rendered_expression_evaluates_pure_and_is_what_is_built(built):
    project, _ = built
    text = project.run("render", "app.py").out
    assert 'filename = "numpy-2.3.5-' in text
    parsed = subprocess.run(
        ["nix-instantiate", "--parse", "-"], input=text, capture_output=True, text=True, check=False
    )
    assert parsed.returncode == 0, parsed.stderr


def layers(path):
    index = json.loads((Path(path) / "index.json").read_text())
    manifest = json.loads(
        (Path(path) / "blobs" / index["manifests"][0]["digest"].replace(":", "/")).read_text()
    )
    return [layer["digest"] for layer in manifest["layers"]]
