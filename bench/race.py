"""Races this project against a Containerfile build of the same lock; prints each time and the ratio.

The peer is what a careful author writes: `buildah bud` with one `uv pip install --compile-bytecode` of the
lock, the code copied last, and a push to an OCI layout with gzip. Its base image is our own base layer, and all
downloads are done before: wheels lie in a folder for the peer, in the Nix store for us.

Usage: race.py [--quick] [FILE]    --quick builds a small app; FILE gets the result as Markdown
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import layer_step
from ours import Ours, machine, report, run, timed
from uv import find_uv_bin

from builder import store

HERE = Path(__file__).parent
SMALL = "humanize==4.14.0"
# What this project promises, as ratios to the peer of the same run; seconds for a change of code.
GOALS = {"cold": 0.4, "cold, no bytecode": 0.15, "one small requirement added": 0.06, "unchanged": 1.0}
CODE_SECONDS = 1.5
# Cold with bytecode, as a ratio to compiling the same files plus cold without bytecode.
FLOOR_RATIO = 1.3
MEMORY_MIB = 300
LARGE_WHEEL = 550_000_000


class Peer:
    """The Containerfile's side."""

    def __init__(self, folder: Path, base: Path) -> None:
        self.folder = folder
        self.wheels = folder / "wheels"
        self.context = folder / "context"
        self.out = folder / "out"
        self.wheels.mkdir(parents=True)
        self.context.mkdir()
        # A storage of its own, as ours has a store: other images of this machine are neither used nor removed.
        storage = folder / "storage.conf"
        storage.write_text(
            "[storage]\n"
            'driver = "overlay"\n'
            f'graphroot = "{folder / "storage"}"\n'
            f'rootless_storage_path = "{folder / "storage"}"\n'
            f'runroot = "{folder / "storage-run"}"\n'
        )
        self.env = {"CONTAINERS_STORAGE_CONF": str(storage)}
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
        base_image = "containers-storage:localhost/race-base:latest"
        run("skopeo", "copy", f"oci:{base}:latest", base_image, env=self.env)

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
        words = ["--compression-format", "gzip", "localhost/race", f"oci:{self.out}:latest"]
        run("buildah", "push", *words, env=self.env)

    def bud(self) -> None:
        volume = ["--volume", f"{self.folder}:/race:ro"]
        words = ["--isolation", "chroot", "--layers", "--pull-never", *volume, "--tag", "race"]
        run("buildah", "bud", *words, self.context, env=self.env)

    def forget(self) -> None:
        """Remove all that was built; the base stays."""
        listed = json.loads(run("buildah", "images", "--all", "--json", env=self.env))
        stale = [
            image["id"] for image in listed if "localhost/race-base:latest" not in (image["names"] or [])
        ]
        if stale:
            run("buildah", "rmi", "--force", *stale, env=self.env)

    def close(self) -> None:
        """Remove the base as well: without root, some of what is in the storage is only buildah's to remove."""
        run("buildah", "rmi", "--all", "--force", env=self.env)


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

    peer.close()

    ours.declare(wanted, bytecode=False)
    ours.forget()
    rows.append(Row("cold, no bytecode", timed(ours.build), cold))

    python = layer_step.image_python(ours.store)
    compiling = layer_step.compile_seconds(python, ours.wheels(), folder / "sources")
    large = folder / "large-1.0-py3-none-any.whl"
    layer_step.make_wheel(large, LARGE_WHEEL // 50 if quick else LARGE_WHEEL)
    return Result(rows, what, compiling, layer_step.peak_memory(ours.store, large, folder) / layer_step.MIB)


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
    with tempfile.TemporaryDirectory(prefix="race-") as scratch:
        result = race(Path(scratch), quick=quick)
    report(f"{machine()}\n{result.what}\n\n{table(result)}", words)
    return 0 if quick or result.met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
