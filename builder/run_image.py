"""Runs an image that is in the store, for `nix run`: a script that needs nothing but Python's standard library.

`builder run` builds the image and does the same.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

if __name__ == "__main__":
    # Run as a file: the folder that has the package is above it.
    sys.path[0] = str(Path(__file__).parent.parent)

from builder.container import Engine
from builder.errors import BuilderError
from builder.layout import Image, read_config, read_image


def run_image(image: Image, *, command: list[str], port: int) -> int:
    """Run an image in the foreground.

    Args:
        image: the image, which says itself what environment variables it wants and whether it serves requests.
        command: runs instead of the app when not empty.
        port: the port of this machine that reaches the app.

    Returns:
        the container's exit code.

    Raises:
        BuilderError: there is no engine, or it cannot load the image.
    """
    engine = Engine.find()
    secrets = [name for name in image.labels.get("builder.secrets", "").split(",") if name]
    if unset := [name for name in secrets if name not in os.environ]:
        print(
            f"note: the app's secrets name {', '.join(unset)}, and no such environment variable is set",
            file=sys.stderr,
        )
    serves = bool(read_config(image).get("ExposedPorts"))
    return engine.run(
        engine.load(image),
        command=command,
        port=port if serves and not command else None,
        secrets=secrets,
        tty=sys.stdin.isatty() and sys.stdout.isatty(),
    )


def main(arguments: list[str]) -> int:
    """Run a command line: the image's folder, its name, options, and a command; return the exit code."""
    parser = argparse.ArgumentParser(prog="nix run .#app --", usage="%(prog)s [--port PORT] [COMMAND ...]")
    parser.add_argument("layout", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("name", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=8080, help="port of this machine that reaches the app")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="runs instead of the app")
    wanted = parser.parse_args(arguments)
    command = wanted.command[1:] if wanted.command[:1] == ["--"] else wanted.command
    try:
        return run_image(read_image(wanted.name, wanted.layout), command=command, port=wanted.port)
    except BuilderError as error:
        print(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else ""), file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
