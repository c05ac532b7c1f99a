"""The Debian base: resolved as apt would, built by Nix, and started."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from builder import nix, store
from builder.debian import extract_busybox, fetch_deb, find_mirrors, resolve_base
from builder.debian.base import base_names
from builder.debian.closure import Closure
from builder.debian.index import Index
from builder.debian.suites import suite_for
from builder.debian.version import version_key

PYTHON = "3.11"
LIBRARY = Path(__file__).parents[2] / "nix"
HERE = nix.build_machine()
OTHER = "aarch64" if HERE == "x86_64" else "x86_64"
# libblas.so.3 is there only as an alternative, which a maintainer script would set up.
SYSTEM_PACKAGES = ["libblas3"]

IMPORTS = """
import bz2, ctypes, ctypes.util, curses, dbm.gnu, dbm.ndbm, decimal, distutils.core, ensurepip, hashlib, importlib.util
import json, lib2to3.pytree, locale, lzma, multiprocessing, os, readline, socket, sqlite3, ssl, subprocess, sys, uuid
import venv, zlib, zoneinfo
source = json.__file__
print(json.dumps({
    "version": sys.version.split()[0],
    "prefixes": [sys.prefix, sys.base_prefix],
    "path": sys.path[-1],
    "encoding": [sys.getfilesystemencoding(), locale.setlocale(locale.LC_ALL, "")],
    "zones": [str(zoneinfo.ZoneInfo(name)) for name in ("Europe/Paris", "US/Eastern")],
    "authorities": len(ssl.create_default_context().get_ca_certs()),
    "ports": [socket.getservbyname("https"), socket.getprotobyname("tcp")],
    "libraries": [ctypes.util.find_library(name) for name in ("c", "stdc++", "blas")],
    "blas": bool(ctypes.CDLL("libblas.so.3").dgemm_),
    "shell": subprocess.run("id -un; ls -d /app; command -v env", shell=True, capture_output=True, text=True).stdout,
    "user": os.path.expanduser("~app"),
    "bytecode": os.path.exists(importlib.util.cache_from_source(source)),
    "sqlite": sqlite3.connect(":memory:").execute("select 1").fetchone()[0],
}))
"""


@pytest.fixture(scope="module")
def folder(cache):
    """The program's cache, as the command would use it."""
    return cache / "builder"


@pytest.fixture(scope="module")
def base(folder):
    return resolve_base(PYTHON, mirrors={}, cache=folder, system_packages=SYSTEM_PACKAGES, target=HERE)


@pytest.fixture(scope="module")
def attributes(base, folder, tmp_path_factory):
    """An expression with the roots and layers of both architectures, whose packages are in the store."""
    mirrors = find_mirrors({})

    def added(deb):
        name = store.store_name(Path(deb.path).name)
        return nix.Added(fetch_deb(deb, mirrors, folder / "debs"), name, deb.sha256, recursive=False)

    with ThreadPoolExecutor(4) as pool:
        debs = {
            "plain": list(pool.map(added, base.debs[HERE])),
            "other": list(pool.map(added, base.debs[OTHER])),
            "more": list(pool.map(added, base.extra)),
        }
    program = base.busybox[HERE]
    unpacked = extract_busybox(
        fetch_deb(program, mirrors, folder / "debs"), tmp_path_factory.mktemp("b") / "busybox"
    )
    busybox = nix.Added(unpacked, "busybox", program.nar_sha256, recursive=True)
    nix.add([busybox, *itertools.chain.from_iterable(debs.values())])

    def paths(*names):
        found = [f'(builtins.storePath "{deb.store_path}")' for name in names for deb in debs[name]]
        return f"[ {' '.join(found)} ]"

    text = f"""
let
  base = import {LIBRARY}/base.nix {{ system = "{HERE}-linux"; }};
  toolchain = import {LIBRARY}/toolchain.nix {{ system = "{HERE}-linux"; inherit base; }};
  root = architecture: debs: base.rootfs {{
    name = "rootfs";
    busybox = builtins.storePath "{busybox.store_path}";
    pythonVersion = "{PYTHON}";
    inherit architecture debs;
  }};
  plain = root "{HERE}" {paths("plain")};
  more = root "{HERE}" {paths("plain", "more")};
  tools = toolchain.toolchain {{ rootfs = plain; pythonVersion = "{PYTHON}"; }};
in {{
  base = base.baseLayer {{ toolchain = tools; rootfs = plain; }};
  packages = base.baseLayer {{ toolchain = tools; rootfs = more; below = plain; }};
  other = base.baseLayer {{ toolchain = tools; rootfs = root "{OTHER}" {paths("other")}; }};
}}
"""
    path = tmp_path_factory.mktemp("nix") / "base.nix"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def layers(attributes):
    printed = nix.run("nix-build", "--no-out-link", str(attributes)).split()
    return dict(zip(["base", "other", "packages"], map(Path, printed), strict=True))


