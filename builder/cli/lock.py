"""`builder lock`."""

from __future__ import annotations

import json
from dataclasses import replace
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
@click.option(
    "--record-digest",
    is_flag=True,
    help="Build the image, and write its digest into the lock, for `builder check` to compare with.",
)
@options.json_option
def lock(
    request: Request,
    upgrade: bool,
    upgrade_packages: tuple[str, ...],
    record_digest: bool,
    as_json: bool,
) -> None:
    """Pin what TARGET needs in pylock.<app>.toml, keeping every pin that still fits.

    A recorded digest covers the whole image, the app's own files among it: a change of these makes it stale, and a lock
    that is written anew has none.
    """
    from builder.progress import Display

    with Display(verbose=request.verbose) as display:
        app = session.load_app(request)
        locked = session.lock_app(
            app, request, display=display, upgrade=upgrade, upgrade_packages=upgrade_packages
        )
        recorded = None
        if record_digest:
            recorded, wrote = session.record_digest(request, display=display)
            # The build may have added to it.
            locked = replace(session.lock_app(app, request, display=display), changed=locked.changed or wrote)
    if as_json:
        body = {
            "lock": str(locked.path),
            "digest": locked.digest,
            "changed": locked.changed,
            "python": locked.lock.python,
            "packages": [
                {"name": package.name, "version": package.version} for package in locked.lock.packages
            ],
            "recorded": recorded.digest if recorded else None,
        }
        click.echo(json.dumps(body))
    else:
        state = "written" if locked.changed else "up to date"
        number = len(locked.lock.packages)
        packages = f"{number} package{'' if number == 1 else 's'}"
        click.echo(f"{locked.path}: {state}, {packages} for Python {locked.lock.python}")
        if recorded is not None:
            click.echo(f"  recorded {recorded.digest}: of the whole image, the app's own files among it")
