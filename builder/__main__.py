"""The `builder` command."""

from __future__ import annotations

import os
import sys
import threading


def main() -> None:
    """Run the command line; the exit code says how it ended (docs/cli.md lists them)."""
    try:
        from builder.cli import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        # Nothing has begun yet.
        print("Interrupted.", file=sys.stderr)
        code = 130
    from builder.files import discard_unfinished

    discard_unfinished()
    if threading.active_count() > 1:
        # A download that nobody waits for any more: Python would wait for it.
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
