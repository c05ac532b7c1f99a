"""Compiles what this folder's scripts import, into the folder that later builds name in PYTHONPYCACHEPREFIX.

The cache is only ever read by builds; no image holds it. It is compiled by importing: what is imported is what
matters, and no list has to be kept. A child does that, since bytecode depends on what its process did before.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pathlib
import sys

from compile_worker import compiled, settle


def main() -> None:
    """Import every script here, then compile each module that came along."""
    sys.pycache_prefix = os.environ["out"]
    sources = _imported(pathlib.Path(__file__).resolve().parent)
    settle()
    for source in sources:
        pyc = compiled(pathlib.Path(source).read_bytes(), source)
        if pyc is not None:
            target = pathlib.Path(importlib.util.cache_from_source(source))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(pyc)


def _imported(folder: pathlib.Path) -> list[str]:
    """The sources of a folder's scripts and of all that they import, sorted."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        for script in sorted(folder.glob("*.py")):
            if script.stem not in ("main", "warm_cache"):
                importlib.import_module(script.stem)
        files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
        sources = {file for file in files if file and file.endswith(".py")} | {str(folder / "main.py")}
        os.write(write, "\n".join(sorted(sources)).encode())
        sys.exit()
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as pipe:
        text = pipe.read()
    if os.waitpid(child, 0)[1]:
        sys.exit("error: a script of this folder cannot be imported")
    return text.splitlines()


if __name__ == "__main__":
    main()
