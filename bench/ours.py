"""What measurements share, and this project's side of them: an app that is built in a Nix store of its own."""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from builder import store
from builder.lock import read_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BUILDER = Path(sysconfig.get_path("scripts")) / "builder"
DECLARATION = """import builder


class Bench(builder.App):
    machine_type = {machine_type!r}
    python_version = "3.11"
    requirements = {requirements!r}

    def setup(self):
        print({code})
"""
# Names in the store of what is built, other than derivations: what wheels become, and what every image starts from.
MADE = "layer-(?!base-|packages-)|image-"
BASE = "layer-|rootfs-|tools|python[0-9.]+-pycache-"


def run(*words: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a command and return what it printed; what it says besides is shown only if it fails."""
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(env or {})},
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}\n{done.stdout}{done.stderr}")
    return done.stdout


def timed(action: Callable[[], object]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


class Cost(NamedTuple):
    """What something took.

    Attributes:
        seconds: by the clock.
        work: seconds of one core, all processes together.
    """

    seconds: float
    work: float

    @staticmethod
    def best(costs: Iterable[Cost]) -> Cost:
        """The best of each, which is what a machine that does nothing else would take."""
        seconds, work = zip(*costs, strict=True)
        return Cost(min(seconds), min(work))


def cost(action: Callable[[], object]) -> Cost:
    """What an action costs that runs other programs; what this one does itself is not work."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = timed(action)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def machine() -> str:
    """The machine in words."""
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    nix = run("nix", "--version").strip()
    return f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB; {nix}"


def report(text: str, words: list[str]) -> None:
    """Print the result, and write it to the file that the command line names, if any."""
    print(text)
    for word in words:
        if not word.startswith("-"):
            Path(word).write_text(text + "\n")


class Ours:
    """This project's side."""

    def __init__(self, folder: Path, machine_type: str = "L") -> None:
        self.folder = folder
        self.machine_type = machine_type
        self.app = folder / "app.py"
        self.lock = folder / "pylock.bench.toml"
        self.cache = folder / "cache"
        self.store = folder / "nix/store"
        # A store of its own: other images of this machine are neither used nor removed. And a cache of its own.
        self.env = {
            "NIX_STORE_DIR": str(self.store),
            "NIX_STATE_DIR": str(folder / "nix/var"),
            "NIX_LOG_DIR": str(folder / "nix/log"),
            "XDG_CACHE_HOME": str(self.cache),
            # Two stores that share build users end each other's builds: Nix clears a user's processes before use.
            "NIX_CONFIG": "build-users-group =",
        }
        folder.mkdir()

    def declare(self, requirements: list[str], *, code: int = 0, bytecode: bool = True) -> None:
        self.app.write_text(
            DECLARATION.format(machine_type=self.machine_type, requirements=requirements, code=code)
        )
        (self.folder / "pyproject.toml").write_text(f"[tool.builder]\nbytecode = {str(bytecode).lower()}\n")
        run(BUILDER, "lock", self.app, env=self.env)

    def build(self) -> dict[str, object]:
        words = ("build", str(self.app), "--frozen", "--no-link", "--json")
        printed: dict[str, object] = json.loads(run(BUILDER, *words, cwd=self.folder, env=self.env))
        return printed

    def forget(self, *, base: bool = False) -> None:
        """Remove the layers of wheels and all that is made of them; wheels, base and tools stay.

        With `base` these two go as well: nothing stays but files that are pinned.
        """
        shutil.rmtree(self.cache / "builder/built", ignore_errors=True)
        made = re.compile(rf"[0-9a-z]{{32}}-({MADE}{'|' + BASE if base else ''}).*(?<!\.drv)")
        paths = [str(path) for path in self.store.iterdir() if made.fullmatch(path.name)]
        if paths:
            run("nix-store", "--delete", "--ignore-liveness", *paths, env=self.env)
        # What earlier runs wrote is on the disk before the next is measured.
        os.sync()

    def wheels(self) -> list[Path]:
        """The wheels of the lock, in the store."""
        return [
            Path(store.flat_path(store.store_name(wheel.filename), wheel.sha256, str(self.store)))
            for wheel in read_lock(self.lock).lock.wheels
        ]
