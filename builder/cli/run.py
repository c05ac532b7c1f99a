"""`builder run`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from builder import session
from builder.cli import options

if TYPE_CHECKING:
    from builder.session import Request


@click.command(context_settings={"ignore_unknown_options": False})
@options.app_request
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--port", default=8080, show_default=True, help="Port of this machine that reaches the app.")
def run(
    request: Request,
    command: tuple[str, ...],
    port: int,
) -> int:
    """Build TARGET's image and run it here with podman or docker; after `--`, a COMMAND to run instead of the app."""
    from builder.container import Engine
    from builder.errors import DeclarationError
    from builder.progress import Display

    engine = Engine.find()
    with Display(verbose=request.verbose) as display:
        built = session.build_app(request, out_link=None, link=False, display=display)
        unset = [name for name in built.secrets if name not in os.environ]
        if unset:
            message = f"the app's secrets name {', '.join(unset)}, and no such environment variable is set"
            if not command:
                raise DeclarationError(message, hint=f"Set it where you run builder: export {unset[0]}=...")
            display.note(message)
        display.stage("Loading the image")
        reference = engine.load(built.image)
    return engine.run(
        reference,
        command=command,
        port=port if built.serves and not command else None,
        secrets=built.secrets,
        tty=sys.stdin.isatty() and sys.stdout.isatty(),
    )
