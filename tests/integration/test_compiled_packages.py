"""Packages with compiled parts build twice to the same wheel and work; a hostile build reaches and harms nothing."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import re
import secrets
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import small_index
from stores import steps

from builder import nix

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Each with its extension module. Most have a wheel, which is declined.
COMPILED = {
    # C: a setup.py of 2010, a newer one, meson, CMake.
    "crcmod==1.7": "crcmod._crcfunext",
    "netifaces==0.11.0": "netifaces",
    "pycairo==1.27.0": "cairo._cairo",
    "argon2-cffi-bindings==26.2.0": "_argon2_cffi_bindings._ffi",
    # C++, with C.
    "ujson==5.10.0": "ujson",
    # Cython: by setuptools, by a backend in the project itself, with C++.
    "cymem==2.0.11": "cymem.cymem",
    "frozenlist==1.8.0": "frozenlist._frozenlist",
    "pyclipper==1.4.0": "pyclipper._pyclipper",
    # Rust: one comes with its crates, and with C; the other's are Debian's.
    "orjson==3.11.3": "orjson.orjson",
    "safetensors==0.2.8": "safetensors.safetensors_rust",
}
WITHOUT_WHEEL = ["crcmod==1.7", "netifaces==0.11.0", "pycairo==1.27.0"]
DECLINED = [pin.partition("==")[0] for pin in COMPILED if pin not in WITHOUT_WHEEL]
# The Rust of the suite itself is too old for these two.
RUST = ["cargo-web", "rustc-web", "librust-libloading-dev", "librust-memmap2-dev", "librust-pyo3-dev"]
RUST += ["librust-serde-derive-dev", "librust-serde-json-dev"]

IMPORTS = """
import importlib, json, sys

found = {}
for name in sys.argv[1:]:
    try:
        file = importlib.import_module(name).__file__
        found[name] = file, any(line.rstrip().endswith(file) for line in open("/proc/self/maps"))
    except Exception as error:
        found[name] = repr(error), False
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Image:
    """An image that was built and run: what was said, what was locked, its wheels' steps, what was imported."""

    notes: str
    packages: dict
    steps: dict
    imported: dict


def wheel_steps(image):
    """The steps that made wheels, by the package's name."""
    made = (step for step in steps(image) if not step.is_download)
    return {step.name.removeprefix("wheel-"): step for step in made if step.name.startswith("wheel-")}


@pytest.fixture(scope="module")
def image(session_project):
    project = session_project("compiled")
    requirements = ["--no-binary", ",".join(DECLINED), *COMPILED]
    project.app(requirements, system_packages=["libcairo2"], build_packages=["libcairo2-dev", *RUST])
    done = project.run("build", "app.py", "--json")
    lock = tomllib.loads((project.folder / "pylock.app.toml").read_text())
    imported = project.run("run", "app.py", "--", "python", "-c", IMPORTS, *COMPILED.values())
    return Image(
        done.err,
        {f"{package['name']}=={package['version']}": package for package in lock["packages"]},
        wheel_steps(json.loads(done.out)["path"]),
        json.loads(imported.out),
    )


