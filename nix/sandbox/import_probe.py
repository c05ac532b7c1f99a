"""Imports modules, each in a process of its own, and says what happened.

It runs in the image's own Python, in a room that has no network and no GPU (`build_room`): standard library only, and
nothing of this library.

    import_probe.py WANTED FOUND     WANTED: a JSON object with `modules` (see `Wanted` below), `cores` and `seconds`
    import_probe.py --one MODULE FOUND

FOUND gets a JSON array with an object for each module that was imported:
    module: its name.
    below: whether it was tried because another one loaded none of its libraries.
    error: what it raised, with what that was raised from; null where it was imported.
    code: the exit code of its process: negative where a signal ended it, null where it took too long.
    attempted: paths of libraries that were to be loaded.
    mapped: paths of those that are; null where the kernel does not tell.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_MOST_TEXT = 4000


def main(wanted: str, found: str) -> None:
    """Import what is wanted.

    Args:
        wanted: path of a JSON object: `modules`, objects with `name`, `folder` and `below`; `cores`, how many may be
            imported at a time; `seconds`, how long one may take. Where a module is imported and no library in
            `folder` was loaded, the modules `below` are imported too.
        found: path of what is written.
    """
    spec = json.loads(Path(wanted).read_text(encoding="utf-8"))

    def of(module: dict[str, Any]) -> list[dict[str, Any]]:
        result = _import_apart(module["name"], found, spec["seconds"])
        results = [{**result, "below": False}]
        loaded = [path for path in result["mapped"] or () if path.startswith(module["folder"] + "/")]
        if result["error"] is None and result["code"] == 0 and not loaded:
            below = (_import_apart(name, found, spec["seconds"]) for name in module["below"])
            results += [{**result, "below": True} for result in below]
        return results

    with ThreadPoolExecutor(spec["cores"]) as pool:
        results = [result for some in pool.map(of, spec["modules"]) for result in some]
    Path(found).write_text(json.dumps(results), encoding="utf-8")


def _import_apart(name: str, found: str, seconds: float) -> dict[str, Any]:
    """Import a module in a process of its own."""
    own = Path(f"{found}-{name}")
    code: int | None
    try:
        code = subprocess.run(
            [sys.executable, __file__, "--one", name, str(own)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        code = None
    result: dict[str, Any] = {"module": name, "error": None, "attempted": [], "mapped": None}
    if own.exists():
        result.update(json.loads(own.read_text(encoding="utf-8")))
    return {**result, "code": code}


def import_one(name: str, found: str) -> None:
    """Import a module in this process, and write what happened."""
    attempted: list[str] = []

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        # Of an extension module the second argument is its path; of another module it is None.
        place = {"import": 1, "ctypes.dlopen": 0}.get(event)
        if place is not None and isinstance(arguments[place], str) and arguments[place]:
            attempted.append(arguments[place])

    sys.addaudithook(hear)
    error: str | None = None
    try:
        importlib.import_module(name)
    except BaseException as raised:  # noqa: BLE001 - whatever a module does is its answer
        error = "; ".join(_texts(raised))[:_MOST_TEXT]
    result = {
        "error": error,
        "attempted": [os.path.realpath(path) for path in attempted],
        "mapped": _mapped(),
    }
    # A module may have started threads or registered exits: none of them is waited for.
    Path(found).write_text(json.dumps(result), encoding="utf-8")
    os._exit(0)


def _texts(error: BaseException | None) -> list[str]:
    """An error and those that it was raised from or while."""
    texts: list[str] = []
    while error is not None and len(texts) < 10:
        texts.append(f"{type(error).__name__}: {error}")
        error = error.__cause__ or error.__context__
    return texts


def _mapped() -> list[str] | None:
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return sorted({line.split(None, 5)[5] for line in lines if ".so" in line and line.count("/")})


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        import_one(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
