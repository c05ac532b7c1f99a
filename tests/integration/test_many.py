"""Repositories of many apps: all are built in one Nix run, what they share once, and one that fails keeps no other."""

from __future__ import annotations

import json
import time

import pytest
import repositories
import small_index
from stores import steps

APP = """import builder


class {name}(builder.App):
    python_version = "3.11"
    requirements = {requirements!r}
    mark = {mark!r}
"""


@pytest.fixture(scope="module")
def index():
    with small_index.serving() as running:
        repositories.add_wheels(running, 3)
        broken = small_index.wheel("broken", more=[("broken/data.txt", "a" * 100)])
        running.add("broken", data=small_index.edited(broken, "broken/data.txt", crc=1))
        running.add("lacks", requires=["no-such-package"])
        yield running


@pytest.fixture
def repository(project, index):
    """A repository without apps; what is built in it has never been built."""
    project.env |= index.environment
    project.token = str(time.time_ns())
    return project


def write(project, folder, name, *requirements, mark=None):
    text = APP.format(name=name, requirements=list(requirements), mark=mark or project.token)
    project.write(f"{folder}/app.py", text)


def build_all(project, *words, code=0, **more):
    done = project.run("build", "--all", *words, "--json", check=False, **more)
    assert done.code == code, done.out + done.err
    return {app["target"]: app for app in json.loads(done.out)}, done


def test_all_apps_share_their_layers_and_have_the_digests_that_they_have_alone(repository):
    project = repository
    for number in range(3):
        write(project, f"services/a{number}", f"A{number}", "shared0", "shared1")
    write(project, "b", "B", "shared2")
    built, done = build_all(project, "-v")
    assert set(built) == {"b/app.py::B", *(f"services/a{n}/app.py::A{n}" for n in range(3))}
    assert done.err.count("Building 4 images") == 1
    for target, app in built.items():
        assert (project.folder / app["out_link"]).resolve() == project.folder / app["path"]
        assert app["built"] >= 2
        alone = project.build(
            target, "--no-link", env={"XDG_CACHE_HOME": str(project.folder / "other-cache")}
        )
        assert (alone["digest"], alone["built"]) == (app["digest"], 0)
    layers = [
        {step.path for step in steps(app["path"]) if "layer-shared" in step.name} for app in built.values()
    ]
    assert len(set().union(*layers)) == 3
    assert len([one for one in layers if one == layers[-1]]) == 3
    # Nothing is to be done again, and nothing is: not even Nix and uv are in reach.
    empty = project.folder / "bin"
    empty.mkdir()
    again, _ = build_all(project, "--no-link", env={"PATH": str(empty)})
    assert {target: (app["digest"], app["built"]) for target, app in again.items()} == {
        target: (app["digest"], 0) for target, app in built.items()
    }
    told = project.run("build", "--all", ".")
    assert "0 built, 4 unchanged, 0 failed" in told.out


def test_each_app_that_fails_is_told_with_its_reason_and_keeps_no_other(repository):
    project = repository
    write(project, "good", "Good", "shared0")
    write(project, "broken", "Broken", "shared0", "broken")
    write(project, "too", "Too", "broken")
    write(project, "unsolved", "Unsolved", "lacks")
    write(project, "twin", "Twin")
    write(project, "other", "Twin")
    project.write(
        "bad/app.py", APP.format(name="Bad", requirements=[], mark="") + "\nraise ValueError('hush')\n"
    )
    found, _ = build_all(project, code=3)
    good = found.pop("good/app.py::Good")
    assert good["built"] >= 2
    assert {target: app["error"]["kind"] for target, app in found.items()} == {
        "bad/app.py::Bad": "DeclarationError",
        "broken/app.py::Broken": "BuildError",
        "other/app.py::Twin": "DeclarationError",
        "too/app.py::Too": "BuildError",
        "twin/app.py::Twin": "DeclarationError",
        "unsolved/app.py::Unsolved": "ResolveError",
    }
    errors = {app["target"]: app["error"]["message"] for app in found.values()}
    for name in ("broken/app.py::Broken", "too/app.py::Too"):
        assert "broken-1.0-py3-none-any.whl" in errors[name]
        assert "broken/data.txt" in errors[name]
    assert "no-such-package" in errors["unsolved/app.py::Unsolved"]
    assert "its name, twin, is also that of twin/app.py::Twin" in errors["other/app.py::Twin"]
    told = project.run("build", "--all", check=False)
    assert told.code == 3
    assert "error: broken: broken-1.0-py3-none-any.whl" in told.err
    assert "0 built, 1 unchanged, 6 failed" in told.out


def test_frozen_names_every_lock_that_is_missing_or_out_of_date(repository):
    project = repository
    for name in ("a", "b", "c"):
        write(project, name, name.upper(), "shared0")
    build_all(project)
    (project.folder / "a/pylock.a.toml").unlink()
    write(project, "b", "B", "shared1")
    found, _ = build_all(project, "--frozen", code=5)
    messages = {target[0]: app["error"]["message"] for target, app in found.items() if "error" in app}
    assert set(messages) == {"a", "b"}
    assert "there is no lock" in messages["a"]
    assert "pylock.b.toml is out of date" in messages["b"]
    assert not (project.folder / "a/pylock.a.toml").exists()


def test_a_file_that_is_gone_is_looked_for_elsewhere_for_each_app(repository, index, tmp_path):
    project = repository
    filename = index.add(f"gone{project.token}", more=[("data.txt", project.token)])
    for name in ("a", "b"):
        write(project, name, name.upper(), f"gone{project.token}")
        project.run("lock", f"{name}/app.py")
    data = index.files.pop(filename)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / filename).write_bytes(data)
    found, _ = build_all(project, "--frozen", env={"PIP_FIND_LINKS": str(elsewhere)})
    assert all(app["built"] >= 2 for app in found.values())


def test_an_image_that_lacks_a_library_is_built_again_with_it(project):
    project.token = str(time.time_ns())
    write(project, "a", "A", "markupsafe==3.0.3")
    # Its module needs libodbc, which no wheel has and Debian does.
    write(project, "odbc", "Odbc", "pyodbc==5.3.0")
    found, done = build_all(project)
    assert set(found) == {"a/app.py::A", "odbc/app.py::Odbc"}
    assert "added to pylock.odbc.toml" in done.err
    assert '"libodbc2"' in (project.folder / "odbc/pylock.odbc.toml").read_text()
    assert "libodbc2" not in (project.folder / "a/pylock.a.toml").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--all", "--out-link", "x"], "--out-link is for one app"),
        (["--all", "--dry-run"], "--dry-run is for one app"),
        (["--all", "--push", "docker://h.example/team/app:1"], "{name}"),
        ([], "Missing argument 'TARGET'"),
    ],
)
def test_what_makes_no_sense_together_is_refused_in_words(project, words, said):
    done = project.run("build", *words, check=False)
    assert done.code == 2
    assert said in done.err


def test_a_folder_without_apps_or_none_at_all_is_told(project):
    done = project.run("build", "--all", check=False)
    assert (done.code, "has no app" in done.err) == (3, True)
    done = project.run("build", "--all", "app.py", check=False)
    assert (done.code, "is not a folder" in done.err) == (3, True)
