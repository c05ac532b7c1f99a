from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from builder.errors import DeclarationError, ToolError
from builder.load import find_interpreter, load
from builder.models import AppSpec, Endpoint
from builder.target import find_target


@pytest.fixture(autouse=True)
def no_active_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    # The interpreter is the one that runs the tests, wherever they are run.
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.delenv("CONDA_PREFIX", raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def write(folder: Path, text: str, name: str = "app.py") -> None:
    (folder / name).write_text(textwrap.dedent(text))


def loaded(folder: Path, text: str, target: str = "app.py") -> AppSpec:
    write(folder, text)
    return load(target, cwd=folder)


def refused(folder: Path, text: str, target: str = "app.py", **options: float) -> DeclarationError:
    write(folder, text)
    with pytest.raises(DeclarationError) as raised:
        load(target, cwd=folder, **options)
    return raised.value


APP = """
    from builder import App

    class Upscale(App):
        pass
"""


def test_an_app_that_says_nothing_has_the_defaults(folder: Path) -> None:
    assert loaded(folder, APP) == AppSpec(
        name="upscale",
        class_name="Upscale",
        file=folder / "app.py",
        root=folder,
        local_python=f"3.{sys.version_info[1]}",
        cuda="none",
        requirements_place="app.py: Upscale.requirements",
        requirements_context_dir=folder,
        app_files_ignore=(r"\.pyc$", r"__pycache__/", r"\.git/", r"\.DS_Store$"),
    )


def test_all_attributes_of_an_app_are_read(folder: Path) -> None:
    (folder / "data").mkdir()
    spec = loaded(
        folder,
        """
        from builder import App, endpoint

        class Upscale(App, python_version="3.13"):
            app_name = "up"
            requirements = [["setuptools"], ["torch==2.9.1"]]
            requirements_context_dir = "data"
            machine_type = ["GPU-H100", "GPU-A100"]
            num_gpus = 2
            local_python_modules = ["mine"]
            app_files = ["weights"]
            app_files_ignore = ["tmp"]
            app_files_context_dir = "data"
            system_packages = ["libgl1"]
            system_packages_auto = False
            secrets = ["HF_TOKEN"]
            keep_alive = 300
            regions = ["us-east", "eu-west"]
            min_concurrency = None

            @endpoint("/b")
            def one(self): ...

            @endpoint("/a")
            async def two(self): ...
        """,
    )
    assert spec == AppSpec(
        name="up",
        class_name="Upscale",
        file=folder / "app.py",
        root=folder,
        python="3.13",
        local_python=f"3.{sys.version_info[1]}",
        requirements=(("setuptools",), ("torch==2.9.1",)),
        requirements_place="app.py:6: Upscale.requirements",
        requirements_context_dir=folder / "data",
        machine_types=("GPU-H100", "GPU-A100"),
        num_gpus=2,
        local_python_modules=("mine",),
        app_files=("weights",),
        app_files_ignore=("tmp",),
        app_files_context_dir=folder / "data",
        system_packages=("libgl1",),
        system_packages_auto=False,
        secrets=("HF_TOKEN",),
        endpoints=(Endpoint(method="one", path="/b"), Endpoint(method="two", path="/a")),
        labels={"keep_alive": "300", "regions": "us-east,eu-west"},
    )


def test_requirements_may_come_from_a_function(folder: Path) -> None:
    spec = loaded(
        folder,
        """
        from builder import App

        def wheel():
            return "https://example.org/x-1-py3-none-any.whl"

        class Upscale(App):
            requirements = ["torch", wheel()]
        """,
    )
    assert spec.requirements == (("torch", "https://example.org/x-1-py3-none-any.whl"),)


def test_attributes_and_endpoints_are_inherited(folder: Path) -> None:
    spec = loaded(
        folder,
        """
        from builder import App, endpoint

        class _Base(App):
            requirements = ["torch"]
            keep_alive = 5

            @endpoint("/base")
            def base(self): ...

            @endpoint("/gone")
            def gone(self): ...

        class Upscale(_Base):
            @endpoint("/")
            def own(self): ...

            gone = None
        """,
    )
    assert spec.requirements == (("torch",),)
    assert spec.labels == {"keep_alive": "5"}
    assert [endpoint.path for endpoint in spec.endpoints] == ["/base", "/"]


def test_a_file_may_import_its_siblings(folder: Path) -> None:
    write(folder, "REQUIREMENTS = ['numpy']\n", "shared.py")
    spec = loaded(
        folder,
        """
        from builder import App
        from shared import REQUIREMENTS

        class Upscale(App):
            requirements = REQUIREMENTS
        """,
    )
    assert spec.requirements == (("numpy",),)


def test_a_file_is_not_run_as_main_and_knows_where_it_is(folder: Path) -> None:
    spec = loaded(
        folder,
        """
        import sys
        from builder import App
        assert __name__ == "app" and sys.modules["app"].__file__ == __file__

        class Upscale(App):
            requirements = [__file__, *sys.argv]
        """,
    )
    assert spec.requirements == ((f"{folder}/app.py", f"{folder}/app.py"),)


@pytest.mark.parametrize("name", ["json.py", "models.py", "load.py", "my-app.py", "os.py"])
def test_a_file_may_have_the_name_of_any_module(folder: Path, name: str) -> None:
    write(folder, APP, name)
    assert load(name, cwd=folder).class_name == "Upscale"


def test_the_child_sees_this_package_no_further_than_an_image_does(folder: Path) -> None:
    error = refused(folder, "import builder.models\n")
    assert "No module named 'builder.models'" in str(error)
    assert "No module named 'models'" in str(refused(folder, "import models\n"))


def test_what_the_file_prints_goes_to_standard_error(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    loaded(folder, APP + "\n    print('{\"failure\": 1}')\n    import os; os.write(1, b'raw\\n')\n")
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == '{"failure": 1}\nraw\n'


def test_what_the_file_has_started_is_not_waited_for(folder: Path) -> None:
    began = time.monotonic()
    loaded(
        folder,
        APP
        + """
    import subprocess, threading, time
    threading.Thread(target=time.sleep, args=[60]).start()
    subprocess.Popen(["sleep", "3"], close_fds=False)
        """,
    )
    assert time.monotonic() - began < 3


def test_a_file_cannot_wait_for_input(folder: Path) -> None:
    assert "EOFError" in str(refused(folder, "input()\n"))


def test_an_exception_is_shown_as_the_users_own_traceback(folder: Path) -> None:
    error = refused(
        folder,
        """
        def wheel():
            raise ValueError("no wheel")

        wheel()
        """,
    )
    assert "_load_child" not in str(error)
    lines = str(error).splitlines()
    assert lines[:4] == [
        "app.py could not be loaded",
        "",
        "Traceback (most recent call last):",
        f'  File "{folder}/app.py", line 5, in <module>',
    ]
    assert lines[-1] == "ValueError: no wheel"


def test_a_syntax_error_is_shown_with_file_line_and_caret(folder: Path) -> None:
    error = refused(folder, "x = 1\ndef f(:\n    pass\n")
    lines = str(error).splitlines()
    assert lines[2:4] == [f'  File "{folder}/app.py", line 2', "    def f(:"]
    assert lines[4].strip() == "^"
    assert lines[5] == "SyntaxError: invalid syntax"
    assert f"Python 3.{sys.version_info[1]}" in error.hint


def test_a_syntax_error_in_a_sibling_is_shown_too(folder: Path) -> None:
    write(folder, "def f(:\n", "shared.py")
    error = str(refused(folder, "import shared\n"))
    assert f'File "{folder}/app.py", line 1' in error
    assert f'File "{folder}/shared.py", line 1' in error


def test_a_file_that_is_no_text_is_refused(folder: Path) -> None:
    (folder / "app.py").write_bytes(b"x = 1\0\n")
    with pytest.raises(DeclarationError, match="null bytes"):
        load("app.py", cwd=folder)


def test_a_missing_module_comes_with_what_to_do(folder: Path) -> None:
    error = refused(folder, "import nothing_like_it.deep\n")
    assert "No module named 'nothing_like_it'" in str(error)
    assert "inside the methods" in error.hint
    assert "has nothing_like_it with --python-interpreter" in error.hint


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("sys.exit('bye')", "app.py exits with bye while it is loaded, at line 3"),
        ("sys.exit()", "app.py exits while it is loaded, at line 3"),
        ("os._exit(4)", "app.py ended the interpreter while it was loaded (exit code 4)"),
        ("os.kill(os.getpid(), 11)", "app.py crashed the interpreter while it was loaded (SIGSEGV)"),
    ],
)
def test_a_file_that_ends_the_interpreter_is_refused(folder: Path, call: str, message: str) -> None:
    assert str(refused(folder, f"import os, sys\n\n{call}\n")) == message


