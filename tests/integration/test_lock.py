"""Locks made with the real uv from the indexes this machine is configured for, on a real Debian base."""

from __future__ import annotations

import hashlib
import platform
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from packaging.pylock import Pylock

from builder.errors import LockError, ResolveError
from builder.index import Finder
from builder.locking import Locked, ensure_lock
from builder.models import AppSpec
from builder.settings import Settings
from builder.tags import Target
from builder.uvtool import find_uv

if TYPE_CHECKING:
    from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# The interpreter that runs the tests installs what was locked.
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
WANTED = ("requests[socks]", "idna==3.10", "Jinja2>=3,<4", "colorama; sys_platform == 'win32'")
EXPECTED = {"requests", "pysocks", "idna", "jinja2", "markupsafe", "certifi", "charset-normalizer", "urllib3"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian's indexes are fetched once."""
    return tmp_path_factory.mktemp("cache")


def spec(root: Path, *words: str, **more: object) -> AppSpec:
    values: dict[str, object] = {
        "name": "small",
        "class_name": "Small",
        "file": root / "app.py",
        "root": root,
        "local_python": HERE,
        "requirements": (words,),
        "requirements_context_dir": root,
        **more,
    }
    return AppSpec.model_validate(values)


def lock(app: AppSpec, cache: Path, settings: Settings | None = None, **more: object) -> Locked:
    return ensure_lock(
        app, settings or Settings(), cache=cache, **{"architecture": platform.machine(), **more}
    )  # type: ignore[arg-type]


def pins(locked: Locked) -> dict[str, str]:
    return {wheel.name: wheel.version for wheel in locked.lock.wheels}


def run(*command: str | Path) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def frozen(python: Path) -> dict[str, str]:
    """What is installed, by uv's account."""
    lines = run(find_uv(), "pip", "freeze", "--python", python).splitlines()
    pairs = (re.split(r"==| @ ", line)[:2] for line in lines)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pairs}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Locked:
    return lock(spec(tmp_path_factory.mktemp("app"), *WANTED), cache)


def test_a_real_lock_is_complete_and_valid(small: Locked) -> None:
    assert set(pins(small)) == EXPECTED
    assert pins(small)["idna"] == "3.10"
    assert all(wheel.url and wheel.size for wheel in small.lock.wheels)
    Pylock.from_dict(tomllib.loads(small.path.read_text())).validate()
    assert len(small.lock.base.debs["x86_64"]) > 20
    assert len(small.lock.base.debs["aarch64"]) > 20


def test_uv_installs_from_it_as_it_is(small: Locked, tmp_path: Path) -> None:
    run(find_uv(), "venv", "--python", sys.executable, tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    run(find_uv(), "pip", "sync", "--preview-features", "pylock", "--python", python, small.path)
    assert frozen(python) == pins(small)
    run(python, "-c", "import requests, jinja2, socks")


def test_pip_installs_from_it_as_it_is(small: Locked, tmp_path: Path) -> None:
    run(find_uv(), "venv", "--python", sys.executable, tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-input", "-r", small.path)
    assert frozen(python) == pins(small)


def test_a_portable_locks_files_are_found_fetched_and_installed_beside_it(
    small: Locked, cache: Path, tmp_path: Path
) -> None:
    settings = Settings(portable=True)
    portable = lock(spec(tmp_path, *WANTED), cache, settings)
    assert pins(portable) == pins(small)
    assert "://" not in portable.path.read_text()
    target = Target.of_base(portable.lock.base, portable.lock.architecture)
    finder = Finder(portable.lock.files, target, settings, tmp_path)
    sources = finder.locate()
    assert set(sources) == {wheel.sha256 for wheel in portable.lock.wheels}
    for wheel in portable.lock.wheels:
        source = sources[wheel.sha256]
        if source.path:
            (tmp_path / wheel.filename).symlink_to(source.path)
        else:
            finder.download(wheel, source, tmp_path)
        assert hashlib.sha256((tmp_path / wheel.filename).read_bytes()).hexdigest() == wheel.sha256
    run(find_uv(), "venv", "--python", sys.executable, tmp_path / "venv")
    run(
        find_uv(),
        "pip",
        "install",
        "--preview-features",
        "pylock",
        "--python",
        tmp_path / "venv/bin/python",
        "-r",
        portable.path,
    )
    assert frozen(tmp_path / "venv/bin/python") == pins(portable)


def test_pins_stay_until_an_upgrade_is_asked_for(cache: Path, tmp_path: Path) -> None:
    lock(spec(tmp_path, "idna==3.10", "certifi==2024.2.2"), cache)
    kept = lock(spec(tmp_path, "idna", "certifi", "pysocks"), cache)
    assert pins(kept)["idna"] == "3.10"
    assert pins(kept)["certifi"] == "2024.2.2"
    one = lock(spec(tmp_path, "idna", "certifi", "pysocks"), cache, upgrade_packages=("idna",))
    assert pins(one)["idna"] != "3.10"
    assert pins(one)["certifi"] == "2024.2.2"
    everything = lock(spec(tmp_path, "idna", "certifi", "pysocks"), cache, upgrade=True)
    assert pins(everything)["certifi"] != "2024.2.2"


def test_a_lock_for_another_machine_holds_its_wheels(cache: Path, tmp_path: Path) -> None:
    for python, architecture, tag in (
        ("3.13", "aarch64", "cp313"),
        ("3.9", "x86_64", "cp39"),
        ("3.14", "aarch64", "cp314"),
    ):
        locked = lock(spec(tmp_path, "markupsafe", python=python), cache, architecture=architecture)
        (wheel,) = locked.lock.wheels
        assert tag in wheel.filename
        assert architecture in wheel.filename
        assert locked.lock.base.python == python


def test_frozen_says_what_has_changed(small: Locked, cache: Path) -> None:
    before = small.path.read_bytes()
    assert not lock(spec(small.path.parent, *WANTED), cache, frozen=True).changed
    with pytest.raises(LockError, match=r"requirement added: idna==3\.11; requirement removed: idna==3\.10"):
        lock(spec(small.path.parent, *[word.replace("3.10", "3.11") for word in WANTED]), cache, frozen=True)
    assert small.path.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("requests==2.32.0", "idna<2"), ["requests==2.32.0 depends on idna", "idna<2", "unsatisfiable"]),
        (("builder-test-no-such-package",), ["builder-test-no-such-package was not found"]),
        (("pywin32",), ["pywin32", "win_amd64", f"Python {HERE} on linux"]),
        (("idna==99999",), ["no version of idna==99999"]),
    ],
)
def test_what_cannot_be_locked_is_explained(
    cache: Path, tmp_path: Path, words: tuple[str, ...], parts: list[str]
) -> None:
    with pytest.raises(ResolveError) as caught:
        lock(spec(tmp_path, *words), cache)
    for part in parts:
        assert part in str(caught.value)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []
