import subprocess
import sys
import sysconfig
import textwrap

import pytest

from builder import code
from builder.errors import DeclarationError
from builder.load import declare


@pytest.fixture(autouse=True)
def no_active_environment(monkeypatch):
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.delenv("CONDA_PREFIX", raising=False)


def write(folder, *names, text=""):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def gathered(folder, *modules, file="app.py", top="", cwd=None, interpreter=None, **attributes):
    """Load an app that names these modules, and find its files."""
    settings = {"local_python_modules": list(modules), **attributes}
    lines = "".join(f"    {name} = {value!r}\n" for name, value in settings.items())
    write(folder, file, text=f"{textwrap.dedent(top)}\nfrom builder import App\nclass Up(App):\n{lines}")
    return code.gather(
        code.Shipped.of(declare(str(folder / file), cwd=cwd or folder, interpreter=interpreter))
    )


def names(folder, *modules, **more):
    return sorted(gathered(folder, *modules, **more).tree.files)


def refused(folder, *modules, **more):
    with pytest.raises(DeclarationError) as raised:
        gathered(folder, *modules, **more)
    return f"{raised.value} {raised.value.hint}"


def test_a_module_is_a_file_or_a_package_beside_the_app(tmp_path):
    write(tmp_path, "one.py", "two/__init__.py", "two/deep/data.txt", "two/x.pyc", "three.py", "space/x.py")
    assert names(tmp_path, "one", "two", "space") == [
        "app.py",
        "one.py",
        "space/x.py",
        "two/__init__.py",
        "two/deep/data.txt",
    ]


def test_a_dotted_name_brings_the_packages_it_is_in_but_not_their_other_modules(tmp_path):
    write(tmp_path, "pkg/__init__.py", "pkg/other.py", "pkg/sub/__init__.py", "pkg/sub/x.py", "pkg/sub/y.py")
    assert names(tmp_path, "pkg.sub.x") == [
        "app.py",
        "pkg/__init__.py",
        "pkg/sub/__init__.py",
        "pkg/sub/x.py",
    ]
    assert names(tmp_path, "pkg.sub") == [
        "app.py",
        "pkg/__init__.py",
        "pkg/sub/__init__.py",
        "pkg/sub/x.py",
        "pkg/sub/y.py",
    ]


def test_no_module_is_imported_for_being_looked_for(tmp_path):
    write(tmp_path, "pkg/__init__.py", "pkg/sub.py", "one.py", text="raise SystemExit('imported')")
    assert names(tmp_path, "pkg.sub", "one") == ["app.py", "one.py", "pkg/__init__.py", "pkg/sub.py"]


def test_modules_are_found_in_the_folder_where_the_command_runs(tmp_path):
    write(tmp_path, "helpers.py")
    assert names(tmp_path / "service", "helpers", cwd=tmp_path) == ["app.py", "helpers.py"]


def test_modules_are_found_where_the_app_file_has_pointed_the_search(tmp_path):
    write(tmp_path, "src/pkg/__init__.py")
    top = "import sys, os\nsys.path.insert(0, os.path.join(os.path.dirname(__file__), 'src'))"
    assert names(tmp_path, "pkg", top=top) == ["app.py", "pkg/__init__.py"]


def test_modules_that_are_installed_to_be_edited_are_found(tmp_path):
    """By a path file, and by a finder as setuptools makes them."""
    write(tmp_path, "one/src/first/__init__.py", "two/elsewhere/__init__.py", "two/elsewhere/x.py")
    home = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    site = home / sysconfig.get_path("purelib", vars={"base": "."})
    (site / "first.pth").write_text(f"{tmp_path}/one/src\n")
    (site / "second.pth").write_text("import second_finder\n")
    (site / "second_finder.py").write_text(
        textwrap.dedent(
            f"""
            import sys
            from importlib.util import spec_from_file_location

            class Finder:
                @classmethod
                def find_spec(cls, name, path=None, target=None):
                    if name == "second":
                        return spec_from_file_location(name, {str(tmp_path)!r} + "/two/elsewhere/__init__.py")

            sys.meta_path.append(Finder)
            """
        )
    )
    assert names(tmp_path / "app", "first", "second.x", interpreter=str(home / "bin/python")) == [
        "app.py",
        "first/__init__.py",
        "second/__init__.py",
        "second/x.py",
    ]


