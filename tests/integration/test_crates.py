"""Packages that are built with Rust crates, which a registry on this machine serves."""

from __future__ import annotations

import hashlib
import json
import secrets
import sys
import tarfile
from dataclasses import dataclass
from io import BytesIO

import pytest
from servers import TOKEN
from small_index import Index, sdist, serving, source_files
from stores import other_store

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


MANIFEST = '[package]\nname = "{name}"\nversion = "1.0.0"\nedition = "2021"\n[dependencies]\n{needs}\n'

# A build backend (PEP 517) that has cargo make a library, which the package's module opens.
BACKEND = """import os
import subprocess
import zipfile


def build_wheel(folder, config_settings=None, metadata_directory=None):
    subprocess.run(["cargo", "build", "--release"], check=True)
    filename = f"{name}-1.0-py3-none-linux_{{os.uname().machine}}.whl"
    info = "{name}-1.0.dist-info/"
    with zipfile.ZipFile(os.path.join(folder, filename), "w") as wheel:
        wheel.write("{name}.py")
        wheel.write("target/release/lib{name}.so", "lib{name}.so")
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: false\\nTag: py3-none-any\\n")
        wheel.writestr(info + "RECORD", "")
    return filename
"""
MODULE = """import ctypes
import pathlib

answer = ctypes.CDLL(str(pathlib.Path(__file__).with_name("lib{name}.so"))).answer
"""


def crate(name: str, code: str, needs: str = "") -> bytes:
    """A crate's archive."""
    made = BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for path, text in {"Cargo.toml": MANIFEST.format(name=name, needs=needs), "src/lib.rs": code}.items():
            entry = tarfile.TarInfo(f"{name}-1.0.0/{path}")
            entry.size = len(text)
            archive.addfile(entry, BytesIO(text.encode()))
    return made.getvalue()


@dataclass(frozen=True)
class Rusty:
    """A package and the two crates that it is built with; no store has heard of any.

    Attributes:
        name: the package's.
        crates: by file name; the first one needs the second.
    """

    name: str
    crates: dict[str, bytes]

    @classmethod
    def make(cls) -> Rusty:
        token = secrets.token_hex(4)
        outer, inner = f"outer{token}", f"inner{token}"
        twice = f"pub fn twice(number: i32) -> i32 {{ {inner}::one() * number * 2 }}"
        return cls(
            f"rusty{token}",
            {
                f"{outer}-1.0.0.crate": crate(outer, twice, f'{inner} = "1"'),
                f"{inner}-1.0.0.crate": crate(inner, "pub fn one() -> i32 { 1 }"),
            },
        )

    @property
    def sha256(self) -> dict[str, str]:
        return {name: hashlib.sha256(data).hexdigest() for name, data in self.crates.items()}

    @property
    def files(self) -> dict[str, str]:
        """What is in its project besides a Python package's files."""
        outer = next(iter(self.crates)).partition("-")[0]
        library = '[lib]\ncrate-type = ["cdylib"]\n'
        locked = "".join(
            f'\n[[package]]\nname = "{name.partition("-")[0]}"\nversion = "1.0.0"\n'
            f'source = "registry+https://registry.example/index"\nchecksum = "{sha256}"\n'
            for name, sha256 in self.sha256.items()
        )
        return {
            f"{self.name}.py": MODULE.format(name=self.name),
            "backend.py": BACKEND.format(name=self.name),
            "Cargo.toml": MANIFEST.format(name=self.name, needs=f'{outer} = "1"') + library,
            "Cargo.lock": f"version = 3\n{locked}",
            "src/lib.rs": f'#[no_mangle]\npub extern "C" fn answer() -> i32 {{ {outer}::twice(21) }}\n',
        }


@pytest.fixture
def rusty():
    return Rusty.make()


@pytest.fixture
def registry(rusty):
    """A sparse index, /files/, and the crates beside it."""
    with serving(Index(dict(rusty.crates))) as registry:
        template = f"{registry.url}/files/{{crate}}-{{version}}.crate"
        registry.files["config.json"] = json.dumps({"dl": template}).encode()
        yield registry


@pytest.fixture
def app(project, rusty, tmp_path):
    """An app that needs the package, on a machine whose cargo has no configuration."""
    with serving() as index:
        index.files[f"{rusty.name}-1.0.tar.gz"] = sdist(rusty.name, more=rusty.files)
        project.env |= index.environment
        project.env |= {"CARGO_HOME": str(tmp_path / "cargo"), "UV_CACHE_DIR": str(tmp_path / "uv")}
        project.app([rusty.name])
        yield project


def sparse(registry):
    return f'[tool.builder.mirrors]\ncrates = "sparse+{registry.url}/files/"\n'


def locked_crates(project) -> list[dict]:
    lock = tomllib.loads((project.folder / "pylock.app.toml").read_text())
    return lock["packages"][0]["tool"]["builder"]["crates"]


