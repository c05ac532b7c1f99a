"""Workflows for forges: what is written, for which apps, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from ruamel.yaml import YAML

from builder.app_search import FoundApp, find_apps
from builder.cli import run
from builder.errors import DeclarationError
from builder.installed_from import requirement
from builder.version import version
from builder.workflows import FILES, Forge, workflow

if TYPE_CHECKING:
    from pathlib import Path

FORGES: tuple[Forge, ...] = ("github", "gitlab")
APPS = (FoundApp("one", "one.py"), FoundApp("two", 'apps/it\'s "two".py::Two'))
COMMIT = "0" * 40


def app(name: str = "App", sdk: str = "builder", more: str = "    pass") -> str:
    return f"import {sdk}\n\nclass {name}({sdk}.App):\n{more}\n"


@pytest.mark.parametrize("forge", FORGES)
def test_a_workflow_is_one_by_the_forges_schema(forge: Forge, tmp_path: Path) -> None:
    path = tmp_path / "workflow.yml"
    path.write_text(workflow(forge, APPS, requirement="builder>=1 ; python_version<'4'", branch="trunk"))
    schema = {
        "github": ["vendor.github-workflows"],
        "gitlab": ["vendor.gitlab-ci", "--data-transform", "gitlab-ci"],
    }
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", *schema[forge], str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


@pytest.mark.parametrize("forge", FORGES)
def test_apps_branch_and_requirement_are_in_it_as_they_were_given(forge: Forge) -> None:
    wanted = "builder>=1 ; python_version<'4'"
    found = YAML(typ="safe").load(workflow(forge, APPS, requirement=wanted, branch="a: b"))
    if forge == "github":
        assert found["env"]["BUILDER_REQUIREMENT"] == wanted
        assert found["on"]["push"]["branches"] == ["a: b"]
        matrix = found["jobs"]["image"]["strategy"]["matrix"]["include"]
        assert matrix == [{"name": one.name, "target": one.target} for one in APPS]
    else:
        assert found["variables"]["BUILDER_REQUIREMENT"] == wanted
        matrix = found["images"]["parallel"]["matrix"]
        assert matrix == [{"NAME": one.name, "TARGET": one.target} for one in APPS]


def test_no_shell_of_githubs_holds_an_expression_and_only_checkout_is_used() -> None:
    # What is put into a script by the forge could be code.
    job = YAML(typ="safe").load(workflow("github", APPS, requirement="builder", branch="main"))["jobs"][
        "image"
    ]
    assert not any("${{" in step.get("run", "") for step in job["steps"])
    [used] = [step["uses"] for step in job["steps"] if "uses" in step]
    assert used.partition("@")[0] == "actions/checkout"
    assert len(used.partition("@")[2]) == len(COMMIT)


@pytest.mark.parametrize(
    "wanted", ["builder @ https://me:hush@host/builder.whl", "--index-url=x", "a\nb", " "]
)
def test_a_requirement_that_is_none_or_has_a_password_is_refused(wanted: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        workflow("github", APPS, requirement=wanted, branch="main")
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("forge", FORGES)
def test_a_file_that_is_there_is_written_anew_only_by_force(
    forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text(app())
    path = tmp_path / FILES[forge]
    assert run(["init", "--ci", forge, "--install", "builder==1"]) == 0
    written = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o644
    assert run(["init", "--ci", forge, "--install", "builder==1"]) == 0
    path.write_text("mine")
    capsys.readouterr()
    assert run(["init", "--ci", forge, "--install", "builder==1"]) == 3
    said = capsys.readouterr()
    assert (path.read_text(), said.out) == ("mine", "")
    assert "is there already" in said.err
    assert run(["init", "--ci", forge, "--install", "builder==1", "--force"]) == 0
    assert path.read_text() == written


def test_init_without_anything_to_write_is_wrong_usage() -> None:
    assert run(["init"]) == 2


def test_a_workflow_below_the_top_of_a_repository_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert run(["init", "--ci", "github"]) == 3
    assert f"Run this in {tmp_path}" in capsys.readouterr().err


def test_apps_of_pyproject_are_taken_before_those_of_files(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(app())
    (tmp_path / "other.py").write_text(app("Other"))
    assert find_apps(tmp_path) == (FoundApp("app", "app.py::App"), FoundApp("other", "other.py::Other"))
    (tmp_path / "pyproject.toml").write_text(
        '[tool.builder.apps.one]\nref = "app.py"\n[tool.fal.apps.TwoApp]\nref = "other.py::Other"\n'
    )
    assert find_apps(tmp_path) == (FoundApp("one", "one"), FoundApp("two-app", "TwoApp"))
    assert find_apps(tmp_path, ["app.py::App"]) == (FoundApp("app", "app.py::App"),)


def test_apps_are_classes_that_derive_from_the_sdks_app_and_nothing_is_run(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("class App(:")
    (tmp_path / "none.py").write_text("class App: pass\nclass Other(App): pass\n")
    (tmp_path / "raises.py").write_text(
        "from fal import App as Base\nclass MyModel(Base): pass\nraise Exception\n"
    )
    (tmp_path / "two.py").write_text(app("A") + app("B", "fal", "    app_name = 'Named'"))
    for folder in (".hidden", "env", "node_modules"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "app.py").write_text(app("Hidden"))
    (tmp_path / "env/pyvenv.cfg").touch()
    assert find_apps(tmp_path) == (
        FoundApp("my-model", "raises.py::MyModel"),
        FoundApp("a", "two.py::A"),
        FoundApp("named", "two.py::B"),
    )


def test_no_app_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="has no app"):
        find_apps(tmp_path)
    (tmp_path / "a.py").write_text(app())
    (tmp_path / "b.py").write_text(app())
    with pytest.raises(DeclarationError, match=r"two apps are called app: a\.py::App, b\.py::App"):
        find_apps(tmp_path)


@pytest.mark.parametrize(
    ("direct_url", "wanted"),
    [
        ("", f"builder=={version()}"),
        ('{"url": "file:///home/me/builder", "dir_info": {"editable": true}}', f"builder=={version()}"),
        (
            f'{{"url": "https://host/b.git", "vcs_info": {{"vcs": "git", "commit_id": "{COMMIT}"}}}}',
            f"builder @ git+https://host/b.git@{COMMIT}",
        ),
        (
            '{"url": "https://host/b.zip", "archive_info": {"hashes": {"sha256": "abc"}}, "subdirectory": "sub"}',
            "builder @ https://host/b.zip#sha256=abc&subdirectory=sub",
        ),
        ('{"url": "https://me:hush@host/builder.whl", "archive_info": {}}', f"builder=={version()}"),
    ],
)
def test_what_this_program_was_installed_from_is_what_others_install(direct_url: str, wanted: str) -> None:
    assert requirement(direct_url) == wanted
