"""Compiles what this folder's scripts import, into the folder that later builds name in PYTHONPYCACHEPREFIX.

The cache is only ever read by builds; no image holds it. It is compiled by importing: what is imported is what
matters, and no list has to be kept.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pathlib
import py_compile
import sys


def main() -> None:
    """Import every script here, then compile each module that came along."""
    out = os.environ["out"]
    folder = pathlib.Path(__file__).resolve().parent
    for script in sorted(folder.glob("*.py")):
        if script.stem not in ("main", "warm_cache"):
            importlib.import_module(script.stem)
    sources = {folder / "main.py"}
    for module in list(sys.modules.values()):
        origin = getattr(module, "__file__", None)
        if origin and origin.endswith(".py"):
            sources.add(pathlib.Path(origin))
    sys.pycache_prefix = out
    for source in sorted(sources):
        target = importlib.util.cache_from_source(str(source))
        # Store files all have the same mtime, which would make a time-stamped .pyc of other sources look fresh.
        py_compile.compile(
            str(source),
            cfile=target,
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


if __name__ == "__main__":
    main()
