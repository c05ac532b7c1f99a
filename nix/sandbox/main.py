"""Runs one of this folder's scripts inside a Nix build.

Nix gives a derivation's attributes as environment variables; `spec` is large and comes as a file (`passAsFile`).
"""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import sys

from gzip_members import LayerError


def main() -> None:
    """Call `build(spec)` of the module named on the command line."""
    spec = json.loads(pathlib.Path(os.environ["specPath"]).read_text(encoding="utf-8"))
    # Known only now: how many cores the machine gives each build.
    spec.setdefault("cores", int(os.environ.get("NIX_BUILD_CORES") or 0) or os.cpu_count() or 1)
    try:
        importlib.import_module(sys.argv[1]).build(spec)
    except (LayerError, OSError) as failure:
        # What was built is at fault, not this program: the message says it all.
        sys.exit(f"error: {failure}")


if __name__ == "__main__":
    main()
