"""`builder load`."""

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
@options.cache_location
@options.json_option
def load(request: Request, as_json: bool) -> None:
    """Build TARGET's image and put it into podman, or docker where there is no podman."""
    from builder.container import Engine
    from builder.progress import Display

    engine = Engine.find()
    with Display(verbose=request.verbose) as display:
        built = session.build_app(request, out_link=None, link=False, display=display)
        display.stage(f"Loading the image into {engine.kind}")
        reference = engine.load(built.image)
    if as_json:
        body = {
            "name": built.image.name,
            "digest": built.image.digest,
            "engine": engine.kind,
            "image": reference,
        }
        click.echo(json.dumps(body))
        return
    click.echo(f"{built.image.name}: {engine.kind} has it as {reference}")