def test_a_file_that_hangs_is_ended_and_its_line_named(folder: Path) -> None:
    error = refused(folder, "import time\n\ndef f():\n    time.sleep(60)\n\nf()\n", timeout=0.3)
    assert str(error) == "app.py was still running after 0.3 seconds at line 4"
    assert "setup()" in error.hint


def test_an_interrupt_ends_the_child_and_passes_on(folder: Path) -> None:
    write(
        folder,
        f"import os, time\nopen({str(folder / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n",
    )

    def interrupt() -> None:
        deadline = time.monotonic() + 20
        while not (folder / "pid").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        load("app.py", cwd=folder)
    with pytest.raises(ProcessLookupError):
        os.kill(int((folder / "pid").read_text()), 0)


TWO = """
    from builder import App

    class Upscale(App):
        pass

    class Restore(App):
        pass

    class Other:
        pass

    class _Private(App):
        pass
"""


def test_two_apps_and_none_named_is_refused_with_both(folder: Path) -> None:
    error = refused(folder, TWO)
    assert str(error) == "app.py has 2 apps: Upscale, Restore"
    assert error.hint == "Name one: app.py::Upscale or app.py::Restore."


def test_a_named_class_is_taken_be_it_private(folder: Path) -> None:
    assert loaded(folder, TWO, "app.py::Restore").class_name == "Restore"
    assert loaded(folder, TWO, "app.py::_Private").name == "private"


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        (
            "upscale",
            "app.py has no class upscale",
            "It has Upscale, Restore, _Private. Did you mean Upscale?",
        ),
        (
            "Other",
            "app.py: Other does not derive from builder.App (or fal.App)",
            "It has Upscale, Restore, _Private.",
        ),
        ("__file__", "app.py: __file__ is not a class", "It has Upscale, Restore, _Private."),
    ],
)
def test_a_class_that_is_no_app_is_refused_with_those_there_are(
    folder: Path, name: str, message: str, hint: str
) -> None:
    error = refused(folder, TWO, f"app.py::{name}")
    assert (str(error), error.hint) == (message, hint)


