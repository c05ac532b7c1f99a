"""What goes wrong is told in one message, with an exit code of its own, and leaves nothing half-written."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest
from conftest import BUILDER
from small_index import edited, serving, symlink, wheel
from uv import find_uv_bin

STORE = Path(os.environ.get("NIX_STORE_DIR") or "/nix/store")
LOCK = "pylock.app.toml"


@pytest.fixture
def index():
    with serving() as found:
        yield found


@pytest.fixture
def token():
    """A word that nothing else has: what is called by it, no store and no cache knows."""
    return f"t{uuid4().hex[:12]}"


@pytest.fixture
def project(project, index, token, tmp_path):
    """A project on a machine that knows one index, with a folder for temporary files of its own."""
    (tmp_path / "tmp").mkdir()
    own = {"TMPDIR": str(tmp_path / "tmp"), "UV_CACHE_DIR": str(tmp_path / "uv"), "BUILDER_TEST": token}
    project.env |= index.environment | own
    return project


def fails(project, code, *words, says=(), left=("app.py",), **more):
    """Run a command that must fail, check how it does, and return its standard error."""
    done = project.run(*words, check=False, **more)
    assert done.code == code, done.out + done.err
    told(done, *says)
    clean(project, left)
    return done.err


def told(done, *says):
    for text in says:
        assert text in done.err, done.err
    lines = done.err.splitlines()
    assert len([line for line in lines if line.startswith("error: ")]) == 1, done.err
    assert len([line for line in lines if line.startswith("hint: ")]) <= 1, done.err
    assert not re.search(r'File ".*/builder/', done.err), done.err
    assert ".drv" not in done.err, done.err


def clean(project, left):
    """See that the project's folder holds these names, and that no unfinished file is anywhere."""
    assert sorted(path.name for path in project.folder.iterdir()) == sorted(left)
    assert list(Path(project.env["TMPDIR"]).iterdir()) == []
    assert list(Path(project.env["XDG_CACHE_HOME"]).rglob(".partial-*")) == []


def valid(paths):
    """Those of some paths in the store that are whole: Nix leaves what a failed step has written, and knows that."""
    there = [str(path) for path in paths]
    words = ["nix-store", "--check-validity", "--print-invalid", *there]
    unfinished = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    return sorted(set(there) - set(unfinished))


def fails_json(project, code, *words, **more):
    """Run a command with --json that must fail, and return the one document on its standard output."""
    done = project.run(*words, "--json", check=False, **more)
    assert done.code == code, done.err
    error = json.loads(done.out)["error"]
    assert error["message"] in done.err
    return error


# The declaration