def test_a_package_is_built_with_the_crates_that_its_cargo_lock_names_and_again_elsewhere(
    app, rusty, registry, tmp_path
):
    app.write("pyproject.toml", sparse(registry))
    first = app.build()
    names = [name.partition("-")[0] for name in rusty.crates]
    assert locked_crates(app) == [
        {"name": name, "version": "1.0.0", "sha256": rusty.sha256[f"{name}-1.0.0.crate"]}
        for name in sorted(names)
    ]
    assert [registry.requests_of(name) for name in rusty.crates] == [1, 1]
    code = f"import {rusty.name}; print({rusty.name}.answer())"
    assert app.run("run", "app.py", "--", "python", "-c", code).out.strip() == "42"
    text = (app.folder / "pylock.app.toml").read_bytes()
    assert str(registry.port).encode() not in text

    # Another machine: its store is empty, and its cargo is configured for a registry.
    (app.folder / "pyproject.toml").unlink()
    (tmp_path / "cargo").mkdir()
    (tmp_path / "cargo/config.toml").write_text(
        '[source.crates-io]\nreplace-with = "near"\n'
        f'[source.near]\nregistry = "sparse+{registry.url}/files/"\n'
    )
    environment = {**other_store(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    again = app.build("app.py", "--frozen", "--no-link", env=environment)
    assert again["path"].startswith(str(tmp_path))
    assert again["digest"] == first["digest"]
    assert [registry.requests_of(name) for name in rusty.crates] == [2, 2]
    assert (app.folder / "pylock.app.toml").read_bytes() == text


def test_a_crate_that_is_not_the_locked_one_is_refused(app, rusty, registry):
    app.write("pyproject.toml", sparse(registry))
    name, sha256 = next(iter(rusty.sha256.items()))
    other = crate(name.partition("-")[0], "pub fn twice(number: i32) -> i32 { number }")
    registry.files[name] = other
    done = app.run("build", "app.py", check=False)
    assert done.code == 4
    assert f"{rusty.name} 1.0: hash mismatch for {name}: expected sha256 {sha256}, got " in done.err
    assert hashlib.sha256(other).hexdigest() in done.err
    assert "tool.builder.mirrors.crates says where crates are fetched from" in done.err


def test_without_a_registry_the_message_says_what_to_configure(app, rusty, tmp_path):
    done = app.run("lock", "app.py", check=False)
    assert done.code == 4
    assert f"{rusty.name} 1.0: its Cargo.lock names 2 Rust crates that must be fetched" in done.err
    assert f"neither tool.builder.mirrors.crates nor {tmp_path}/cargo/config.toml names one" in done.err
    assert '[tool.builder.mirrors]  crates = "sparse+' in done.err
    assert not (app.folder / "pylock.app.toml").exists()


def test_an_index_without_a_template_and_a_crate_that_is_gone_are_named(app, rusty, registry):
    app.write("pyproject.toml", sparse(registry))
    registry.files["config.json"] = b"{}"
    done = app.run("lock", "app.py", check=False)
    assert done.code == 4
    assert f"{registry.url}/files/ is no index of crates: its config.json has no `dl`" in done.err
    del registry.files["config.json"]
    done = app.run("lock", "app.py", check=False)
    assert f"tool.builder.mirrors.crates: {registry.url}/files/config.json answered 404" in done.err
    app.write("pyproject.toml", sparse(registry).replace("sparse+", ""))
    done = app.run("lock", "app.py", check=False)
    first = min(rusty.crates).partition("-")[0]
    assert f"{registry.url}/files/{first}/1.0.0/download answered 404" in done.err
    assert f"wanted is {first}-1.0.0.crate with sha256 {rusty.sha256[min(rusty.crates)]}" in done.err


def test_crates_behind_a_token_are_fetched_with_it(app, rusty, servers, tmp_path):
    for name, data in rusty.crates.items():
        (servers.wheels / name).write_bytes(data)
    place = servers.bearer
    app.write(
        "pyproject.toml",
        f'[tool.builder.tokens]\n"{place.root}/files/" = "${{CRATES_TOKEN}}"\n'
        f'[tool.builder.mirrors]\ncrates = "{place.root}/files/{{crate}}-{{version}}.crate"\n',
    )
    app.env |= {"SSL_CERT_FILE": str(servers.bundle), "CRATES_TOKEN": TOKEN}
    app.run("lock", "app.py")
    assert len(locked_crates(app)) == 2
    asked = {request.path.rpartition("/")[2] for request in servers.asked() if request.host == place.host}
    assert asked >= set(rusty.crates)


def test_a_local_project_that_asks_for_another_crate_than_was_locked_says_so(app, rusty, registry):
    app.write("pyproject.toml", sparse(registry))
    for name, text in source_files(rusty.name, more=rusty.files).items():
        app.write(f"shared/{name}", text)
    app.app(["./shared"])
    app.run("lock", "app.py")
    assert len(locked_crates(app)) == 2
    manifest = app.folder / "shared/Cargo.toml"
    manifest.write_text(manifest.read_text().replace('= "1"', '= "2"'))
    outer = next(iter(rusty.crates)).partition("-")[0]
    done = app.run("build", "app.py", "--frozen", check=False)
    assert done.code == 6
    assert f"cargo has not got the crate {outer}, or not in the version it asks for" in done.err
