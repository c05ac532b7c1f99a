from __future__ import annotations

from pathlib import Path

import pytest

from builder.errors import DeclarationError
from builder.target import app_name, find_target


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text("")
    return tmp_path


def table(project: Path, text: str) -> None:
    (project / "pyproject.toml").write_text(text)


def test_a_file_and_a_class_are_parted(project: Path) -> None:
    target = find_target("app.py::Upscale", cwd=project)
    assert (target.file, target.class_name, target.root) == (project / "app.py", "Upscale", project)


def test_a_file_alone_leaves_the_class_open(project: Path) -> None:
    assert find_target(str(project / "app.py"), cwd=Path("/")).class_name is None


def test_the_root_is_the_folder_of_the_app_file(project: Path) -> None:
    (project / "sub").mkdir()
    (project / "sub/app.py").write_text("")
    assert find_target("sub/app.py", cwd=project).root == project / "sub"


def test_an_app_file_that_is_a_link_stays_where_the_link_is(project: Path) -> None:
    (project / "sub").mkdir()
    (project / "sub/link.py").symlink_to(project / "app.py")
    assert find_target("sub/link.py", cwd=project).file == project / "sub/link.py"


@pytest.mark.parametrize(
    ("target", "message", "hint"),
    [
        ("ap.py", "there is no file ap.py", "Did you mean app.py?"),
        ("nothing/like/it.py::A", "there is no file nothing/like/it.py", ""),
        ("app.txt::A", "app.txt is not a Python file", "An app file's name ends in .py."),
        ("app.py::", "app.py::: '' is not a class name", "A target is app.py::Class."),
        ("app.py::a b", "app.py::a b: 'a b' is not a class name", "A target is app.py::Class."),
        (".", ". is a folder, not a Python file", "Did you mean ./app.py?"),
        ("folder.py", "folder.py is a folder, not a Python file", ""),
    ],
)
def test_a_target_that_is_no_app_file_gives_one_clear_error(
    project: Path, target: str, message: str, hint: str
) -> None:
    (project / "folder.py").mkdir()
    with pytest.raises(DeclarationError) as raised:
        find_target(target, cwd=project)
    assert str(raised.value) == message
    assert raised.value.hint.endswith(hint)


def test_a_name_is_looked_up_in_pyproject_from_the_folder_upwards(project: Path) -> None:
    table(project, '[tool.builder.apps.up]\nref = "app.py::Upscale"\nnum_gpus = 2\n')
    (project / "deep/down").mkdir(parents=True)
    target = find_target("up", cwd=project / "deep/down")
    assert (target.name, target.file, target.class_name) == ("up", project / "app.py", "Upscale")
    assert (target.root, target.table, target.settings) == (project, "builder", {"num_gpus": 2})


def test_a_name_counts_before_a_folder_that_is_called_the_same(project: Path) -> None:
    (project / "pyproject.toml").write_text('[tool.builder.apps.demo]\nref = "app.py"\n')
    (project / "demo").mkdir()
    assert find_target("demo", cwd=project).name == "demo"


def test_a_pyproject_without_apps_is_passed_over(project: Path) -> None:
    table(project, '[tool.builder.apps.up]\nref = "app.py"\n')
    (project / "sub").mkdir()
    table(project / "sub", '[project]\nname = "sub"\n')
    assert find_target("up", cwd=project / "sub").root == project


def test_an_unknown_name_is_refused_with_those_there_are(project: Path) -> None:
    table(project, '[tool.builder.apps.upscale]\nref = "app.py"\n[tool.fal.apps.other]\nref = "app.py"\n')
    with pytest.raises(DeclarationError) as raised:
        find_target("upscal", cwd=project)
    assert str(raised.value) == f"{project}/pyproject.toml has no app upscal"
    assert raised.value.hint == "It has: upscale, other. Did you mean upscale?"


