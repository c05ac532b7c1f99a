"""`builder render`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from builder import session
from builder.cli import options

if TYPE_CHECKING:
    from builder.session import Request


@click.command()
@options.app_request
def render(request: Request) -> None:
    """Print the Nix expression of TARGET's image: a function of the library in nix/ and the app's code."""
    from builder.progress import Display
    from builder.render import render as render_expression

    with Display(verbose=request.verbose) as display:
        app = session.load_app(request)
        locked = session.lock_app(app, request, display=display)
    click.echo(
        render_expression(app.spec, locked.lock, locked.digest, bytecode=app.settings.bytecode), nl=False
    )
