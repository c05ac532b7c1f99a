"""Races this project against a Containerfile build of the same lock; prints each time and the ratio.

The peer is what a careful author writes: `buildah bud` with one `uv pip install --compile-bytecode` of the
lock, the code copied last, and a push to an OCI layout with gzip. Its base image is our own base layer, and all
downloads are done before: wheels lie in a folder for the peer, in the Nix store for us.

Usage: race.py [--quick] [FILE]    --quick builds a small app; FILE gets the result as Markdown
"""

from __future__ import annotations

import ast
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import layer_step
from uv import find_uv_bin

from builder import store
from builder.lock import read_lock

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
BUILDER = Path(sysconfig.get_path("scripts")) / "builder"
SMALL = "humanize==4.14.0"
# What this project promises, as ratios to the peer of the same run; seconds for a change of code.
GOALS = {"cold": 0.4, "cold, no bytecode": 0.15, "one small requirement added": 0.06, "unchanged": 1.0}
CODE_SECONDS = 1.5
# Cold with bytecode, as a ratio to compiling the same files plus cold without bytecode.
FLOOR_RATIO = 1.3
MEMORY_MIB = 300
LARGE_WHEEL = 550_000_000
DECLARATION = """import builder


class Bench(builder.App):
    machine_type = "L"
    python_version = "3.11"
    requirements = {requirements!r}

    def setup(self):
        print({code})
"""


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


class Ours:
    """This project's side."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
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
        self.app.write_text(DECLARATION.format(requirements=requirements, code=code))
        (self.folder / "pyproject.toml").write_text(f"[tool.builder]\nbytecode = {str(bytecode).lower()}\n")
        run(BUILDER, "lock", self.app, env=self.env)

    def build(self) -> dict[str, object]:
        words = ("build", str(self.app), "--frozen", "--no-link", "--json")
        printed: dict[str, object] = json.loads(run(BUILDER, *words, cwd=self.folder, env=self.env))
        return printed

    def forget(self) -> None:
        """Remove the layers of wheels and all that is made of them; wheels, base and tools stay."""
        shutil.rmtree(self.cache / "builder/built", ignore_errors=True)
        made = re.compile(r"[0-9a-z]{32}-(layer-(?!base-|packages-)|image-).*(?<!\.drv)")
        paths = [str(path) for path in self.store.iterdir() if made.fullmatch(path.name)]
        if paths:
            run("nix-store", "--delete", "--ignore-liveness", *paths, env=self.env)


class Peer:
    """The Containerfile's side."""

    def __init__(self, folder: Path, base: Path) -> None:
        self.folder = folder
        self.wheels = folder / "wheels"
        self.context = folder / "context"
        self.out = folder / "out"
        self.wheels.mkdir(parents=True)
        self.context.mkdir()
        shutil.copy(find_uv_bin(), folder / "uv")
        (self.context / "Containerfile").write_text(
            "FROM localhost/race-base\n"
            "USER root\n"
            "COPY pylock.toml /tmp/pylock.toml\n"
            "RUN /race/uv pip install --python /opt/venv/bin/python --compile-bytecode --no-cache --offline "
            "--no-config --link-mode copy --preview --quiet -r /tmp/pylock.toml\n"
            "COPY app.py /app/app.py\n"
            "USER 1000:1000\n"
        )
        run("skopeo", "copy", f"oci:{base}:latest", "containers-storage:localhost/race-base:latest")

    def take(self, ours: Ours) -> None:
        """Install from the same lock, its URLs replaced by files, and copy the same code."""
        pinned = re.compile(r'url = "[^"]*/([^"/]+\.whl)"(.*?sha256 = "([0-9a-f]{64})")')

        def as_file(match: re.Match[str]) -> str:
            name = match[1].replace("%2B", "+")
            if not (self.wheels / name).exists():
                wheel = store.flat_path(store.store_name(name), match[3], str(ours.store))
                shutil.copy(wheel, self.wheels / name)
            return f'path = "/race/wheels/{name}"{match[2]}'

        (self.context / "pylock.toml").write_text(pinned.sub(as_file, ours.lock.read_text()))
        shutil.copy(ours.app, self.context / "app.py")

    def build(self) -> None:
        shutil.rmtree(self.out, ignore_errors=True)
        self.bud()
        run("buildah", "push", "--compression-format", "gzip", "localhost/race", f"oci:{self.out}:latest")

    def bud(self) -> None:
        volume = ["--volume", f"{self.folder}:/race:ro"]
        words = ["--isolation", "chroot", "--layers", "--pull-never", *volume, "--tag", "race"]
        run("buildah", "bud", *words, self.context)

    def forget(self) -> None:
        """Remove all that was built; the base stays."""
        listed = json.loads(run("buildah", "images", "--all", "--json"))
        stale = [
            image["id"] for image in listed if "localhost/race-base:latest" not in (image["names"] or [])
        ]
        if stale:
            run("buildah", "rmi", "--force", *stale)