def test_a_name_without_any_pyproject_says_what_a_target_is(project: Path) -> None:
    with pytest.raises(
        DeclarationError, match=r"upscale is not a Python file, and no pyproject.toml"
    ) as raised:
        find_target("upscale", cwd=project)
    assert "app.py::Class" in raised.value.hint


def test_an_unknown_key_of_our_table_is_refused_by_name(project: Path) -> None:
    table(project, '[tool.builder.apps.up]\nref = "app.py"\nmachine_typ = "L"\n')
    with pytest.raises(
        DeclarationError, match=r"\[tool.builder.apps.up\]: unknown key machine_typ"
    ) as raised:
        find_target("up", cwd=project)
    assert raised.value.hint == "Did you mean machine_type?"


def test_an_unknown_key_of_a_fal_table_is_a_label(project: Path) -> None:
    table(project, '[tool.fal.apps.up]\nref = "app.py"\nauth = "public"\nmachine_type = "L"\n')
    target = find_target("up", cwd=project)
    assert (target.settings, target.labels) == ({"machine_type": "L"}, {"auth": "public"})


def test_a_fal_name_becomes_one_that_a_lock_can_have(project: Path) -> None:
    table(
        project, '[tool.fal.apps."My.App"]\nref = "app.py"\n[tool.fal.apps.b]\nref = "app.py"\nname = "Big"\n'
    )
    assert find_target("My.App", cwd=project).name == "my-app"
    assert find_target("b", cwd=project).name == "big"


def test_a_name_of_ours_must_be_one_that_a_lock_can_have(project: Path) -> None:
    table(project, '[tool.builder.apps."my.app"]\nref = "app.py"\n')
    with pytest.raises(DeclarationError, match=r"'my.app' cannot be an app's name"):
        find_target("my.app", cwd=project)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "ref is missing"),
        ("ref = 3", 'ref must be a string like ref = "app.py::Class", not 3'),
        ('ref = "nope.py::A"', "ref: there is no file nope.py"),
        ('ref = "app.py::1"', "ref: '1' is not a class name"),
        ('ref = "app"', "ref: app is not a Python file"),
    ],
)
def test_a_ref_that_leads_nowhere_is_refused(project: Path, line: str, message: str) -> None:
    table(project, f"[tool.builder.apps.up]\n{line}\n")
    with pytest.raises(DeclarationError) as raised:
        find_target("up", cwd=project)
    assert str(raised.value) == f"{project}/pyproject.toml: [tool.builder.apps.up]: {message}"


@pytest.mark.parametrize("key", ["image", "python_entry_point"])
def test_a_fal_app_that_is_no_app_file_is_refused(project: Path, key: str) -> None:
    table(project, f'[tool.fal.apps.up]\nref = "app.py"\n{key} = "x"\n')
    with pytest.raises(DeclarationError, match=key):
        find_target("up", cwd=project)


def test_broken_toml_is_refused_with_its_line(project: Path) -> None:
    table(project, "[tool.builder\n")
    with pytest.raises(DeclarationError, match=r"pyproject.toml is not valid TOML: .*line 1"):
        find_target("up", cwd=project)


def test_an_app_that_is_no_table_is_refused(project: Path) -> None:
    table(project, "[tool.builder.apps]\nup = 3\n")
    with pytest.raises(DeclarationError, match=r"\[tool.builder.apps\] must hold a table for each app"):
        find_target("up", cwd=project)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Upscale", "upscale"),
        ("MyGoodApp", "my-good-app"),
        ("ONNXModel", "onnx-model"),
        ("SD3Model", "sd3-model"),
        ("My_App", "my_app"),
        ("_Private", "private"),
        ("Größe", "gr-e"),
    ],
)
def test_an_app_is_named_after_its_class_in_kebab_case(written: str, name: str) -> None:
    assert app_name(written, where="app.py") == name


def test_a_name_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"app.py: no app name can be made of 'Ж'"):
        app_name("Ж", where="app.py")