def test_a_file_without_an_app_is_refused(folder: Path) -> None:
    error = refused(folder, "x = 1\n")
    assert str(error) == "app.py has no app"
    assert "builder.App" in error.hint


def test_an_imported_app_counts_only_when_it_is_named(folder: Path) -> None:
    write(folder, APP, "shared.py")
    error = refused(folder, "from shared import Upscale\n")
    assert (str(error), error.hint) == (
        "app.py has no app",
        "It has Upscale, which must be named: app.py::Upscale.",
    )
    spec = loaded(folder, "from shared import Upscale\n", "app.py::Upscale")
    assert (spec.file, spec.class_name) == (folder / "app.py", "Upscale")


def test_a_class_of_two_names_is_one_app(folder: Path) -> None:
    assert loaded(folder, APP + "\n    Main = Upscale\n").class_name == "Upscale"


def test_a_wrong_requirement_is_refused_with_file_line_class_attribute_and_index(folder: Path) -> None:
    error = refused(
        folder,
        """
        from builder import App

        class Base(App):
            requirements = [
                "torch", None,
            ]

        class Upscale(Base):
            machine_type = "L"
        """,
        "app.py::Upscale",
    )
    assert str(error) == "app.py:5: Upscale.requirements[1] must be a string, not None"


def test_a_value_without_json_form_is_named_in_the_error(folder: Path) -> None:
    error = refused(
        folder,
        """
        from pathlib import Path
        from builder import App

        class Upscale(App, requirements=[Path("x")]):
            pass
        """,
    )
    assert str(error) == "app.py:5: Upscale.requirements[0] must be a string, not PosixPath('x')"


