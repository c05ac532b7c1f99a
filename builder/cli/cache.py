"""`builder cache`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder import session
from builder.cli import options
from builder.errors import BuildError, ToolError

if TYPE_CHECKING:
    from builder.binary_cache import BinaryCache
    from builder.session import Request


@click.group()
def cache() -> None:
    """Share what is built by a binary cache, as Nix has it: a folder, a web server, S3 or a machine with ssh."""


@cache.command()
@click.argument("name")
@click.option("--file", type=click.Path(path_type=Path), help="Where to put it. Default: the user's own key.")
@options.json_option
def keygen(name: str, file: Path | None, as_json: bool) -> None:
    """Make a key, called NAME, that signs what is pushed, and print its public part."""
    from builder.binary_cache import make_key, own_key

    path = file or own_key()
    public = make_key(name, path)
    if as_json:
        click.echo(json.dumps({"file": str(path), "public_key": public}))
        return
    click.echo(f"{path}: the key; keep it secret")
    click.echo("Those who are to trust what it signs write in pyproject.toml:")
    click.echo(f"  [tool.builder]\n  cache-keys = [{json.dumps(public)}]")


@cache.command()
@options.app_request
@options.cache_location
def push(request: Request) -> None:
    """Build TARGET's image and copy it, with its layers, into the cache."""
    from builder import binary_cache
    from builder.nix_log import Log
    from builder.progress import Display

    with Display(verbose=request.verbose) as display:
        found = _cache_of(request)
        found.writable_url()
        built = session.build_app(request, out_link=None, link=False, display=display)
        display.stage(f"Copying to {found.shown}")
        binary_cache.push(found, str(built.image.path), log=Log(display))
    click.echo(f"{built.image.name}: {built.image.digest} is in {found.shown}")


@cache.command()
@options.app_request
@options.cache_location
def pull(request: Request) -> None:
    """Have TARGET's image from the cache, and build nothing."""
    from builder import build
    from builder.progress import Display

    with Display(verbose=request.verbose) as display:
        app = session.load_app(request)
        locked = session.lock_app(app, replace(request, frozen=True), display=display)
        found = _cache_of(request)
        with build.plan(app.spec, locked.lock, locked.digest, app.settings, note=display.note) as plan:
            image = build.from_cache(plan, found, Path(f"result-{app.spec.name}"), display)
    if image is None:
        raise BuildError(
            f"{found.shown} has no image of {app.spec.name} as it is now.",
            hint="`builder build` builds it; `builder cache push` puts it there.",
        )
    click.echo(f"{image.name}: {image.digest}")


def _cache_of(request: Request) -> BinaryCache:
    from builder.binary_cache import find_cache

    app = session.load_app(request)
    found = find_cache(app.settings, app.spec.root, url=request.cache, secret_key=request.cache_key)
    if found is None:
        raise ToolError(
            "no cache is named", hint="Name one: --cache URL, BUILDER_CACHE, or cache in [tool.builder]."
        )
    return found
