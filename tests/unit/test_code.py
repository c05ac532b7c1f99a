import pytest

from builder import code
from builder.errors import DeclarationError


@pytest.fixture
def app(tmp_path):
    file = tmp_path / "app.py"
    file.write_text("")
    return file


def shipped(file, **more):
    return code.Shipped(class_name="App", file=file, **more)


def names(what):
    return sorted(code.files(what))


def test_the_app_file_is_shipped_by_itself(app):
    (app.parent / "other.py").write_text("")
    assert names(shipped(app)) == ["app.py"]


def test_named_files_and_folders_come_along_under_their_own_paths(app):
    (app.parent / "data/deep").mkdir(parents=True)
    (app.parent / "data/deep/a.txt").write_text("")
    (app.parent / "one.txt").write_text("")
    assert names(shipped(app, app_files=("data", "one.txt"))) == ["app.py", "data/deep/a.txt", "one.txt"]


def test_ignored_patterns_and_bytecode_stay_behind(app):
    folder = app.parent / "data"
    (folder / "__pycache__").mkdir(parents=True)
    for name in ("a.txt", "a.log", "b.pyc", "__pycache__/c.txt"):
        (folder / name).write_text("")
    assert names(shipped(app, app_files=("data",), app_files_ignore=(r"\.log$",))) == ["app.py", "data/a.txt"]


def test_a_local_module_is_a_file_or_a_package_beside_the_app(app):
    (app.parent / "one.py").write_text("")
    (app.parent / "two").mkdir()
    (app.parent / "two/__init__.py").write_text("")
    assert names(shipped(app, local_python_modules=("one", "two"))) == ["app.py", "one.py", "two/__init__.py"]


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret", "data/../../secret"])
def test_a_path_that_leaves_the_folder_is_refused_with_its_index(app, name):
    (app.parent / "data").mkdir()
    with pytest.raises(DeclarationError, match=r"App\.app_files\[1\].*outside"):
        code.files(shipped(app, app_files=("data", name)))


def test_a_missing_file_is_refused_with_its_index(app):
    with pytest.raises(DeclarationError, match=r"App\.app_files\[0\].*does not exist"):
        code.files(shipped(app, app_files=("gone.txt",)))


def test_a_missing_module_is_refused_with_its_index(app):
    with pytest.raises(DeclarationError, match=r"App\.local_python_modules\[0\].*gone"):
        code.files(shipped(app, local_python_modules=("gone",)))


def test_a_malformed_pattern_is_refused_with_its_index(app):
    with pytest.raises(DeclarationError, match=r"App\.app_files_ignore\[0\].*regular expression"):
        code.files(shipped(app, app_files_ignore=("(",)))


def test_staging_keeps_content_and_executable_bits(app, tmp_path):
    script = app.parent / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    target = tmp_path / "stage"
    target.mkdir()
    code.stage(shipped(app, app_files=("run.sh",)), target)
    assert (target / "run.sh").read_text() == "#!/bin/sh\n"
    assert (target / "run.sh").stat().st_mode & 0o111
    assert not (target / "app.py").stat().st_mode & 0o111