@dataclass(frozen=True)
class Row:
    """One line of the table; times in seconds."""

    name: str
    ours: float
    peer: float

    @property
    def ratio(self) -> float:
        return self.ours / self.peer

    @property
    def goal(self) -> str:
        return f"{CODE_SECONDS} s" if self.name == "code changed" else f"{GOALS[self.name]:.2f}"

    @property
    def met(self) -> bool:
        return self.ours <= CODE_SECONDS if self.name == "code changed" else self.ratio <= GOALS[self.name]


def declared() -> list[str]:
    """The requirements of bench/app.py."""
    tree = ast.parse((HERE / "app.py").read_text())
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id == "requirements"
        ):
            found: list[str] = ast.literal_eval(node.value)
            return found
    raise AssertionError("bench/app.py declares no requirements")


@dataclass(frozen=True)
class Result:
    """What the race came to: the rows, what was built, and single steps; times in seconds, memory in MiB."""

    rows: list[Row]
    what: str
    compiling: float
    memory: float

    def row(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)

    @property
    def floor_ratio(self) -> float:
        return self.row("cold").ours / (self.compiling + self.row("cold, no bytecode").ours)

    @property
    def met(self) -> bool:
        rest = self.floor_ratio <= FLOOR_RATIO and self.memory <= MEMORY_MIB
        return rest and all(row.met for row in self.rows)


def race(folder: Path, *, quick: bool) -> Result:
    """Run everything, ours and the peer's in turn."""
    wanted = ["numpy", "fastapi"] if quick else declared()
    ours = Ours(folder / "ours")
    ours.declare([])
    peer = Peer(folder / "peer", Path(str(ours.build()["path"])))
    rows = []

    # Downloads, and whatever else only the first build on a machine does, are done before.
    ours.declare([*wanted, SMALL])
    ours.build()
    peer.take(ours)

    ours.declare(wanted)
    peer.take(ours)
    peer.forget()
    cold = timed(peer.build)
    ours.forget()
    rows.append(Row("cold", timed(ours.build), cold))
    image = ours.build()
    packages = ours.lock.read_text().count("[[packages]]")
    what = f"{packages} wheels; our image: {int(str(image['size'])) / 1e6:.0f} MB in {image['layers']} layers"

    # An unchanged image needs no second push.
    rows.append(
        Row("unchanged", min(timed(ours.build) for _ in range(3)), min(timed(peer.bud) for _ in range(3)))
    )

    ours.declare(wanted, code=1)
    peer.take(ours)
    rows.append(Row("code changed", timed(ours.build), timed(peer.build)))

    ours.declare([*wanted, SMALL])
    peer.take(ours)
    rows.append(Row("one small requirement added", timed(ours.build), timed(peer.build)))

    ours.declare(wanted, bytecode=False)
    ours.forget()
    rows.append(Row("cold, no bytecode", timed(ours.build), cold))

    python = layer_step.image_python(ours.store)
    locked = read_lock(ours.lock).lock.wheels
    paths = [
        store.flat_path(store.store_name(wheel.filename), wheel.sha256, str(ours.store)) for wheel in locked
    ]
    compiling = layer_step.compile_seconds(python, [Path(path) for path in paths], folder / "sources")
    large = folder / "large-1.0-py3-none-any.whl"
    layer_step.make_wheel(large, LARGE_WHEEL // 50 if quick else LARGE_WHEEL)
    return Result(rows, what, compiling, layer_step.peak_memory(python, large, folder) / layer_step.MIB)


def machine() -> str:
    """The machine in words."""
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    nix = run("nix", "--version").strip()
    return f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB; {nix}"


def table(result: Result) -> str:
    """The result as Markdown."""
    lines = ["| build | ours | peer | ratio | goal | |", "|---|---|---|---|---|---|"]
    for row in result.rows:
        verdict = "met" if row.met else "missed"
        times = f"{row.ours:.2f} s | {row.peer:.2f} s | {row.ratio:.3f}"
        lines.append(f"| {row.name} | {times} | {row.goal} | {verdict} |")
    lines += [
        "",
        f"`compileall -j2` on the same files: {result.compiling:.2f} s; cold is {result.floor_ratio:.2f} of that plus "
        f"cold without bytecode (goal {FLOOR_RATIO}).",
        f"Peak memory of the layer step of a {LARGE_WHEEL / 1e6:.0f} MB wheel, all processes: "
        f"{result.memory:.0f} MiB (goal {MEMORY_MIB}).",
    ]
    return "\n".join(lines)


def main(words: list[str]) -> int:
    """Race, and print; the exit code is 1 where a goal was missed."""
    quick = "--quick" in words
    files = [word for word in words if not word.startswith("-")]
    with tempfile.TemporaryDirectory(prefix="race-") as scratch:
        result = race(Path(scratch), quick=quick)
    text = f"{machine()}\n{result.what}\n\n{table(result)}"
    print(text)
    if files:
        Path(files[0]).write_text(text + "\n")
    return 0 if quick or result.met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