def test_two_endpoints_of_one_path_are_refused(folder: Path) -> None:
    error = refused(
        folder,
        """
        from builder import App, endpoint

        class Upscale(App):
            @endpoint("/")
            def one(self): ...

            @endpoint("/")
            def two(self): ...
        """,
    )
    assert str(error) == "app.py: Upscale.two: the path / is already that of one"


def test_a_machine_with_a_gpu_has_what_packages_need_of_cuda(folder: Path) -> None:
    app = """
        from builder import App

        class Upscale(App):
            machine_type = ["L", "GPU-T4"]
    """
    assert loaded(folder, app).cuda == "runtime"
    assert (
        loaded(folder, app.replace("machine_type", 'cuda = "none"\n            machine_type')).cuda == "none"
    )


def test_cuda_on_a_machine_without_gpu_is_refused_where_it_is_written(folder: Path) -> None:
    write(folder, '[tool.builder.apps.big]\nref = "app.py::Upscale"\ncuda = "devel"\n', "pyproject.toml")
    write(folder, APP)
    with pytest.raises(DeclarationError, match=r'\[tool.builder.apps.big\] cuda is "devel", and') as caught:
        load("big", cwd=folder)
    assert "leave cuda out" in caught.value.hint


def test_our_table_in_pyproject_overrides_the_class(folder: Path) -> None:
    write(
        folder,
        """
        [tool.builder.apps.big]
        ref = "app.py::Upscale"
        machine_type = "GPU-L4"
        python_version = "3.13"
        keep_alive = 10
        """,
        "pyproject.toml",
    )
    app = """
        from builder import App

        class Upscale(App):
            machine_type = "S"
            num_gpus = 1
    """
    spec = loaded(folder, app, "big")
    assert (spec.name, spec.machine_types, spec.num_gpus, spec.python) == ("big", ("GPU-L4",), 1, "3.13")
    assert spec.labels == {"keep_alive": "10"}


def test_a_fal_table_in_pyproject_fills_in_what_the_class_leaves_out(folder: Path) -> None:
    write(
        folder,
        """
        [tool.fal.apps.big]
        ref = "app.py::Upscale"
        machine_type = "L"
        num_gpus = 2
        auth = "public"
        """,
        "pyproject.toml",
    )
    app = """
        from builder import App

        class Upscale(App):
            machine_type = "GPU-T4"
    """
    spec = loaded(folder, app, "big")
    assert (spec.machine_types, spec.num_gpus, spec.labels) == (("GPU-T4",), 2, {"auth": "public"})


def test_a_wrong_value_in_pyproject_is_refused_with_its_table(folder: Path) -> None:
    write(folder, '[tool.builder.apps.up]\nref = "app.py"\nrequirements = ["a", 3]\n', "pyproject.toml")
    error = refused(folder, APP, "up")
    where = f"{folder}/pyproject.toml: [tool.builder.apps.up]"
    assert str(error) == f"{where} requirements[1] must be a string, not 3"


