"""Runs one of this folder's scripts inside a Nix build.

Nix gives a derivation's attributes as environment variables; `spec` is large and comes as a file (`passAsFile`).
What is slow to import (pathlib, importlib) is not: an image has dozens of layers, and each starts Python.
"""

from __future__ import annotations

import json
import os
import sys

from gzip_members import LayerError


def main() -> None:
    """Call `build(spec)` of the module named on the command line."""
    with open(os.environ["specPath"], encoding="utf-8") as file:
        spec = json.load(file)
    # Known only now: how many cores the machine gives each build.
    spec.setdefault("cores", int(os.environ.get("NIX_BUILD_CORES") or 0) or os.cpu_count() or 1)
    try:
        __import__(sys.argv[1]).build(spec)
    except (LayerError, OSError) as failure:
        # What was built is at fault, not this program: the message says it all.
        sys.exit(f"error: {failure}")


if __name__ == "__main__":
    main()
