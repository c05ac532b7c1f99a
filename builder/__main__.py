"""The `builder` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; the exit code says how it ended (docs/cli.md lists them)."""
    from builder.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
