"""Apps built by their repository's flake, with Nix and git alone."""

from __future__ import annotations

import contextlib
import functools
import grp
import http.server
import json
import os
import shutil
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from stores import other_store

from builder.layout import read_image
from builder.store import recursive_path

BUILDER_FLAKE = Path(__file__).parents[2]
APP = """
import builder

class App(builder.App):
    python_version = "3.11"
    requirements = ["markupsafe==3.0.3", "./helper"]
    app_files = ["data"]
"""
HELPER = """[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "helper"
version = "1.0"

[tool.setuptools]
py-modules = ["helper"]
"""
SAYS_ALL = (
    "import helper, markupsafe, os; d = '/app/data/'; "
    "print(helper.word, markupsafe.__version__, open(d + 'outside').read(), os.readlink(d + 'inside'), "
    "os.access(d + 'tool', os.X_OK), sorted(os.listdir('/app')))"
)


def nix_settings():
    """What a user of Nix has in nix.conf: flakes, and on this machine no more than it takes to build at all."""
    lines = ["experimental-features = nix-command flakes", "substituters =", "sandbox = true"]
    try:
        has_users = bool(grp.getgrnam("nixbld").gr_mem)
    except KeyError:
        has_users = False
    if os.getuid() == 0 and not has_users:
        lines.append("build-users-group =")
    return "\n".join(lines)


