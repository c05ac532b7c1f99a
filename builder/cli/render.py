"""`builder render`."""

from __future__ import annotations

import click

from builder import session
from builder.cli import options
from builder.session import Request


@click.command()
@options.target_argument
@options.app_options
@options.frozen_option
def render(
    target: str, platform: str | None, python: str | None, interpreter: str | None, frozen: bool
) -> None:
    """Print the Nix expression of TARGET's image: a function of the library in nix/ and the app's code."""
    from builder.progress import Display
    from builder.render import render as render_expression

    request = Request(
        target=target,
        interpreter=interpreter,
        architecture=options.architecture(platform),
        python=python,
        frozen=frozen,
    )
    with Display() as display:
        app = session.load_app(request)
        locked = session.lock_app(app, request, display=display)
    click.echo(
        render_expression(app.spec, locked.lock, locked.digest, bytecode=app.settings.bytecode), nl=False
    )
