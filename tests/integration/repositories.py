"""Repositories of many apps that share their wheels, and what building all of them takes."""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from small_index import Index

_APP = """import builder


class {name}(builder.App):
    python_version = "3.11"
    requirements = {requirements!r}

    def setup(self):
        self.own = {own!r}
"""
# What an app has in the store by itself: its code, that as a layer, its image, the rendered expression of that, and
# what these are built by.
OWN = re.compile(r"app|layer-app(\.drv)?|image-app-?\d+(\.drv)?|image\.nix")


def add_wheels(index: Index, number: int) -> list[str]:
    """Put small wheels on an index, none like another; return their names."""
    names = [f"shared{place}" for place in range(number)]
    for name in names:
        code = "".join(f"def {name}_{line}(a):\n    return a + {line}\n" for line in range(200))
        index.add(name, more=[(f"{name}_more.py", code)])
    return names


def write_apps(folder: Path, requirements: list[str], places: range) -> None:
    """Write apps, each with 16 kB that no other has."""
    for place in places:
        own = random.Random(place).randbytes(8000).hex()
        text = _APP.format(name=f"App{place:03}", requirements=requirements, own=own)
        (folder / f"app{place:03}").mkdir(parents=True)
        (folder / f"app{place:03}/app.py").write_text(text)


@dataclass(frozen=True)
class Row:
    """What building all apps took, where some were there before.

    Attributes:
        apps: how many there are now.
        new: how many of them are new.
        seconds: by the clock.
        work: seconds of one core, all processes together.
        evaluation: seconds by the clock for the evaluation of those that are not remembered.
        size: bytes that the store has grown by.
        shared: names of what it has grown by and is no app's own.
    """

    apps: int
    new: int
    seconds: float
    work: float
    evaluation: float
    size: int
    shared: tuple[str, ...]

    def __str__(self) -> str:
        each = " | | "
        if self.new:
            size = f"{self.size / self.new / 1e3:.0f} kB"
            each = f"{self.seconds / self.new:.2f} s | {self.work / self.new:.2f} s | {size}"
        whole = f"{self.seconds:.1f} s | {self.work:.1f} s | {self.evaluation:.2f} s"
        return f"| {self.apps} | {self.new} | {whole} | {each} |"


def measure(
    builder: Path, folder: Path, env: dict[str, str], names: list[str], counts: tuple[int, ...]
) -> list[Row]:
    """Build a repository that grows.

    Args:
        builder: the command.
        folder: where the repository is to be.
        env: the environment, which names the store and the cache folder.
        names: what each app requires.
        counts: how many apps there are in each build.

    Returns:
        what each build took; then what it takes where no image is remembered, which evaluates all; then what it takes
        where nothing is new.
    """
    rows = []
    for before, count in zip((0, *counts), counts, strict=False):
        write_apps(folder, names, range(before, count))
        rows.append(build_all(builder, folder, env, new=count - before))
    shutil.rmtree(Path(env["XDG_CACHE_HOME"], "builder/built"))
    return [*rows, *(build_all(builder, folder, env, new=0) for _ in range(2))]


HEADER = """| apps | new ones | time | work | evaluated in | time each | work each | store each |
|---|---|---|---|---|---|---|---|"""


def build_all(builder: Path, folder: Path, env: dict[str, str], *, new: int) -> Row:
    """Build all apps of a repository in a store of their own, and measure it.

    Args:
        builder: the command.
        folder: the repository.
        env: the environment, which names the store.
        new: how many apps were never built.
    """
    store = Path(env["NIX_STORE_DIR"])
    before = _paths(store)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    moments: dict[str, float] = {}
    said = []
    words = [builder, "build", "--all", "--no-link", "-v"]
    with subprocess.Popen(
        words, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        for line in running.stderr:
            said.append(line)
            moments.setdefault(line.partition(" ")[0], time.monotonic())
    assert running.returncode == 0, "".join(said)
    seconds = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    grown = {name: size for name, size in _paths(store).items() if name not in before}
    names = (name[33:] for name in grown)
    return Row(
        apps=sum(1 for _ in folder.glob("*/app.py")),
        new=new,
        seconds=seconds,
        work=after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime,
        evaluation=moments["Building"] - moments["Evaluating"] if "Building" in moments else 0.0,
        size=sum(grown.values()),
        shared=tuple(sorted(name for name in names if not OWN.fullmatch(name))),
    )


def _paths(store: Path) -> dict[str, int]:
    """The bytes of each path of a store."""
    return {
        path.name: _size(path)
        for path in store.iterdir()
        if re.match(r"[0-9a-z]{32}-", path.name) and path.suffix != ".lock"
    }


def _size(path: Path) -> int:
    if path.is_dir() and not path.is_symlink():
        with os.scandir(path) as entries:
            return sum(_size(Path(entry.path)) for entry in entries)
    return path.lstat().st_size