def test_modules_named_in_a_table_are_found_too(tmp_path):
    write(tmp_path, "helpers.py", "other.py")
    write(
        tmp_path,
        "pyproject.toml",
        text='[tool.builder.apps.up]\nref = "app.py"\nlocal_python_modules = ["helpers"]\n',
    )
    write(tmp_path, "app.py", text="from builder import App\nclass Up(App):\n    pass\n")
    tree = code.gather(code.Shipped.of(declare("up", cwd=tmp_path))).tree
    assert sorted(tree.files) == ["app.py", "helpers.py"]


def test_modules_beside_an_app_file_below_the_context_stay_beside_it(tmp_path):
    write(tmp_path, "top.py", "service/near.py", "service/data/a.txt")
    found = names(
        tmp_path,
        "top",
        "near",
        file="service/app.py",
        app_files=["service/data"],
        app_files_context_dir="../",
    )
    assert found == ["service/app.py", "service/data/a.txt", "service/near.py", "top.py"]


def test_a_file_that_is_shipped_twice_is_one(tmp_path):
    write(tmp_path, "pkg/__init__.py", "pkg/a.txt")
    assert names(tmp_path, "pkg", "app", app_files=["."]) == ["app.py", "pkg/__init__.py", "pkg/a.txt"]


def test_two_files_of_one_name_are_refused(tmp_path):
    write(tmp_path, "project/pkg/a.txt", "elsewhere/pkg/a.txt", "elsewhere/pkg/b.txt")
    message = refused(
        tmp_path / "project",
        "pkg",
        file="service/app.py",
        app_files=["pkg"],
        app_files_context_dir="../",
        cwd=tmp_path / "elsewhere",
    )
    assert (
        f"{tmp_path}/elsewhere/pkg/a.txt and {tmp_path}/project/pkg/a.txt would both be pkg/a.txt" in message
    )


def test_ignored_sources_of_a_package_are_told(tmp_path):
    write(tmp_path, "pkg/__init__.py", "pkg/_version.py", "pkg/notes.txt", "pkg/.env")
    (tmp_path / ".gitignore").write_text("_version.py\nnotes.txt\n")
    found = gathered(tmp_path, "pkg")
    assert sorted(found.tree.files) == ["app.py", "pkg/__init__.py"]
    assert len(found.warnings) == 2
    assert "Up.local_python_modules[0]: " in found.warnings[0]
    assert "pkg/_version.py" in found.warnings[0]
    assert found.warnings[1].startswith("pkg/.env looks like a credential")
    assert "pkg/_version.py" in names(tmp_path, "pkg", app_files=["pkg/_version.py"])


def test_an_ignored_module_that_is_named_comes_along(tmp_path):
    write(tmp_path, "gen_pb2.py", "gen/__init__.py", "gen/x.py")
    (tmp_path / ".gitignore").write_text("gen*\n")
    assert names(tmp_path, "gen_pb2", "gen") == ["app.py", "gen/__init__.py", "gen/x.py", "gen_pb2.py"]


def test_a_missing_module_is_refused_with_its_index(tmp_path):
    write(tmp_path, "one.py", "pkg/__init__.py")
    assert "Up.local_python_modules[1]: there is no module 'gone' " in refused(tmp_path, "one", "gone")
    assert f"there is no module 'pkg.gone' in {tmp_path}/pkg" in refused(tmp_path, "pkg.gone")
    assert "there is no module 'one.gone'" in refused(tmp_path, "one.gone")


@pytest.mark.parametrize("name", ["sys", "json", "json.decoder"])
def test_a_part_of_python_is_refused(tmp_path, name):
    assert f"{name!r} is a part of Python" in refused(tmp_path, name)


def test_a_module_that_hides_one_of_python_is_a_local_one(tmp_path):
    write(tmp_path, "queue.py")
    assert names(tmp_path, "queue") == ["app.py", "queue.py"]


def test_an_installed_package_is_refused(tmp_path):
    assert "'click' is installed in" in refused(tmp_path, "click", interpreter=sys.executable)


def test_a_compiled_module_is_refused(tmp_path):
    write(tmp_path, f"fast{sysconfig.get_config_var('EXT_SUFFIX')}")
    assert "is compiled for one Python" in refused(tmp_path, "fast")
