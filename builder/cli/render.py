"""`builder render`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from builder import session
from builder.cli import options

if TYPE_CHECKING:
    from pathlib import Path

    from builder.progress import Display
    from builder.session import Request


@click.command()
@options.app_request
@click.option(
    "--write", is_flag=True, help="Write image.<app>.nix beside the lock, with the list of the app's files."
)
@click.option("--check", is_flag=True, help="Fail when image.<app>.nix is not what would be written.")
def render(request: Request, write: bool, check: bool) -> None:
    """Print the Nix expression of TARGET's image: a function of the library in nix/ and the app's code.

    A flake needs it as a file that lists the app's files too: --write makes that, and --check keeps it from being
    forgotten.
    """
    from builder.progress import Display
    from builder.render import render as render_expression

    if write and check:
        raise click.UsageError("--write and --check exclude each other.")
    if check:
        request = replace(request, frozen=True)
    with Display(verbose=request.verbose) as display:
        if write or check:
            said = _as_file(request, display, check=check)
        else:
            app = session.load_app(request)
            locked = session.lock_app(app, request, display=display)
            said = render_expression(app.spec, locked.lock, locked.digest, bytecode=app.settings.bytecode)
    click.echo(said, nl=write or check)


def _as_file(request: Request, display: Display, *, check: bool) -> str:
    from builder.expression_file import check_expression, write_expression

    path, text = expression_of(request, display)
    if check:
        check_expression(path, text, request.target)
        return f"{path}: up to date"
    return f"{path}: {'written' if write_expression(path, text) else 'up to date'}"


def expression_of(request: Request, display: Display) -> tuple[Path, str]:
    """The file that a flake has of an app, and what is to be in it. Raises what loading and locking raise."""
    from builder.build import masker_of
    from builder.expression_file import expression_path, expression_text

    app = session.load_app(request)
    locked = session.lock_app(app, request, display=display)
    masker = masker_of(app.spec, app.settings)
    return expression_path(locked.path), expression_text(
        app.spec, locked.lock, locked.digest, app.settings, masker
    )