@pytest.fixture(scope="module")
def root(layers, tmp_path_factory):
    """The two layers of this machine, one unpacked upon the other."""
    folder = tmp_path_factory.mktemp("root")
    for name in ("base", "packages"):
        subprocess.run(["tar", "-xzf", layers[name] / "blob", "--no-same-owner", "-C", folder], check=True)
    return folder


def in_root(root, *words):
    environment = {"PATH": "/opt/venv/bin:/usr/local/bin:/usr/bin:/usr/sbin", "LANG": "C.UTF-8"}
    # A root of its own in a user namespace, which needs no privileges; /dev is what a container runtime would give.
    enter = 'mount --rbind /dev "$0/dev" && exec chroot "$0" /usr/bin/env -i "$@"'
    variables = [f"{name}={value}" for name, value in environment.items()]
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", enter, str(root), *variables, *words],
        env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_images_python_starts_with_the_whole_standard_library(root):
    found = json.loads(in_root(root, "python", "-W", "ignore", "-c", IMPORTS))
    assert found.pop("authorities") > 100
    assert found.pop("version").startswith(f"{PYTHON}.")
    assert found == {
        "prefixes": ["/opt/venv", "/usr"],
        "path": f"/opt/venv/lib/python{PYTHON}/site-packages",
        "encoding": ["utf-8", "C.UTF-8"],
        "zones": ["Europe/Paris", "US/Eastern"],
        "ports": [443, 6],
        "libraries": ["libc.so.6", "libstdc++.so.6", "libblas.so.3"],
        "blas": True,
        "shell": "root\n/app\n/usr/bin/env\n",
        "user": "/home/app",
        "bytecode": True,
        "sqlite": 1,
    }


def test_a_virtual_environment_with_pip_can_be_made_in_the_image(root):
    assert "pip" in in_root(root, "sh", "-c", "python -m venv /tmp/venv && /tmp/venv/bin/pip --version")


def test_the_library_cache_is_what_ldconfig_would_write(root):
    def libraries(*words):
        return [line.strip() for line in in_root(root, "ldconfig", "-p", *words).splitlines() if "=>" in line]

    ours = libraries()
    in_root(root, "ldconfig", "-X", "-C", "/tmp/ld.so.cache")
    assert ours == libraries("-C", "/tmp/ld.so.cache")
    assert len(ours) > 50


def test_every_library_that_a_program_or_module_needs_is_there(root):
    loader = {"x86_64": "ld-linux-x86-64.so.2", "aarch64": "ld-linux-aarch64.so.1"}[HERE]
    listing = in_root(
        root,
        "sh",
        "-c",
        f"find /usr/bin /usr/sbin /usr/lib/python{PYTHON}/lib-dynload /usr/lib/{HERE}-linux-gnu -type f -perm -u+r "
        f"| while read -r file; do /usr/lib/{HERE}-linux-gnu/{loader} --list $file 2>/dev/null; done | sort -u",
    )
    assert "libssl.so.3" in listing
    assert [line for line in listing.splitlines() if "not found" in line] == []


def members(layer):
    with tarfile.open(layer / "blob") as tar:
        return {member.name: member for member in tar}


def test_the_layer_of_the_other_architecture_is_built_here_and_has_the_same_bytecode(layers):
    one, other = members(layers["base"]), members(layers["other"])
    machine = {"x86_64": 62, "aarch64": 183}[OTHER]
    with tarfile.open(layers["other"] / "blob") as tar:
        head = tar.extractfile(f"usr/bin/python{PYTHON}").read(20)
    assert head[:4] == b"\x7fELF"
    assert int.from_bytes(head[18:20], "little") == machine
    compiled = {name for name in one if name.endswith(".pyc") and "-linux-gnu" not in name}
    assert len(compiled) > 500
    assert compiled == {name for name in other if name.endswith(".pyc") and "-linux-gnu" not in name}


