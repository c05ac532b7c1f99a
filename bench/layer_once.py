"""Makes the layer of a wheel, with or without the readers that check libraries, and prints what it took as JSON.

Usage: layer_once.py SANDBOX SPECIFICATION (with|without)

Runs by the image's Python. SANDBOX is the folder of the scripts that run in builds; what a specification is, says
wheel_layer.py there. Without: the readers are replaced by heirs of theirs that do not look at what passes.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any


def _blind(reader: type) -> type:
    def update(_self: object, _piece: bytes) -> None:
        """See nothing."""

    return type(reader.__name__, (reader,), {"update": update})


def _work() -> float:
    """Seconds of one core so far: of this process's threads, and of its compilers, which have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main(words: list[str]) -> None:
    sandbox, specification, readers = words
    sys.path.insert(0, sandbox)
    # These two first: whichever way wheel_layer names what they have, it gets what they have now.
    import elf
    import fatbin

    modules: tuple[Any, ...] = (elf, fatbin)
    if readers == "without":
        for module in modules:
            module.Reader = _blind(module.Reader)
    import wheel_layer

    spec = json.loads(Path(specification).read_text())
    before = _work()
    started = time.monotonic()
    wheel_layer.build(spec)
    seconds = time.monotonic() - started
    print(json.dumps({"seconds": seconds, "work": _work() - before}))


if __name__ == "__main__":
    main(sys.argv[1:])