def build_again(*derivations, **options):
    """Have Nix build derivations once more and compare; return what it says."""
    words = [word for key, value in options.items() for word in ("--option", key.replace("_", "-"), value)]
    done = subprocess.run(
        ["nix-store", "--realise", "--check", "--keep-going", *nix.settings(), *words, *derivations],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr.splitlines()


@pytest.fixture(scope="module")
def again(image):
    """What Nix says of a second build of each package: on one core, where the first had all of them."""
    return build_again(*(step.path for step in image.steps.values()), cores="1", max_jobs="2")


@pytest.mark.parametrize("pin", COMPILED)
def test_a_package_builds_twice_to_the_wheel_that_is_locked(image, again, pin):
    step = image.steps[pin.partition("==")[0]]
    assert [line for line in again if step.path in line] == [f"checking outputs of '{step.path}'..."]
    [wheel] = step.out.glob("*.whl")
    ours = image.packages[pin]["tool"]["builder"]
    assert ours["compiled"] is True
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() == ours["wheel"]["hashes"]["sha256"]


@pytest.mark.parametrize("module", COMPILED.values())
def test_an_extension_module_is_loaded_in_the_container(image, module):
    file, mapped = image.imported[module]
    assert file.startswith("/opt/venv/lib/")
    assert file.endswith(".so")
    assert mapped


@pytest.mark.parametrize("pin", WITHOUT_WHEEL)
def test_a_package_that_has_no_wheel_is_told_of(image, pin):
    assert f"{pin.replace('==', ' ')} has no wheel" in image.notes


def test_the_packages_have_parts_in_four_languages(image):
    found = set()
    for step in image.steps.values():
        with tarfile.open(json.loads(step.env["spec"])["source"]) as archive:
            files = {Path(name) for name in archive.getnames() if "/test" not in name}
        # Where an sdist has what Cython makes of a file too, that file proves nothing.
        made = {file.with_suffix("") for file in files if file.suffix in {".c", ".cpp", ".cxx"}}
        found |= {file.suffix for file in files if file.suffix != ".pyx" or file.with_suffix("") not in made}
    assert {".c", ".cpp", ".pyx", ".rs"} <= found


SETUP = """
from setuptools import setup

{code}
setup(name="hostile", version="1.0", py_modules=["hostile"])
"""


def test_a_build_that_gives_another_wheel_each_time_is_found_out(project):
    code = "import os\n\nopen('hostile.py', 'w').write(f'value = {os.urandom(8)}')"
    project.write("random/setup.py", SETUP.format(code=code))
    project.app(["./random"])
    step = wheel_steps(project.build()["path"])["hostile"]
    assert f"derivation '{step.path}' may not be deterministic" in "\n".join(build_again(step.path))


# What a hostile setup.py does; each function raises where it does not succeed.
DEEDS = """
import json, os, socket, subprocess, sys

def connect(host, port):
    socket.create_connection((host, port), 5).close()

def connect_by_name(name):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(chr(0) + name)

def look_up(name):
    socket.getaddrinfo(name, 443)

def read(path):
    open(path).read()

def append(path):
    open(path, "a").write("hostile")

def append_below(folder, name):
    os.makedirs(folder, exist_ok=True)
    append(os.path.join(folder, name))

def kill(pid):
    os.kill(pid, 9)

def look_into_processes(word):
    # Of some, such as those of other users, nothing can be seen.
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in "cmdline", "environ":
            try:
                if word.encode() in open(f"/proc/{pid}/{name}", "rb").read():
                    return
            except OSError:
                pass
    raise LookupError(word)

def stay(word):
    command = [sys.executable, "-c", "import time; time.sleep(900)", word]
    subprocess.Popen(command, start_new_session=True, stdin=-3, stdout=-3, stderr=-3)

"""
DO = "for name, deed in json.loads({deeds!r}).items():\n    globals()[deed[0]](*deed[1:])\n"
# The same, and nothing of it fails; the module that is built tells how it went.
TRY = """
report = {{}}
for name, deed in json.loads({deeds!r}).items():
    try:
        globals()[deed[0]](*deed[1:])
        report[name] = "done"
    except Exception as error:
        report[name] = repr(error)
open("hostile.py", "w").write(json.dumps(report))
"""
# Where no build may leave anything, and this test nothing either.
SYSTEM = ("/", "/etc", "/nix/store", "/usr/lib", "/var/tmp")


class Machine:
    """What a build could reach of this machine, if it could get out."""

    def __init__(self, folder, project, servers, victim, *, secret, word):
        self.home = folder / "home"
        self._servers = servers
        self._victim = victim
        self._word = word
        self._keys = self.home / ".ssh/authorized_keys"
        self._keys.parent.mkdir(parents=True)
        self._keys.touch()
        (self.home / ".netrc").write_text("machine h.example login me password canary\n")
        ports = [server.getsockname() for server in servers if server.family == socket.AF_INET]
        #: What succeeds outside of a build and does no harm there.
        self.deeds = {
            "connect to 127.0.0.1": ["connect", *ports[0]],
            "connect to an address": ["connect", *ports[-1]],
            "connect by name": ["connect_by_name", word],
            "read .netrc": ["read", str(self.home / ".netrc")],
            "read arguments": ["look_into_processes", secret],
            "read the environment": ["look_into_processes", "BUILDER_TEST_SECRET"],
            "write to the home": ["append", str(self.home / word)],
            "write to .ssh": ["append", str(self._keys)],
            "write to the project": ["append", str(project / word)],
            "kill": ["kill", victim.pid],
        }
        #: What must not be tried outside of one.
        self.worse = {f"write to {place}": ["append", f"{place}/{word}"] for place in SYSTEM}
        self.worse["look up a name"] = ["look_up", "h.example"]
        #: What a build may do: these places are its own, and what it starts ends with it.
        self.allowed = {
            f"write below {place}": ["append_below", str(place), word]
            for place in (project, project / "hostile", "/dev/shm", "/tmp", ".")
        }
        self.allowed["stay"] = ["stay", word]
        every = [*self.deeds.values(), *self.worse.values(), *self.allowed.values()]
        self._files = {Path(*deed[1:]) for deed in every if deed[0].startswith("append")} - {self._keys}

    def traces(self):
        """What was reached or harmed."""
        found = [str(file) for file in self._files if file.exists()]
        for server in self._servers:
            with contextlib.suppress(BlockingIOError):
                server.accept()[0].close()
                found.append(f"connection to {server.getsockname()}")
        if self._keys.read_text():
            found.append(str(self._keys))
        if self._victim.poll() is not None:
            found.append("killed")
        return found + [f"process {pid}" for pid in self._left()]

    def _left(self):
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self._word.encode() in (folder / "cmdline").read_bytes():
                    yield int(folder.name)

    def tidy(self):
        """Take away what a test has left, or a build that got out."""
        for file in self._files:
            file.unlink(missing_ok=True)
        for pid in self._left():
            os.kill(pid, signal.SIGKILL)


def addresses():
    """This machine's addresses, 127.0.0.1 first."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # an interface without one
                answer = fcntl.ioctl(control, 0x8915, struct.pack("256s", name.encode()))  # SIOCGIFADDR
                found.append(socket.inet_ntoa(answer[20:24]))
    return sorted(found, key=lambda address: address != "127.0.0.1")


@pytest.fixture
def machine(project, tmp_path, monkeypatch):
    secret, word = secrets.token_hex(16), f"builder-test-{secrets.token_hex(8)}"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BUILDER_TEST_SECRET", secret)
    command = [sys.executable, "-c", "import time; time.sleep(900)", secret]
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server((address, 0))) for address in addresses()]
        servers.append(stack.enter_context(socket.socket(socket.AF_UNIX)))
        servers[-1].bind(f"\0{word}")
        servers[-1].listen()
        for server in servers:
            server.setblocking(False)
        victim = stack.enter_context(subprocess.Popen(command))
        stack.callback(victim.kill)
        machine = Machine(tmp_path, project.folder, servers, victim, secret=secret, word=word)
        stack.callback(machine.tidy)
        yield machine


def sdist(folder, code):
    """Write an sdist with a setup.py that has some code."""
    files = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: hostile\nVersion: 1.0\n",
        "setup.py": SETUP.format(code=code),
        "hostile.py": "",
    }
    with tarfile.open(folder / "hostile-1.0.tar.gz", "w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(f"hostile-1.0/{name}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))


NETWORK = "it tries to use the network, and a build has none"
ELSEWHERE = "it writes where a build may not"
NOT_THERE = "No such file or directory"


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("connect to 127.0.0.1", "Connection refused"),
        ("connect to an address", f"{NETWORK}|Connection refused"),
        ("look up a name", NETWORK),
        ("write to /etc", ELSEWHERE),
        ("write to /usr/lib", ELSEWHERE),
        ("write to /nix/store", NOT_THERE),
        ("write to the home", NOT_THERE),
        ("write to .ssh", NOT_THERE),
        ("write to the project", NOT_THERE),
        ("read .netrc", NOT_THERE),
    ],
)
def test_a_setup_py_that_reaches_out_of_its_build_fails_and_the_reason_is_told(
    project, machine, deed, reason
):
    deeds = {**machine.deeds, **machine.worse}
    sdist(project.folder, DEEDS + DO.format(deeds=json.dumps({deed: deeds[deed]})))
    project.app(["./hostile-1.0.tar.gz"])
    done = project.run("lock", "app.py", check=False)
    assert done.code == 6
    error, hint = done.err.splitlines()
    assert re.match(rf"error: app\.py:.*hostile 1\.0 could not be built: .*({reason})", error)
    assert hint.startswith("hint: ")
    assert not (project.folder / "pylock.app.toml").exists()
    assert machine.traces() == []


def test_a_setup_py_that_hides_its_failures_reaches_and_harms_nothing(project, machine):
    forbidden = {**machine.deeds, **machine.worse}
    code = DEEDS + TRY.format(deeds=json.dumps({**forbidden, **machine.allowed}))
    project.write("hostile/setup.py", SETUP.format(code=code))
    project.app(["./hostile"])
    project.run("lock", "app.py")
    assert machine.traces() == []
    step = wheel_steps(project.build()["path"])["hostile"]
    [wheel] = step.out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        report = json.loads(archive.read("hostile.py"))
    assert {deed for deed, result in report.items() if result == "done"} == machine.allowed.keys()
    # Not all machines allow Nix a sandbox. What the build can do is the same without one.
    said = build_again(step.path, sandbox="false")
    assert machine.traces() == []
    assert [line for line in said if step.path in line] == [f"checking outputs of '{step.path}'..."]


def test_what_a_hostile_setup_py_does_would_succeed_outside_of_a_build(machine, tmp_path):
    deeds = {**machine.deeds, "stay": machine.allowed["stay"]}
    code = DEEDS + DO.format(deeds=json.dumps(deeds))
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    # What is only read leaves no trace. A machine may have no address but 127.0.0.1.
    leaving = {tuple(deed) for deed in deeds.values() if deed[0] not in ("read", "look_into_processes")}
    assert len(machine.traces()) == len(leaving)


def test_a_result_that_is_a_link_out_of_the_build_is_not_followed(project, tmp_path):
    outside = tmp_path / "outside.whl"
    outside.write_bytes(small_index.wheel("hostile"))
    code = f"""
import atexit, glob, os

@atexit.register
def exchange():
    for wheel in glob.glob("/build/out/*.whl"):
        os.unlink(wheel)
        os.symlink({str(outside)!r}, wheel)
"""
    sdist(project.folder, code)
    project.app(["./hostile-1.0.tar.gz"])
    done = project.run("lock", "app.py", check=False)
    assert done.code == 6
    assert "hostile 1.0 could not be built: its backend's result cannot be read" in done.err
    assert os.strerror(errno.ELOOP) in done.err