def test_system_packages_are_a_layer_of_what_the_base_lacks(layers, base):
    added = json.loads((layers["packages"] / "layer.json").read_text())["contents"]
    assert {package["name"] for package in added} == {deb.package for deb in base.extra}
    assert not [
        name for name in members(layers["packages"]) if name.startswith((f"usr/lib/python{PYTHON}", "opt"))
    ]


def test_a_base_layer_built_again_on_one_core_is_the_same_to_the_bit(attributes, layers):
    drv = nix.run("nix-instantiate", "-A", "base", str(attributes)).strip()
    nix.run("nix-store", "--realise", "--check", "--option", "cores", "1", drv)


def test_no_layer_names_a_store_path(layers):
    for layer in layers.values():
        assert nix.run("nix-store", "--query", "--references", str(layer)).strip() == ""


@pytest.fixture(scope="module")
def apt(tmp_path_factory):
    """apt with a configuration of its own: the base's suite, and nothing installed."""
    folder = tmp_path_factory.mktemp("apt")
    for name in ("lists/partial", "cache/archives/partial", "preferences.d", "empty"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    mirrors, suite = find_mirrors({}), suite_for(PYTHON)
    (folder / "sources.list").write_text(
        "".join(f"deb {mirrors.urls[pocket.archive]} {pocket.name} main\n" for pocket in suite.pockets)
    )
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[HERE]
    config = folder / "apt.conf"
    config.write_text(f"""
Dir::State "{folder}"; Dir::State::lists "{folder}/lists"; Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache"; Dir::Etc::sourcelist "{folder}/sources.list"; Dir::Etc::sourceparts "{folder}/empty";
Dir::Etc::preferencesparts "{folder}/preferences.d"; APT::Architecture "{architecture}";
#clear APT::Architectures; APT::Architectures {{ "{architecture}"; }};
Acquire::Languages "none"; APT::Sandbox::User "root"; Acquire::Check-Valid-Until "false";
""")

    def run(*words):
        done = subprocess.run(
            ["apt-get", *words],
            env={**os.environ, "APT_CONFIG": str(config)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("update", "-q")
    return run


@pytest.fixture
def index(base, folder):
    suite = suite_for(PYTHON)
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[HERE]
    found = []
    for pocket in suite.pockets:
        pattern = f"{pocket.archive}-{pocket.name}-{architecture}-*.sqlite"
        found += [(pocket.archive, path) for path in (folder / "debian").glob(pattern)]
    opened = Index(found)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    "packages",
    [
        [],
        ["ffmpeg"],
        ["libgl1", "libglib2.0-0", "libsm6", "libxext6"],
        ["git", "curl"],
        ["default-jre-headless"],
    ],
    ids=lambda names: names[0] if names else "base",
)
def test_a_closure_is_what_apt_would_install(apt, index, packages):
    names = packages or base_names(index, PYTHON, suite_for(PYTHON))
    # Without the stop list: what that leaves out is our decision, and not apt's.
    closure = Closure(index, suite="bookworm")
    closure.add(names)
    ours = {package.name: package.version for package in closure.packages()}
    lines = apt("install", "--simulate", "--no-install-recommends", *names).splitlines()
    theirs = dict(line.split()[1:3] for line in lines if line.startswith("Inst "))
    assert ours == {name.partition(":")[0]: version.strip("([") for name, version in theirs.items()}


def test_versions_are_compared_as_dpkg_compares_them(index):
    names = sorted(set(index.names()))
    versions = [index.best(name).version for name in random.Random(11).sample(names, 150)]
    versions += ["1.0~rc1", "1.0", "1.0+b1", "1:0.9", "1.0-0", "1.0a", "1.0.", "0", "~"]
    for one, other in itertools.pairwise(versions):
        expected = version_key(one) < version_key(other)
        done = subprocess.run(
            ["dpkg", "--compare-versions", one, "lt", other], capture_output=True, check=False
        )
        assert (done.returncode == 0) == expected, (one, other)
