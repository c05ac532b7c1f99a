"""`builder lock`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from builder import session
from builder.cli import options

if TYPE_CHECKING:
    from builder.session import Request


@click.command()
@options.app_request
@click.option("--upgrade", "-U", is_flag=True, help="Choose every version anew.")
@click.option(
    "--upgrade-package", "-P", "upgrade_packages", multiple=True, metavar="NAME", help="Choose one anew."
)
@options.json_option
def lock(
    request: Request,
    upgrade: bool,
    upgrade_packages: tuple[str, ...],
    as_json: bool,
) -> None:
    """Pin what TARGET needs in pylock.<app>.toml, keeping every pin that still fits."""
    from builder.progress import Display

    with Display(verbose=request.verbose) as display:
        app = session.load_app(request)
        locked = session.lock_app(
            app, request, display=display, upgrade=upgrade, upgrade_packages=upgrade_packages
        )
    if as_json:
        body = {
            "lock": str(locked.path),
            "digest": locked.digest,
            "changed": locked.changed,
            "python": locked.lock.python,
            "packages": [
                {"name": package.name, "version": package.version} for package in locked.lock.packages
            ],
        }
        click.echo(json.dumps(body))
    else:
        state = "written" if locked.changed else "up to date"
        number = len(locked.lock.packages)
        packages = f"{number} package{'' if number == 1 else 's'}"
        click.echo(f"{locked.path}: {state}, {packages} for Python {locked.lock.python}")
