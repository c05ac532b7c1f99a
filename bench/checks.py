"""Measures what the checks of libraries add to the step that makes a wheel's layer.

While a layer is made, readers look for CUDA kernels and for what libraries need. The step is run with them and with
readers that do nothing, in turn, and the best of each is compared: by the clock, and by the work of all its threads and
compilers, since in a build other layers want the cores that one alone leaves free. The layers are those of any build,
with bytecode.

Usage: checks.py [--quick] [FILE]    --quick takes a small wheel; FILE gets the result as Markdown
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import layer_step
from app import Bench
from ours import Cost, Ours, machine, report, run

from builder import resources
from builder.lock import read_lock

HERE = Path(__file__).parent
# The largest of CUDA's libraries, and many small extension modules; torch for the CPU is that of bench/app.py.
CUDA = "nvidia-cudnn-cu13"
EXTENSIONS = "scipy"
# What the checks may add, in parts of what the step takes without them.
GOAL = 0.1
# As often as this, and as long as that (seconds): what is over in no time is measured more often.
ROUNDS = 7
LONG = 30


@dataclass(frozen=True)
class Row:
    """One wheel.

    Attributes:
        what: the wheel, in words.
        on: what the step takes with the checks.
        off: without them.
    """

    what: str
    on: Cost
    off: Cost

    @property
    def seconds(self) -> float:
        return self.on.seconds / self.off.seconds - 1

    @property
    def work(self) -> float:
        return self.on.work / self.off.work - 1

    @property
    def met(self) -> bool:
        return max(self.seconds, self.work) <= GOAL


def step(store: Path, wheel: Path, filename: str, folder: Path, readers: str) -> tuple[Cost, bool]:
    """What the step of a wheel's layer takes, and whether it told of libraries."""
    python = layer_step.image_python(store)
    spec = layer_step.specification(folder, wheel, python, filename=filename)
    sandbox = resources.nix_library() / "sandbox"
    found = json.loads(
        run(
            *python,
            "-B",
            "-S",
            HERE / "layer_once.py",
            sandbox,
            spec,
            readers,
            env=layer_step.image_tools(store),
        )
    )
    [package] = json.loads((folder / "layer/layer.json").read_text())["contents"]
    return Cost(found["seconds"], found["work"]), "libraries" in package


def compare(store: Path, wheel: Path, filename: str, folder: Path) -> tuple[Cost, Cost]:
    """What the step of a wheel's layer takes with and without the checks."""
    costs: dict[str, list[Cost]] = {"with": [], "without": []}
    started = time.monotonic()
    while len(costs["without"]) < ROUNDS or time.monotonic() - started < LONG:
        for readers, found in costs.items():
            taken, told = step(store, wheel, filename, folder, readers)
            if told != (readers == "with"):
                raise AssertionError(f"{filename}: a layer {readers} checks tells of libraries: {told}")
            found.append(taken)
    return Cost.best(costs["with"]), Cost.best(costs["without"])


def measure(folder: Path, *, quick: bool) -> list[Row]:
    """Have the wheels, and make the layers of those that count."""
    torch = next(word for word in Bench.requirements if word.startswith("torch="))
    wanted = ["numpy"] if quick else [torch, CUDA, EXTENSIONS]
    ours = Ours(folder / "ours")
    ours.declare(wanted)
    ours.build()
    rows = []
    for wheel, path in zip(read_lock(ours.lock).lock.wheels, ours.wheels(), strict=True):
        if wheel.name in {word.partition("=")[0] for word in wanted}:
            what = f"{wheel.name} {wheel.version}, {path.stat().st_size / 1e6:.0f} MB"
            rows.append(Row(what, *compare(ours.store, path, wheel.filename, folder)))
    return rows


def table(rows: list[Row]) -> str:
    """The result as Markdown."""
    lines = [
        "| layer of | time, checks off | on | more | work, checks off | on | more | goal | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        seconds = f"{row.off.seconds:.2f} s | {row.on.seconds:.2f} s | {row.seconds:.1%}"
        work = f"{row.off.work:.2f} s | {row.on.work:.2f} s | {row.work:.1%}"
        lines.append(f"| {row.what} | {seconds} | {work} | {GOAL:.0%} | {'met' if row.met else 'missed'} |")
    return "\n".join(lines)


def main(words: list[str]) -> int:
    """Measure, and print; the exit code is 1 where the goal was missed."""
    quick = "--quick" in words
    with tempfile.TemporaryDirectory(prefix="checks-") as scratch:
        rows = measure(Path(scratch), quick=quick)
    report(f"{machine()}\n\n{table(rows)}", words)
    return 0 if quick or all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