# A stand-in for the SDK's App, of which only what is read here matters; the real one is in tests/integration.
FAL = """
    class Signature:
        def __init__(self, path):
            self.path = path

    def endpoint(path):
        def mark(method):
            method.route_signature = Signature(path)
            return method
        return mark

    class App:
        host_kwargs = {"keep_alive": 60, "resolver": "uv"}
        requirements = []
        machine_type = "S"
        app_name = None
        image = None

        def __init_subclass__(cls, **kwargs):
            cls.host_kwargs = {**cls.host_kwargs, **kwargs}
            cls.app_name = cls.app_name or "from-the-sdk"
"""


def test_a_fal_app_is_read_from_its_attributes_and_class_keywords(folder: Path) -> None:
    write(folder, FAL, "fal.py")
    spec = loaded(
        folder,
        """
        import fal

        class Upscale(fal.App, python_version="3.12", startup_timeout=9):
            requirements = ["numpy"]
            machine_type = ["GPU-H100"]

            @fal.endpoint("/go")
            def go(self): ...
        """,
    )
    assert (spec.kind, spec.name, spec.python) == ("fal", "from-the-sdk", "3.12")
    assert (spec.requirements, spec.machine_types) == ((("numpy",),), ("GPU-H100",))
    assert spec.endpoints == (Endpoint(method="go", path="/go"),)
    # keep_alive is the SDK's default, not the app's.
    assert spec.labels == {"startup_timeout": "9"}


def test_the_python_version_of_a_fal_app_counts_as_a_class_variable_too(folder: Path) -> None:
    write(folder, FAL, "fal.py")
    app = "import fal\nclass Upscale(fal.App):\n    python_version = '3.12'\n"
    assert loaded(folder, app).python == "3.12"


def test_a_fal_app_with_a_container_of_its_own_is_refused(folder: Path) -> None:
    write(folder, FAL, "fal.py")
    error = refused(folder, "import fal\nclass Upscale(fal.App):\n    image = object()\n")
    assert str(error) == "app.py:3: Upscale.image brings a container image of its own: that is not built"


def interpreter_in(home: Path) -> Path:
    python = home / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    return python


def test_the_interpreter_is_that_of_the_project_before_our_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, APP)
    target = find_target("app.py", cwd=folder)
    assert find_interpreter(target, None, cwd=folder) == sys.executable
    nearest = interpreter_in(folder / ".venv")
    assert find_interpreter(target, None, cwd=Path("/")) == str(nearest)
    active = interpreter_in(folder / "active")
    monkeypatch.setenv("VIRTUAL_ENV", str(folder / "active"))
    assert find_interpreter(target, None, cwd=folder) == str(active)
    asked = interpreter_in(folder / "asked")
    assert find_interpreter(target, "asked/bin/python", cwd=folder) == str(asked)


def test_an_active_environment_that_is_gone_is_passed_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, APP)
    monkeypatch.setenv("VIRTUAL_ENV", str(folder / "gone"))
    assert find_interpreter(find_target("app.py", cwd=folder), None, cwd=folder) == sys.executable


def test_an_interpreter_that_is_not_there_is_refused(folder: Path) -> None:
    write(folder, APP)
    with pytest.raises(ToolError, match="there is no Python interpreter nowhere/python"):
        load("app.py", interpreter="nowhere/python", cwd=folder)


def test_a_program_that_is_no_python_is_refused(folder: Path) -> None:
    write(folder, APP)
    with pytest.raises(ToolError, match="/true could not run the app file"):
        load("app.py", interpreter="true", cwd=folder)


def test_loading_costs_little_more_than_starting_python(folder: Path) -> None:
    loaded(folder, APP)

    def seconds(run: object) -> float:
        times = []
        for _ in range(5):
            began = time.perf_counter()
            run()  # type: ignore[operator]
            times.append(time.perf_counter() - began)
        return min(times)

    bare = seconds(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))
    assert seconds(lambda: load("app.py", cwd=folder)) < bare + 0.06