ONE = "import builder\n\nclass App(builder.App):\n    {}\n"
TWO = "import builder\n\nclass A(builder.App):\n    pass\n\nclass B(builder.App):\n    pass\n"
WRONG = {
    "a syntax error": (
        "import builder\n\nclass App(builder.App:\n    pass\n",
        "app.py",
        ['app.py", line 3', "class App(builder.App:", "SyntaxError"],
    ),
    "no such class": (ONE.format("pass"), "app.py::Ap", ["app.py has no class Ap", "It has App"]),
    "two classes and none named": (TWO, "app.py", ["app.py has 2 apps: A, B", "app.py::A or app.py::B"]),
    "no class": ("import builder\n", "app.py", ["app.py has no app"]),
    "no such file": (ONE.format("pass"), "ap.py", ["there is no file ap.py"]),
    "a folder": (ONE.format("pass"), ".", ["a folder, not a Python file", "./app.py"]),
    "a requirement that does not parse": (
        ONE.format("requirements = ['six', 'numpy=>1']"),
        "app.py",
        ["app.py:4: App.requirements[1] does not parse: 'numpy=>1'", "name==1.2"],
    ),
    "requirements that are no list": (
        ONE.format("requirements = 'six'"),
        "app.py",
        ["app.py:4: App.requirements must be a list of strings", "Write ['six']"],
    ),
    "a Python that no suite has": (
        ONE.format("python_version = '3.6'"),
        "app.py",
        ["no Debian suite has Python 3.6", "3.11"],
    ),
    "a file that is not there": (
        ONE.format("app_files = ['weights']"),
        "app.py",
        ["App.app_files[0]", "weights does not exist"],
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_the_app_file_says_wrong_is_named_with_its_place(project, kind):
    text, target, says = WRONG[kind]
    project.write("app.py", text)
    fails(project, 3, "build", target, says=says)


def test_an_exception_in_the_app_file_is_shown_as_its_own_traceback(project):
    project.write("app.py", "import builder\n\ndef f():\n    return 1 / 0\n\nf()\n")
    err = fails(
        project,
        3,
        "build",
        "app.py",
        says=["app.py could not be loaded", "ZeroDivisionError: division by zero"],
    )
    frames = re.findall(r'File "(.*)", line \d+', err)
    assert {Path(frame).name for frame in frames} == {"app.py"}


def test_a_fal_app_on_a_machine_without_its_sdk_or_a_network_says_what_is_missing(project, index, tmp_path):
    bare = tmp_path / "bare"
    subprocess.run([find_uv_bin(), "venv", "-q", "-p", sys.executable, bare], check=True)
    project.write("app.py", "import fal\n\nclass App(fal.App):\n    pass\n")
    index.down = True
    says = ["app.py imports fal", "Failed to fetch", "check the network"]
    fails(project, 7, "build", "app.py", "--python-interpreter", bare / "bin/python", says=says)


@pytest.mark.parametrize(
    "words",
    [
        ["build"],
        ["bild", "app.py"],
        ["build", "app.py", "--nonsense"],
        ["build", "app.py", "--python", "three"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2_and_shows_the_usage(project, words):
    project.app([])
    done = project.run(*words, check=False)
    assert done.code == 2
    assert "Usage: builder" in done.err
    clean(project, ["app.py"])


# The lock


def test_a_package_that_does_not_exist_is_named(project, token):
    project.app([f"{token}==1.0"])
    fails(project, 4, "build", "app.py", says=[f"{token} was not found", "Check the name"])
    error = fails_json(project, 4, "lock", "app.py")
    assert error["kind"] == "ResolveError"
    clean(project, ["app.py"])


def test_versions_in_conflict_are_told_in_uvs_words(project, index):
    index.add("shared", "1.0")
    index.add("shared", "2.0")
    index.add("wants", requires=["shared>=2"])
    project.app(["shared<2", "wants"])
    says = ["depend on shared>=2", "you require shared<2", "unsatisfiable", "Loosen or remove"]
    fails(project, 4, "build", "app.py", says=says)


def test_a_package_without_a_wheel_for_the_platform_is_told_with_those_it_has(project, index):
    only = index.add("elsewhere", tags="cp311-cp311-win_amd64")
    project.app(["elsewhere"])
    fails(project, 4, "build", "app.py", says=["elsewhere", "linux x86_64", f"has these wheels: {only}"])


def test_a_file_that_is_no_wheel_is_told_as_such(project, index):
    index.add("page", data=b"<html>Please log in</html>")
    project.app(["page"])
    fails(project, 4, "build", "app.py", says=["page==1.0 has an invalid package format", "is no wheel"])


def test_a_system_package_that_does_not_exist_is_named(project, token):
    project.app([], system_packages=[f"lib{token}"])
    fails(project, 4, "build", "app.py", says=[f"has no package lib{token}"])


@pytest.mark.parametrize("text", ["garbage", "", "lock-version = '1.0'\n", "<<<<<<< ours\n"], ids=repr)
def test_a_lock_that_is_none_is_left_as_it_is(project, text):
    project.app([])
    project.write(LOCK, text)
    fails(project, 5, "build", "app.py", says=[LOCK], left=["app.py", LOCK])
    assert (project.folder / LOCK).read_text() == text


def test_a_missing_lock_is_not_written_when_that_is_forbidden(project):
    project.app([])
    fails(project, 5, "build", "app.py", "--frozen", says=["there is no lock", "--frozen", "builder lock"])


def test_an_index_that_is_gone_while_locking_leaves_no_lock_and_the_next_run_writes_it(project, index, token):
    index.add(token)
    project.app([token])
    index.down = True
    says = [f"{index.url}/simple/{token}/", "Check the URL, the network"]
    fails(project, 4, "build", "app.py", says=says)
    index.down = False
    project.run("lock", "app.py")
    clean(project, ["app.py", LOCK])


def test_a_debian_mirror_that_cannot_be_reached_is_named(project):
    project.app([])
    project.write("pyproject.toml", '[tool.builder.mirrors]\ndebian = "http://127.0.0.1:9/debian"\n')
    says = ["http://127.0.0.1:9/debian", "Connection refused", "[tool.builder.mirrors]"]
    err = fails(project, 4, "build", "app.py", says=says, left=["app.py", "pyproject.toml"])
    assert "Errno" not in err


# Wheels that must not be installed

BAD = "bad-1.0-py3-none-any.whl"


def holding(name, content="x" * 99, **fields):
    """A wheel with one more entry, whose headers then say something else of it."""
    made = wheel("bad", more=[(name, content)])
    return edited(made, name, **fields) if fields else made


def telling_80_gb():
    names = [f"bad/{number}" for number in range(20)]
    made = wheel("bad", more=[(name, "x") for name in names])
    for name in names:
        made = edited(made, name, size=0xF0000000)
    return made


HOSTILE = {
    "a path that leads out": (holding("../../../etc/cron.d/x"), "'../../../etc/cron.d/x'", "leads out"),
    "an absolute path": (holding("/etc/passwd"), "'/etc/passwd'", "absolute path"),
    "a path out of its scheme": (
        holding("bad-1.0.data/data/../../x"),
        "bad-1.0.data/data/../../x",
        "leads out",
    ),
    "a symbolic link": (
        wheel("bad", more=[symlink("bad/link", "/etc/passwd")]),
        "'bad/link'",
        "symbolic link",
    ),
    "a wrong CRC": (holding("bad/x", crc=1), "'bad/x'", "CRC-32"),
    "a wrong CRC of a source": (holding("bad/x.py", "x = 1\n" * 99, crc=1), "'bad/x.py'", "CRC-32"),
    "a size that is too small": (holding("bad/x", size=98), "'bad/x'", "98 bytes"),
    "a size that is too large": (holding("bad/x", size=100), "'bad/x'", "declares 100"),
    "a bomb that hides its size": (holding("bad/x", b"\0" * (100 << 20), size=1000), "'bad/x'", "1000 bytes"),
    "a bomb that tells its size": (telling_80_gb(), BAD, "are allowed"),
    "a file that is cut off": (wheel("bad")[:-30], BAD, "cut off"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_wheel_is_refused_by_name_and_entry(project, index, kind):
    data, *says = HOSTILE[kind]
    index.add("bad", data=data)
    project.app(["bad"])
    says = [f"{BAD}: ", *says, "another version of bad"]
    fails(project, 6, "build", "app.py", says=says, left=["app.py", LOCK])
    assert valid(STORE.glob("*-layer-bad-1.0")) == []


# Files that are gone or changed


def test_a_file_that_was_changed_after_locking_is_refused_with_both_hashes(project, index, token):
    name = index.add(token)
    project.app([token])
    project.run("lock", "app.py")
    good, index.files[name] = index.files[name], wheel(token, more=[("evil.py", token)])
    hashes = [hashlib.sha256(data).hexdigest() for data in (good, index.files[name])]
    says = [
        f"{index.url}/files/{name}",
        "not the file that the lock pins",
        *hashes,
        f"--upgrade-package {token}",
    ]
    fails(project, 4, "build", "app.py", says=says, left=["app.py", LOCK])
    assert hashes[1] in fails_json(project, 4, "build", "app.py")["message"]
    index.files[name] = good
    project.build()


def test_a_local_file_that_was_changed_after_locking_is_named(project, token):
    path = project.folder / f"wheels/{token}-1.0-py3-none-any.whl"
    path.parent.mkdir()
    path.write_bytes(wheel(token))
    project.app(["--find-links", "wheels", token])
    project.run("lock", "app.py")
    path.write_bytes(wheel(token, more=[("evil.py", token)]))
    says = [f"{path} has another content", f"--upgrade-package {token}"]
    fails(project, 4, "build", "app.py", says=says, left=["app.py", LOCK, "wheels"])


def test_a_file_that_is_gone_from_its_url_is_found_elsewhere_by_name_and_hash(project, index, token):
    name = index.add(token)
    project.app([token])
    project.run("lock", "app.py")
    before = (project.folder / LOCK).read_bytes()
    with serving() as other:
        other.files[name] = index.files.pop(name)
        project.build(env=other.environment)
        assert index.requests_of(name)
    assert (project.folder / LOCK).read_bytes() == before


def test_a_file_that_is_gone_everywhere_is_told_with_its_url_and_what_to_do(project, index, token):
    name = index.add(token)
    project.app([token])
    project.run("lock", "app.py")
    del index.files[name]
    says = [
        f"{index.url}/files/{name}",
        "404",
        "Neither this machine nor a configured index",
        f"--upgrade-package {token}",
    ]
    fails(project, 4, "build", "app.py", says=says, left=["app.py", LOCK])


def test_a_connection_that_breaks_off_is_told_and_the_next_run_fetches_only_what_is_missing(
    project, index, token
):
    first, second = index.add(f"{token}a"), index.add(f"{token}b", more=[("data", os.urandom(100_000))])
    project.app([f"{token}a"])
    project.build()
    project.app([f"{token}a", f"{token}b"])
    project.run("lock", "app.py")
    index.asked.clear()
    index.stop_after[second] = 50_000
    says = [f"{index.url}/files/{second}", "partial file", "when the network is back"]
    fails(project, 4, "build", "app.py", says=says, left=["app.py", LOCK, "result-app"])
    index.stop_after.clear()
    project.build()
    assert index.requests_of(first) == 0


def test_a_server_that_is_gone_is_told_and_the_build_goes_on_when_it_is_back(project, token):
    with serving() as index:
        name = index.add(token)
        project.env |= index.environment
        project.app([token])
        project.run("lock", "app.py")
    says = [f"{index.url}/files/{name}", "connect", "when the network is back"]
    fails(project, 4, "build", "app.py", says=says, left=["app.py", LOCK])
    with serving(index, port=index.port):
        project.build()


# The machine


def without(tmp_path):
    """A PATH with no program on it."""
    (tmp_path / "bin").mkdir(exist_ok=True)
    return {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path / "bin")}


# Runs a command where a small disk is mounted on a folder, and writes down what is left on that.
SMALL_DISK = """
options=$1 disk=$2 notes=$3; shift 3
mkdir "$notes/kept"
cp -a "$disk/." "$notes/kept"
mount -t tmpfs -o "$options" none "$disk"
cp -a "$notes/kept/." "$disk"
cd "$PWD"
code=0
"$@" || code=$?
find "$disk" > "$notes/left"
exit $code
"""
READ_ONLY = 'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; shift; cd "$PWD"; exec "$@"'
UNSHARE = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--map-root-user"]), "sh", "-ec"]


@pytest.mark.parametrize(
    ("folder", "options", "names"),
    [
        ("project", "size=16k", LOCK),
        ("cache", "size=8m", "/builder/debian/"),
        ("tmp", "size=64k", ""),
    ],
    ids=["the lock", "the cache", "temporary files"],
)
def test_a_full_disk_is_told_and_leaves_nothing_half_written(
    project, index, token, tmp_path, folder, options, names
):
    index.add(token)
    project.app([token])
    disk, notes = tmp_path / folder, tmp_path / "notes"
    disk.mkdir(exist_ok=True)
    notes.mkdir()
    env = {"XDG_CACHE_HOME": str(disk)} if folder == "cache" else {}
    left = ["app.py"]
    if folder == "tmp":
        project.run("lock", "app.py")
        left.append(LOCK)
    wrapper = [*UNSHARE, SMALL_DISK, "sh", options, disk, notes]
    fails(
        project, 8, "build", "app.py", says=["The disk is full", names], left=left, wrapper=wrapper, env=env
    )
    on_disk = (notes / "left").read_text().splitlines()
    assert not [
        path for path in on_disk if "partial" in path or "tmp-" in path or path.endswith((LOCK, "result-app"))
    ]
    # Room was made: nothing is in the way of the next run.
    project.build()


def test_a_full_disk_for_the_link_is_told_with_the_links_name(project, tmp_path):
    project.app([])
    project.run("lock", "app.py")
    (tmp_path / "notes").mkdir()
    # Its folder, the app file and the lock are all that the disk has room for.
    wrapper = [*UNSHARE, SMALL_DISK, "sh", "size=1m,nr_inodes=3", project.folder, tmp_path / "notes"]
    fails(
        project,
        8,
        "build",
        "app.py",
        says=["result-app could not be written"],
        left=["app.py", LOCK],
        wrapper=wrapper,
    )


def test_a_full_store_is_told_with_the_room_there_is(project, index, token, tmp_path):
    index.add(token)
    project.app([token])
    project.run("lock", "app.py")
    disk, notes = tmp_path / "disk", tmp_path / "notes"
    disk.mkdir()
    notes.mkdir()
    # Its own builders' users would be those of builds that run elsewhere at the same time.
    env = {"NIX_STORE_DIR": f"{disk}/store", "NIX_STATE_DIR": f"{disk}/var", "NIX_LOG_DIR": f"{disk}/log"}
    env["NIX_CONFIG"] = "build-users-group ="
    wrapper = [*UNSHARE, SMALL_DISK, "sh", "size=30m", disk, notes]
    says = ["The disk is full", f"MB in {disk}/store", "nix-collect-garbage"]
    fails(project, 8, "build", "app.py", says=says, left=["app.py", LOCK], wrapper=wrapper, env=env)
    assert not re.search("-image-app$", (notes / "left").read_text(), re.MULTILINE)


def test_a_folder_that_may_not_be_written_is_named(project, index, token):
    project.app([])
    wrapper = [*UNSHARE, READ_ONLY, "sh", project.folder]
    fails(project, 5, "lock", "app.py", says=[f"{project.folder / LOCK} cannot be written"], wrapper=wrapper)
    project.run("lock", "app.py")
    says = [f"{project.folder / 'result-app'} cannot be written", "--out-link"]
    fails(project, 8, "build", "app.py", says=says, left=["app.py", LOCK], wrapper=wrapper)
    project.run("build", "app.py", "--no-link", wrapper=wrapper)


def test_a_missing_nix_is_told_before_anything_is_done(project, tmp_path):
    project.app([])
    wrapper = []
    if Path("/nix/var/nix/profiles").exists():  # where installers put it: this program looks there too
        script = 'mount -t tmpfs none /nix/var/nix/profiles; PATH=$1; shift; exec "$@"'
        wrapper = [*UNSHARE, script, "sh", without(tmp_path)["PATH"]]
    env = without(tmp_path) | ({"PATH": os.environ["PATH"]} if wrapper else {})
    says = ["nix was not found", "apt-get install nix-bin"]
    fails(project, 7, "build", "app.py", says=says, wrapper=wrapper, env=env)


def test_a_missing_gpgv_is_told(project, tmp_path):
    project.app([])
    fails(project, 7, "lock", "app.py", says=["gpgv is not installed"], env=without(tmp_path))


def test_a_missing_uv_is_told(project, tmp_path):
    project.app(["six"])
    (tmp_path / "uv.py").write_text("def find_uv_bin():\n    raise FileNotFoundError\n")
    # What the rest needs is on the machine's own PATH; uv is beside this Python.
    env = {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"}
    fails(project, 7, "lock", "app.py", says=["uv is missing", "pip install uv"], env=env)


def test_a_missing_container_engine_is_told_before_anything_is_done(project, tmp_path):
    project.app([])
    fails(
        project,
        7,
        "run",
        "app.py",
        says=["Neither podman nor docker", "apt-get install podman"],
        env=without(tmp_path),
    )


# Signals


def begin(project, *words):
    return subprocess.Popen(
        [BUILDER, *words],
        cwd=project.folder,
        env=project.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def until(condition, what, process=None):
    """Wait for something that a process, where one is given, must not end before."""
    deadline = time.monotonic() + 60
    while not condition():
        ended = process is not None and process.poll() is not None
        assert not ended, (what, process.returncode, *process.communicate())
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def processes(token):
    """Processes that have a word in their environment: what a test's command started, builders of Nix among them."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if token.encode() in (folder / "environ").read_bytes():
                    found.append(
                        (folder.name, (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
                    )
    return found


@contextlib.contextmanager
def loading(project, index, token):
    text = (project.folder / "app.py").read_text()
    project.write("app.py", f"import pathlib, time\npathlib.Path('begun').touch()\ntime.sleep(60)\n{text}")
    yield (project.folder / "begun").exists
    (project.folder / "begun").unlink()
    project.write("app.py", text)


@contextlib.contextmanager
def asking_debian(project, index, token):
    """The mirror takes the connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        asked = []

        def begun():
            with contextlib.suppress(BlockingIOError):
                asked.append(server.accept()[0])
            return asked

        mirror = f"http://127.0.0.1:{server.getsockname()[1]}/debian"
        settings = project.write("pyproject.toml", f'[tool.builder.mirrors]\ndebian = "{mirror}"\n')
        yield begun
        settings.unlink()
        for connection in asked:
            connection.close()


@contextlib.contextmanager
def holding_back(index, name):
    index.hold.add(name)
    yield index.held.is_set
    index.hold.clear()
    index.release.set()


@contextlib.contextmanager
def choosing_versions(project, index, token):
    with holding_back(index, token) as begun:
        yield begun


@contextlib.contextmanager
def downloading(project, index, token):
    project.run("lock", "app.py")
    with holding_back(index, next(iter(index.files))) as begun:
        yield begun


@contextlib.contextmanager
def building(project, index, token):
    # Sources that take some seconds to compile.
    source = "\n".join(f"def f{n}(a, b):\n    return [a + {n}, b * {n}, (a, b)]\n" for n in range(12000))
    index.add(token, more=[(f"{token}_/m{n}.py", source) for n in range(8)])
    yield lambda: any("wheel_layer" in words for _, words in processes(token))


@pytest.mark.parametrize(
    ("number", "to_group"),
    [(signal.SIGINT, True), (signal.SIGINT, False), (signal.SIGTERM, False)],
    ids=["Ctrl-C", "SIGINT", "SIGTERM"],
)
@pytest.mark.parametrize("moment", [loading, asking_debian, choosing_versions, downloading, building])
def test_a_signal_ends_all_at_any_moment_and_the_next_run_completes(
    project, index, token, moment, number, to_group
):
    index.add(token)
    project.app([token])
    with moment(project, index, token) as begun:
        before = {path.name for path in project.folder.iterdir()}
        process = begin(project, "build", "app.py")
        until(begun, moment.__name__, process)
        asked = time.monotonic()
        (os.killpg if to_group else os.kill)(process.pid, number)
        out, err = process.communicate(timeout=60)
        assert time.monotonic() - asked < 10
        assert process.returncode == 128 + number
        words = "Interrupted. What was finished is kept: the next run continues from there."
        assert (out, err.strip()) == ("", words)
        until(lambda: not processes(token), "all that was started has ended")
        left = before | ({"begun"} if moment is loading else {LOCK} if moment is building else set())
        clean(project, left)
    project.build()


def test_what_was_finished_before_a_signal_is_not_done_again(project, index, token):
    done, held = index.add(f"{token}a"), index.add(f"{token}b")
    project.app([f"{token}a", f"{token}b"])
    project.run("lock", "app.py")
    index.hold.add(held)
    process = begin(project, "build", "app.py")
    until(lambda: list(STORE.glob(f"*-layer-{token}a-1.0")), "a layer is built", process)
    until(index.held.is_set, "the other wheel is on its way", process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    index.hold.clear()
    index.release.set()
    index.asked.clear()
    left = json.loads(project.run("build", "app.py", "--dry-run", "--json").out)
    assert left["fetch"] == [held]
    assert f"layer-{token}b-1.0" in left["build"]
    assert f"layer-{token}a-1.0" not in left["build"]
    project.build()
    assert index.requests_of(done) == 0


def test_a_signal_for_a_script_is_one_json_object_too(project, index, token):
    index.add(token)
    project.app([token])
    with choosing_versions(project, index, token) as begun:
        process = begin(project, "lock", "app.py", "--json")
        until(begun, "choosing versions", process)
        process.terminate()
        out, _ = process.communicate(timeout=60)
    assert json.loads(out)["error"]["kind"] == "Interrupted"
    clean(project, ["app.py"])
