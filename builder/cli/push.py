"""`builder push`."""

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
@click.argument("references", nargs=-1, required=True, metavar="REFERENCE...")
@options.json_option
def push(request: Request, references: tuple[str, ...], as_json: bool) -> None:
    """Build TARGET's image and copy it to each REFERENCE, such as docker://registry.example.org/team/app:1.0.

    What a registry has is not sent again. Credentials are those of `podman login` or `docker login`.
    """
    from builder import registry
    from builder.progress import Display

    wanted = [registry.check_reference(reference) for reference in references]
    with Display(verbose=request.verbose) as display:
        built = session.build_app(request, out_link=None, link=False, display=display)
        registry.push(built.image, wanted, display.stage)
    if as_json:
        click.echo(json.dumps({"name": built.image.name, "digest": built.image.digest, "pushed": wanted}))
        return
    for reference in wanted:
        click.echo(f"{reference}@{built.image.digest}")
