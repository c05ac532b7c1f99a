"""Proves that an image can be made again: every step is built a second time and compared with the first, bit by bit.

Nix does the building (`nix-store --realise --check`). The second time each step has one core in place of all, another
folder to build in, and another order. Files that are pinned by their hash need no second look. Where a step gives
something else, both results are kept, and what differs in them is looked up: the step, the file, the first byte.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import nix
from builder.diffoscope import diffoscope
from builder.errors import BuildError
from builder.file_differences import SHOWN, differences
from builder.nix_failure import readable
from builder.outcome import Outcome
from builder.parallel import each

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NOT_THE_SAME = re.compile(r"may not be deterministic|differs from")
# Suffix of what a second build gave, where it is not the same.
_KEPT = ".check"
# Nix's own folder for builds is /build. Where a daemon takes no settings from this user, it stays that.
_CONDITIONS = ("--option", "cores", "1", "--option", "sandbox-build-dir", "/built-again")


def rebuild(derivation: str, report: Callable[[Outcome], None], *, folder: Path) -> list[Outcome]:
    """Build every step of a derivation again, its own last.

    Args:
        derivation: the path of an image's derivation, whose result is in the store.
        report: told of each step when it is done.
        folder: where to put what diffoscope says, where it is installed.

    Raises:
        BuildError: a step cannot be built, or Nix does not say what the steps are.
    """
    steps = _steps(derivation)
    # What was had from a cache was not built here; a second build needs a first one.
    nix.run("nix-store", "--realise", *steps)

    def check(step: str) -> Outcome:
        outcome = _check(step, steps[step], folder)
        report(outcome)
        return outcome

    return list(each(check, list(steps), workers=os.cpu_count() or 1))


def _steps(derivation: str) -> dict[str, Mapping[str, Any]]:
    """What a derivation is built from, itself included, but for pinned files: by derivation what Nix says of it."""
    shown = None
    # The first is what Nix has called it since 2.14.
    for command in (["derivation", "show"], ["show-derivation"]):
        with suppress(BuildError):
            shown = json.loads(nix.run("nix", *command, "--recursive", derivation))
            break
    if shown is None:
        raise BuildError(f"Nix does not show what {readable(derivation)} is made of.")
    # Newer ones put all of it under a key of its own, and leave out the store's folder.
    shown = shown.get("derivations", shown)
    folder = derivation.rpartition("/")[0]
    return {
        path if path.startswith("/") else f"{folder}/{path}": said
        for path, said in shown.items()
        if "outputHash" not in said["env"] and "hash" not in said["outputs"].get("out", {})
    }


def _check(derivation: str, said: Mapping[str, Any], folder: Path) -> Outcome:
    name = readable(derivation)
    try:
        nix.run("nix-store", "--realise", "--check", "--keep-failed", *_CONDITIONS, derivation)
    except BuildError as error:
        out = said["env"]["out"]
        if not _NOT_THE_SAME.search(str(error)) or not Path(out + _KEPT).exists():
            raise
        found = tuple(islice(differences(Path(out), Path(out + _KEPT)), SHOWN))
        more = diffoscope(out, out + _KEPT, folder / f"{name}.diffoscope.txt")
        return Outcome(name, (out, out + _KEPT), found, more, derivation=derivation)
    return Outcome(name, derivation=derivation)
