from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import builder
from builder import App, endpoint
from builder.app import BUILD_SETTINGS, ENDPOINT_MARK


def test_importing_the_package_imports_nothing_else() -> None:
    # What decides how long `import builder` takes in an app: no module besides its own.
    script = (
        "import sys; before = set(sys.modules); import builder; print(*sorted(set(sys.modules) - before))"
    )
    root = Path(builder.__file__).parent.parent
    printed = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(root)!r}); {script}"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert printed == ["__future__", "builder", "builder.app"]


def test_every_build_setting_has_a_default() -> None:
    assert {name for name in BUILD_SETTINGS if not hasattr(App, name)} == set()


def test_class_keywords_become_class_attributes() -> None:
    class Upscale(App, python_version="3.12", keep_alive=300, name="up"):
        pass

    assert Upscale.python_version == "3.12"
    assert Upscale.keep_alive == 300
    assert Upscale.app_name == "up"
    assert App.python_version is None


def test_class_keywords_are_inherited() -> None:
    class Base(App, python_version="3.12"):
        pass

    class Upscale(Base):
        pass

    assert Upscale.python_version == "3.12"


def test_an_unknown_class_keyword_is_refused_with_the_nearest_setting() -> None:
    with pytest.raises(
        TypeError, match=r"Upscale: an App has no setting 'machine'; did you mean machine_type\?"
    ):

        class Upscale(App, machine="GPU"):
            pass


def test_an_endpoint_remembers_its_path() -> None:
    @endpoint("/predict")
    def predict() -> None: ...

    assert getattr(predict, ENDPOINT_MARK) == "/predict"


def test_an_endpoint_needs_a_path() -> None:
    with pytest.raises(TypeError, match=r'@endpoint\("/"\)'):
        endpoint(lambda self: None)


def test_an_endpoint_path_begins_with_a_slash() -> None:
    with pytest.raises(ValueError, match=r'@endpoint\("/predict"\)'):
        endpoint("predict")


def test_a_method_has_one_endpoint() -> None:
    with pytest.raises(ValueError, match="predict has an endpoint already, /a"):

        @endpoint("/b")
        @endpoint("/a")
        def predict() -> None: ...