@dataclass
class Repository:
    """A git repository with an app and a flake."""

    project: object

    @property
    def folder(self):
        return self.project.folder

    def git(self, *words):
        subprocess.run(["git", *words], cwd=self.folder, check=True, capture_output=True)

    def nix(self, *words, env=None, check=True):
        done = subprocess.run(
            ["nix", *words],
            cwd=self.folder,
            env={**os.environ, "NIX_CONFIG": nix_settings(), **(env or {})},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if check and done.returncode:
            raise AssertionError(f"nix {words} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def build(self, what, *words, **more):
        """Build an output of the flake; return its path."""
        printed = self.nix("build", what, "--no-link", "--json", *words, **more).stdout
        return json.loads(printed)[0]["outputs"]["out"]

    def change(self, text):
        """Write what the flake changes of the image."""
        flake = self.folder / "flake.nix"
        flake.write_text(flake.read_text().replace("change = { };", f"change.app = {text};"))


def make(project):
    """A repository with all that an app's files can be, locked and with a flake."""
    project.write("app.py", APP)
    project.write("helper/pyproject.toml", HELPER)
    project.write("helper/helper.py", "word = 'helped'\n")
    project.write("data/real.txt", "real")
    project.write("outside.txt", "outside")
    project.write("data/tool", "#!/bin/sh\n").chmod(0o755)
    (project.folder / "data/inside").symlink_to("real.txt")
    # It does not come along under its own name, so a copy does under the link's.
    (project.folder / "data/outside").symlink_to("../outside.txt")
    repository = Repository(project)
    repository.git("init", "--quiet")
    said = project.run("init", "--flake")
    assert "git add" in said.out
    repository.git("add", "--all")
    return repository


@pytest.fixture(scope="module")
def repository(session_project):
    return make(session_project("flake"))


@pytest.fixture(scope="module")
def built(repository):
    """The image as the command builds it."""
    return repository.project.build()


@pytest.fixture
def copy(repository, tmp_path):
    """A repository of one's own with the same files."""
    shutil.copytree(repository.folder, tmp_path / "copy", symlinks=True)
    return Repository(type(repository.project)(tmp_path / "copy", repository.project.env))


def test_a_flake_gives_the_image_that_the_command_gives(repository, built):
    for name in (".#app", "."):
        assert read_image("app", Path(repository.build(name))).digest == built["digest"]


def test_its_app_runs_the_image_with_all_the_files_at_their_places(repository):
    said = repository.nix("run", ".#app", "--", "python", "-c", SAYS_ALL)
    assert said.stdout == "helped 3.0.3 outside real.txt True ['app.py', 'data']\n"


def test_layers_and_the_root_file_system_can_be_built_by_themselves(repository):
    layers = Path(repository.build(".#app.layers"))
    names = sorted(path.name for path in layers.iterdir())
    assert names[0] == "00-base"
    assert [name.partition("-")[2] for name in names[-2:]] == ["runtime", "app"]
    assert (Path(repository.build(".#app.layers.base")) / "blob").exists()
    assert (Path(repository.build(".#app.rootfs")) / "usr/bin/python3.11").exists()


def test_its_shell_has_the_apps_python_and_what_that_starts_has_it_too(repository):
    program = (
        "import subprocess, sys, helper, markupsafe, builder; print(markupsafe._speedups.__file__); "
        "subprocess.run([sys.executable, '-c', 'import helper; print(helper.word)'], check=True)"
    )
    said = repository.nix("develop", ".#app", "-c", "python", "-u", "-c", program).stdout.split()
    assert said[0].startswith("/nix/store/")
    assert said[1] == "helped"


def test_flake_check_passes(repository):
    repository.nix("flake", "check")


def test_flake_check_passes_on_this_project():
    here = Repository(type("Here", (), {"folder": BUILDER_FLAKE})())
    here.nix("flake", "check")


def test_the_template_becomes_an_image(project):
    repository = Repository(project)
    repository.nix("flake", "init", "-t", f"git+file://{BUILDER_FLAKE}")
    project.run("render", "--write", "app.py")
    path = repository.build(
        ".#hello", "--override-input", "builder", f"git+file://{BUILDER_FLAKE}", "--impure"
    )
    assert read_image("hello", Path(path)).labels["builder.app"] == "app.py::Hello"


def test_a_store_path_and_a_layer_of_ones_own_are_in_the_image(copy, built):
    lines = Path(copy.folder, "image.app.nix").read_text().splitlines()
    busybox = next(line for line in lines if "builder.busybox" in line and "x86_64-linux" in line)
    busybox = busybox.partition("= ")[2].rstrip(";")
    copy.change(
        f"""builder: old:
          let
            busybox = {busybox};
            make = name: text: derivation {{
              inherit name;
              inherit (builder) system;
              builder = "${{busybox}}/busybox";
              args = [ "sh" "-c" text ];
            }};
            words = builtins.concatStringsSep " && ${{busybox}}/busybox ";
            data = make "data" "echo of-a-closure > $out";
            tool = make "tool" (words [
              "true"
              "mkdir -p $out/bin"
              "ln -s ${{data}} $out/data"
              "ln -s ${{busybox}}/busybox $out/bin/tool-of-store"
            ]);
          in
          {{
            extraPaths = [ tool ];
            replace.packages.helper = old.wheels.markupsafe // {{ name = "helper"; }};
            replace.layers.runtime = builder.layers.treeLayer {{
              toolchain = (builder.image old).toolchain;
              name = "runtime";
              root = ./helper;
              prefix = "opt/mine";
            }};
          }}"""
    )
    image = read_image("app", Path(copy.build(".#app")))
    assert image.digest != built["digest"]
    program = (
        "import os, shutil; print(os.listdir('/opt/mine')); tool = shutil.which('tool-of-store'); print(tool); "
        "print(open(tool.replace('bin/tool-of-store', 'data')).read().strip()); "
        "print(os.listdir('/opt/venv/lib/python3.11/site-packages'))"
    )
    mine, tool, data, packages = copy.nix("run", ".#app", "--", "python", "-c", program).stdout.split("\n", 3)
    assert "helper.py" in mine
    assert tool.startswith("/nix/store/")
    assert data == "of-a-closure"
    assert "helper-1.0.dist-info" not in packages


def test_what_is_replaced_must_be_there(copy):
    copy.change("builder: { replace.packages.hepler = null; }")
    assert "replace.packages names hepler" in copy.nix("build", ".#app", check=False).stderr


def test_a_written_expression_is_checked(copy):
    project = copy.project
    assert "up to date" in project.run("render", "--check", "app.py").out
    project.write("data/real.txt", "changed")
    project.run("render", "--check", "app.py")
    project.write("data/new.txt", "")
    stale = project.run("render", "--check", "app.py", check=False)
    assert stale.code == 5
    assert "image.app.nix is out of date" in stale.err
    assert "data/new.txt" in stale.err
    assert "builder render --write app.py" in stale.err
    assert "written" in project.run("render", "--write", "app.py").out
    project.run("render", "--check", "app.py")


def test_a_file_that_git_does_not_know_is_told(copy):
    copy.project.write("data/new.txt", "")
    copy.project.run("render", "--write", "app.py")
    assert "git add data/new.txt" in copy.nix("build", ".#app", check=False).stderr


def test_a_flake_that_is_there_is_left_alone(copy):
    with (copy.folder / "flake.nix").open("a") as file:
        file.write("# mine\n")
    before = (copy.folder / "flake.nix").read_bytes()
    refused = copy.project.run("init", "--flake", check=False)
    assert refused.code == 3
    assert "flake.nix is there already" in refused.err
    assert (copy.folder / "flake.nix").read_bytes() == before
    copy.project.run("init", "--flake", "--force", "--input", "git+https://example.org/builder")
    assert "git+https://example.org/builder" in (copy.folder / "flake.nix").read_text()


@pytest.fixture
def empty(tmp_path):
    """The environment of a Nix store that nothing has been put into."""
    folder = tmp_path / "empty"
    folder.mkdir()
    # What Nix remembers of repositories are paths of the store that it had.
    return {**other_store(folder), "XDG_CACHE_HOME": str(folder / "cache")}


def test_in_an_empty_store_busybox_comes_from_where_the_flake_says(copy, built, empty, tmp_path):
    lacking = copy.nix("build", ".#app", check=False, env=empty)
    assert lacking.returncode
    assert "run-builder-build-once-to-put-busybox-into-this-store" in lacking.stderr

    served = tmp_path / "served"
    served.mkdir()
    for path, sha256 in busyboxes(copy.folder / "image.app.nix"):
        if Path(path).exists():
            nar = subprocess.run(["nix-store", "--dump", path], capture_output=True, check=True).stdout
            (served / f"{sha256}.nar").write_bytes(nar)
    with folder_server(served) as url:
        flake = copy.folder / "flake.nix"
        flake.write_text(flake.read_text().replace("mirrors = {", f'mirrors = {{ busybox = "{url}";', 1))
        image = read_image("app", Path(copy.build(".#app", env=empty)))
    assert image.digest == built["digest"]
    assert str(image.path).startswith(empty["NIX_STORE_DIR"])


@contextlib.contextmanager
def folder_server(folder):
    """Serve a folder; yield its URL."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def busyboxes(expression):
    """The store paths of an expression's busyboxes in the machine's own store, with the hashes of their NARs."""
    for line in expression.read_text().splitlines():
        if "builder.busybox" in line:
            sha256 = line.rpartition('sha256 = "')[2].partition('"')[0]
            yield recursive_path("busybox", sha256), sha256
