"""Measures what a further app of a repository takes: apps that share their wheels, built together by `build --all`.

Usage: many.py [--quick] [FILE]    --quick takes fewer apps; FILE gets the result as Markdown
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from ours import BUILDER, machine, report

# The generators of the tests: an index, and apps.
sys.path.insert(0, str(Path(__file__).parent.parent / "tests/integration"))

import repositories
import small_index
from stores import other_store

WHEELS = 60
APPS = (50, 100, 150, 200)
# Seconds in which all apps are to be evaluated, and what the last ones may take of what the first further ones took.
EVALUATION = 5.0
GROWTH = 1.25


def goals(rows: list[repositories.Row]) -> dict[str, bool]:
    """What is to be met, and whether it is."""
    *grown, forgotten, _ = rows
    first, last = grown[1], grown[-1]
    return {
        f"{forgotten.apps} apps are evaluated in less than {EVALUATION:.0f} s": forgotten.evaluation
        < EVALUATION,
        "a further app adds to the store what is its own, and nothing else": not any(
            row.shared for row in grown[1:]
        ),
        "the last apps add no more than the first": last.size / last.new < first.size / first.new * 1.05,
        "the last apps take no longer than the first": last.work / last.new < first.work / first.new * GROWTH,
    }


def main(words: list[str]) -> int:
    """Measure, and print; the exit code is 1 where a goal was missed."""
    with tempfile.TemporaryDirectory(prefix="many-") as scratch, small_index.serving() as index:
        folder = Path(scratch)
        env = {
            **os.environ,
            **other_store(folder),
            **index.environment,
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        names = repositories.add_wheels(index, WHEELS)
        counts = (4, 8, 12) if "--quick" in words else APPS
        rows = repositories.measure(BUILDER, folder / "repository", env, names, counts)
    found = goals(rows)
    others = sorted({name for row in rows[1:] for name in row.shared})
    if others:
        found[f"nothing else, such as {', '.join(others[:5])}"] = False
    verdicts = "\n".join(f"- {goal}: {'met' if met else 'missed'}" for goal, met in found.items())
    table = "\n".join([repositories.HEADER, *map(str, rows)])
    report(f"{machine()}\n{WHEELS} wheels\n\n{table}\n\n{verdicts}", words)
    return 0 if all(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
