from __future__ import annotations

from pathlib import Path

import pytest

from builder.declaration import Opaque, label, read_attributes
from builder.errors import DeclarationError


def read(key: str, value: object, base: Path = Path("/")) -> object:
    [found] = read_attributes({key: value}, base=base, where=lambda name: f"app.py:3: Up.{name}").values()
    return found


def refusal(key: str, value: object) -> str:
    with pytest.raises(DeclarationError) as raised:
        read(key, value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("value", "steps"),
    [
        ([], ()),
        (["a", "b"], (("a", "b"),)),
        ([["a"], ["b", "c"]], (("a",), ("b", "c"))),
        ([["a"], []], (("a",),)),
    ],
)
def test_requirements_are_install_steps(value: object, steps: object) -> None:
    assert read("requirements", value) == steps


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("torch", "must be a list of strings, or a list of lists of strings, not 'torch'"),
        (None, "must be a list of strings, or a list of lists of strings, not None"),
        (Opaque("{'torch'}"), "must be a list of strings, or a list of lists of strings, not {'torch'}"),
    ],
)
def test_requirements_that_are_no_list_are_refused(value: object, message: str) -> None:
    assert refusal("requirements", value) == f"app.py:3: Up.requirements {message}"


def test_requirements_as_one_string_come_with_what_to_write() -> None:
    with pytest.raises(DeclarationError) as raised:
        read("requirements", "torch")
    assert raised.value.hint == "Write ['torch']."


def test_a_mix_of_steps_and_requirements_is_refused_with_both_places() -> None:
    message = "mixes install steps and requirements: [2] is a list, [0] is 'a'"
    assert refusal("requirements", ["a", "b", ["c"]]) == f"app.py:3: Up.requirements {message}"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["a", "b", "c", 4], "[3] must be a string, not 4"),
        ([["a"], ["b", None]], "[1][1] must be a string, not None"),
        (["a", Opaque("PosixPath('x')")], "[1] must be a string, not PosixPath('x')"),
        (["a", "  "], "[1] is empty"),
    ],
)
def test_an_item_that_is_no_requirement_is_refused_with_its_index(value: object, message: str) -> None:
    assert refusal("requirements", value) == f"app.py:3: Up.requirements{message}"


def test_an_error_shows_no_credentials() -> None:
    assert "secret" not in refusal("requirements", "git+https://user:secret@example.org/org/repo.git")


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("machine_type", "L", ("L",)),
        ("machine_type", ["GPU-H100", "GPU-A100"], ("GPU-H100", "GPU-A100")),
        ("num_gpus", None, None),
        ("num_gpus", 2, 2),
        ("cuda", None, None),
        ("cuda", "devel", "devel"),
        ("python_version", "3.11", "3.11"),
        ("python_version", None, None),
        ("secrets", None, ()),
        ("secrets", ["HF_TOKEN"], ("HF_TOKEN",)),
        ("system_packages", ["libgl1", "libstdc++6"], ("libgl1", "libstdc++6")),
        ("system_packages_auto", False, False),
        ("system_packages_auto", True, True),
        ("local_python_modules", ["mine", "my.own"], ("mine", "my.own")),
        ("app_files", ["data", "../x"], ("data", "../x")),
        ("app_files_ignore", [r"\.pyc$"], (r"\.pyc$",)),
    ],
)
def test_a_setting_is_taken_as_written(key: str, value: object, found: object) -> None:
    assert read(key, value) == found


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("machine_type", [], " is empty"),
        ("machine_type", 3, " must be a string or a list of strings, not 3"),
        ("machine_type", ["L", None], "[1] must be a string, not None"),
        ("num_gpus", True, " must be a number of GPUs, not True"),
        ("num_gpus", "2", " must be a number of GPUs, not '2'"),
        ("cuda", "full", ' must be one of "none", "runtime", "devel", not \'full\''),
        ("cuda", 12.4, ' must be one of "none", "runtime", "devel", not 12.4'),
        ("cuda", ["devel"], ' must be one of "none", "runtime", "devel", not [\'devel\']'),
        ("python_version", 3.1, ' must be a string like "3.11", not 3.1'),
        ("python_version", "3", " must be a string like \"3.11\", not '3'"),
        (
            "python_version",
            "3.11.7",
            " names a patch release, '3.11.7'; only the minor version can be chosen",
        ),
        ("secrets", "HF_TOKEN", " must be a list of strings, not 'HF_TOKEN'"),
        ("secrets", ["HF-TOKEN"], "[0]: 'HF-TOKEN' is not the name of an environment variable"),
        ("system_packages_auto", None, " must be True or False, not None"),
        ("system_packages_auto", 0, " must be True or False, not 0"),
        ("system_packages_auto", "no", " must be True or False, not 'no'"),
        ("system_packages", ["libgl1; rm"], "[0]: 'libgl1; rm' is not the name of a Debian package"),
        ("local_python_modules", ["a/b"], "[0]: 'a/b' is not the name of a module, as in an import"),
        (
            "app_files_ignore",
            ["("],
            "[0]: '(' is not a regular expression: missing ), unterminated subpattern at position 0",
        ),
        ("requirements_context_dir", "/nowhere", ": there is no folder /nowhere"),
        ("app_files_context_dir", 3, " must be a string, not 3"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(key: str, value: object, message: str) -> None:
    assert refusal(key, value) == f"app.py:3: Up.{key}{message}"


def test_a_folder_is_relative_to_where_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    assert read("app_files_context_dir", "../", tmp_path / "sub") == tmp_path


@pytest.mark.parametrize(
    ("value", "text"),
    [(300, "300"), (True, "true"), ("private", "private"), (["us", "eu"], "us,eu"), ([Opaque("x")], None)],
)
def test_a_platform_setting_becomes_text_where_it_has_a_plain_form(value: object, text: str | None) -> None:
    assert label(value) == text
