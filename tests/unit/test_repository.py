"""Finding the apps of a repository without running its files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builder.errors import DeclarationError
from builder.repository import find_apps

if TYPE_CHECKING:
    from pathlib import Path

# Whoever runs a file of these tests finds out.
RUN = "\nraise SystemExit('this file was run')\n"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + RUN if name.endswith(".py") else text)
    return root


@pytest.mark.parametrize(
    "text",
    [
        "import builder\nclass One(builder.App): pass",
        "import builder as b\nclass One(b.App): pass",
        "from builder import App\nclass One(App): pass",
        "from builder import App as Base\nclass One(Base, object): pass",
        "import fal\nclass One(fal.App, keep_alive=300): pass",
        "from fal import App\nclass One(App): pass",
        "try:\n    import builder\nexcept ImportError:\n    pass\nclass One(builder.App): pass",
        "import sys, builder\nif sys.version_info:\n    class One(builder.App): pass",
        "import builder\nclass _Base(builder.App): pass\nclass One(_Base): pass",
    ],
)
def test_a_class_that_derives_from_app_is_found_whatever_app_is_called_there(
    tmp_path: Path, text: str
) -> None:
    assert find_apps(write(tmp_path, {"services/one.py": text})) == ["services/one.py::One"]


@pytest.mark.parametrize(
    "text",
    [
        "class App: pass\nclass One(App): pass",
        "from flask import App\nclass One(App): pass",
        "import builder\ndef make():\n    class One(builder.App): pass",
        "import builder\nclass One(builder.endpoint): pass",
        "class One(One): pass",
        "import builder\nclass One(builder.App) pass",
    ],
)
def test_what_is_no_app_is_not_found(tmp_path: Path, text: str) -> None:
    with pytest.raises(DeclarationError, match="has no app"):
        find_apps(write(tmp_path, {"one.py": text}))


@pytest.mark.parametrize(
    ("base", "user", "statement"),
    [
        ("common.py", "app.py", "from common import Base"),
        ("common.py", "services/app.py", "from common import Base"),
        ("services/common.py", "services/app.py", "from common import Base"),
        ("team/__init__.py", "services/app.py", "from team import Base"),
        ("team/deep/common.py", "app.py", "from team.deep.common import Base"),
        ("team/common.py", "team/app.py", "from .common import Base"),
        ("common.py", "team/app.py", "from ..common import Base"),
    ],
)
def test_a_base_may_be_in_another_file_of_the_repository(
    tmp_path: Path, base: str, user: str, statement: str
) -> None:
    root = write(
        tmp_path,
        {base: "import builder\nclass Base(builder.App): pass", user: f"{statement}\nclass One(Base): pass"},
    )
    assert f"{user}::One" in find_apps(root)


def test_a_base_by_the_name_of_its_module_is_found(tmp_path: Path) -> None:
    base = "import builder\nclass _Base(builder.App): pass"
    app = "import team.common\nclass One(team.common._Base): pass"
    assert find_apps(write(tmp_path, {"team/common.py": base, "app.py": app})) == ["app.py::One"]


def test_files_import_each_other_without_end(tmp_path: Path) -> None:
    files = {"a.py": "from b import B\nclass A(B): pass", "b.py": "from a import A\nclass B(A): pass"}
    with pytest.raises(DeclarationError, match="has no app"):
        find_apps(write(tmp_path, files))


def test_tests_hidden_folders_environments_and_what_git_ignores_are_left_out(tmp_path: Path) -> None:
    app = "import builder\nclass One(builder.App): pass"
    elsewhere = ["test_one.py", "one_test.py", "conftest.py", ".hidden/one.py", "venv/one.py", "build/one.py"]
    root = write(tmp_path, dict.fromkeys([*elsewhere, "env/one.py", "kept.py"], app))
    write(root, {".gitignore": "build/\n", "env/pyvenv.cfg": ""})
    assert find_apps(root) == ["kept.py::One"]


def test_apps_that_pyproject_names_are_all_there_are(tmp_path: Path) -> None:
    table = (
        '[tool.builder.apps.b]\nref = "one.py"\n[tool.fal.apps.a]\nref = "one.py::One"\n[tool.fal.apps.b]\n'
    )
    root = write(
        tmp_path, {"one.py": "import builder\nclass One(builder.App): pass", "pyproject.toml": table}
    )
    assert find_apps(root) == ["b", "a"]


def test_the_apps_of_a_pyproject_above_are_not_the_folders(tmp_path: Path) -> None:
    write(tmp_path, {"pyproject.toml": '[tool.builder.apps.other]\nref = "other.py"\n'})
    root = write(tmp_path / "sub", {"one.py": "import builder\nclass One(builder.App): pass"})
    assert find_apps(root) == ["one.py::One"]


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="is not a folder") as caught:
        find_apps(tmp_path / "app.py")
    assert "without --all" in caught.value.hint
