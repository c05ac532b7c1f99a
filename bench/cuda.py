"""Measures a cold build of the newest torch with CUDA against the least that such a build has to do.

The floor is one pass of inflate and sha256 over the bytes of the same wheels: one process reads them one after another,
inflates and hashes each file in them once, and writes nothing. What the same pass takes on all cores, which a build has
too, is told beside it. All are the best of a few runs in turn.

A cold build begins, as in race.py, with wheels, base and tools in the store and no layer of a wheel. The other rows say
what the first build on a machine takes, which makes base and tools too, and what bytecode costs. The work
is also told in seconds of one core, all processes together, which a busy machine changes less than the time.

Usage: cuda.py [--quick] [FILE]    --quick builds a small app; FILE gets the result as Markdown
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import layer_step
from ours import Cost, Ours, cost, machine, report, run

from builder.lock import read_lock

HERE = Path(__file__).parent
MACHINE_TYPE = "GPU-H100"
COLD = "cold"
# A cold build, as a ratio to the floor.
GOAL = 1.5
ROUNDS = 4


@dataclass(frozen=True)
class Result:
    """What was built, what it cost, and what it is measured against.

    Attributes:
        what: the image, in words.
        builds: builds, by what was there before.
        floor: of one pass over the wheels' bytes.
        parallel: of the same pass shared out among all cores.
        compiling: seconds of `compileall` on all cores.
    """

    what: str
    builds: dict[str, Cost]
    floor: Cost
    parallel: Cost
    compiling: float

    def ratio(self, name: str) -> float:
        return self.builds[name].seconds / self.floor.seconds

    @property
    def met(self) -> bool:
        return self.ratio(COLD) <= GOAL


def one_pass(python: list[str], wheels: list[Path], processes: int) -> tuple[Cost, int]:
    """What one pass over some wheels costs, and the bytes that they inflate to."""
    found = json.loads(run(*python, "-B", "-S", HERE / "floor.py", str(processes), *wheels))
    return Cost(found["seconds"], found["work"]), found["size"]


def measure(folder: Path, *, quick: bool) -> Result:
    """Build and pass over the wheels in turn."""
    wanted = ["numpy"] if quick else ["torch"]
    cores = os.cpu_count() or 1
    ours = Ours(folder / "ours", "L" if quick else MACHINE_TYPE)
    # Downloads, and whatever else only the first build on a machine does, are done before.
    ours.declare(wanted)
    image = ours.build()
    wheels = ours.wheels()
    builds: dict[str, list[Cost]] = {}
    passes: dict[int, list[Cost]] = {1: [], cores: []}
    for _ in range(ROUNDS):
        for name, bytecode, base in (
            (COLD, True, False),
            ("cold, no bytecode", False, False),
            ("first: base and tools too", True, True),
        ):
            ours.declare(wanted, bytecode=bytecode)
            ours.forget(base=base)
            builds.setdefault(name, []).append(cost(ours.build))
            # Each time anew: it is short, so a moment at which the machine is busy would count for much.
            python = layer_step.image_python(ours.store)
            for processes, costs in passes.items():
                found, size = one_pass(python, wheels, processes)
                costs.append(found)
    first = next(wheel for wheel in read_lock(ours.lock).lock.wheels if wheel.name == wanted[0])
    packed = sum(wheel.stat().st_size for wheel in wheels)
    what = (
        f"{first.name} {first.version} for {ours.machine_type} and what it needs: {len(wheels)} wheels of "
        f"{packed / 1e6:.0f} MB that inflate to {size / 1e6:.0f} MB; "
        f"our image: {int(str(image['size'])) / 1e6:.0f} MB in {image['layers']} layers"
    )
    compiling = layer_step.compile_seconds(python, wheels, folder / "sources")
    best = {name: Cost.best(costs) for name, costs in builds.items()}
    return Result(what, best, Cost.best(passes[1]), Cost.best(passes[cores]), compiling)


def table(result: Result) -> str:
    """The result as Markdown."""
    lines = [
        "| build | time | ratio to the floor | goal | | work | its ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in result.builds.items():
        goal = f"{GOAL} | {'met' if result.met else 'missed'}" if name == COLD else " | "
        work = f"{found.work:.1f} s | {found.work / result.floor.work:.2f}"
        lines.append(f"| {name} | {found.seconds:.2f} s | {result.ratio(name):.2f} | {goal} | {work} |")
    lines += [
        "",
        f"The floor, one pass of inflate and sha256: {result.floor.seconds:.2f} s, work {result.floor.work:.1f} s. The "
        f"same pass shared out among {os.cpu_count()} cores: {result.parallel.seconds:.2f} s. "
        f"`compileall -j2` on the same files: {result.compiling:.2f} s.",
    ]
    return "\n".join(lines)


def main(words: list[str]) -> int:
    """Measure, and print; the exit code is 1 where the goal was missed."""
    quick = "--quick" in words
    with tempfile.TemporaryDirectory(prefix="cuda-") as scratch:
        result = measure(Path(scratch), quick=quick)
    report(f"{machine()}\n{result.what}\n\n{table(result)}", words)
    return 0 if quick or result.met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
