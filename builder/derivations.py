"""What derivations are built from, as their files in the store say (Nix manual, "Store derivation")."""

from __future__ import annotations

import re
from pathlib import Path

# An input is named with the list of its outputs that are used; nothing else in such a file has that form.
_INPUT = re.compile(r'\("([^"\\]+\.drv)",\[')


class Graph:
    """Derivations and what they are built from; each file is read once."""

    def __init__(self) -> None:
        self._inputs: dict[str, list[str]] = {}
        self._closures: dict[str, frozenset[str]] = {}

    def closure(self, drv: str) -> frozenset[str]:
        """A derivation and all that it is built from; of one whose file is gone itself alone."""
        waiting = [drv]
        while waiting:
            path = waiting[-1]
            if path not in self._inputs:
                self._inputs[path] = _read(path)
            if unknown := [one for one in self._inputs[path] if one not in self._closures]:
                waiting += unknown
                continue
            waiting.pop()
            inputs = (self._closures[one] for one in self._inputs[path])
            self._closures.setdefault(path, frozenset({path}).union(*inputs))
        return self._closures[drv]


def _read(drv: str) -> list[str]:
    try:
        return _INPUT.findall(Path(drv).read_text("utf-8", "replace"))
    except OSError:
        return []
