"""Nix stores in a directory of their own, and what a store knows of how its paths were made."""

from __future__ import annotations

import ast
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

_USERS = Path("/nix/var/nix/userpool")


def other_store(folder: Path) -> dict[str, str]:
    """Make an empty store below a folder; what is returned, in its environment, makes Nix use it."""
    store, state = folder / "store", folder / "var"
    store.mkdir()
    state.mkdir()
    # Nix kills all processes of a build user before and after it builds with it, and finds out by files in its state
    # who is free. Without this, two Nixes with states of their own would kill each other's builds.
    if os.geteuid() == 0 and _USERS.is_dir():
        (state / "userpool").symlink_to(_USERS)
    return {"NIX_STORE_DIR": str(store), "NIX_STATE_DIR": str(state), "NIX_LOG_DIR": str(folder / "log")}


@dataclass(frozen=True)
class Step:
    """A derivation.

    Attributes:
        path: its file, `/nix/store/...drv`.
        out: its result.
        inputs: the derivations it needs.
        command: the words that are run.
        env: the environment they get.
    """

    path: str
    out: Path
    inputs: tuple[str, ...]
    command: list[str]
    env: dict[str, str]

    @property
    def name(self) -> str:
        return self.env["name"]

    @property
    def is_download(self) -> bool:
        return "outputHash" in self.env


def steps(image: str | Path) -> list[Step]:
    """The derivations that an image came from, its own first."""
    query = ["nix-store", "--query", "--deriver", str(image)]
    deriver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    found: dict[str, Step] = {}
    waiting = [deriver]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found[path] = _read(path)
            waiting += found[path].inputs
    return list(found.values())


def _read(path: str) -> Step:
    # Derive(outputs, inputs, sources, system, builder, arguments, environment): the Nix manual's "ATerm" format,
    # whose lists, tuples and strings are Python's.
    fields = ast.literal_eval(Path(path).read_text().removeprefix("Derive"))
    outputs, inputs, _, _, builder, arguments, environment = fields
    return Step(
        path=path,
        out=Path(outputs[0][1]),
        inputs=tuple(name for name, _ in inputs),
        command=[builder, *arguments],
        env=dict(environment),
    )
