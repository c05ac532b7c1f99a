"""`builder build`."""

from __future__ import annotations

import functools
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder import session
from builder.cli import options
from builder.variant import platform_option

if TYPE_CHECKING:
    from builder.session import Built, Request


def summary(built: Built) -> dict[str, Any]:
    """What `--json` prints; keys are added over time, never changed."""
    image = built.image
    return {
        "name": image.name,
        "digest": image.digest,
        "image_id": image.config_digest,
        "path": str(image.path),
        "out_link": str(built.out_link) if built.out_link else None,
        "size": image.size,
        "layers": image.layers,
        "lock": str(built.lock),
        "lock_digest": built.lock_digest,
        "built": built.steps,
        "labels": dict(image.labels),
    }


def _show(built: Built, target: str, seconds: float) -> None:
    image = built.image
    state = f"built in {seconds:.1f} s" if built.steps else "unchanged"
    where = built.out_link or image.path
    publish = "-p 8080:8080 " if built.serves else ""
    click.echo(f"{click.style(image.name, bold=True)}: {state}")
    click.echo(f"  digest  {image.digest}")
    click.echo(f"  size    {image.size / 1e6:.1f} MB in {image.layers} layers")
    click.echo(f"  image   {where}")
    click.echo(f"  run it  builder run {target}")
    click.echo(f"          podman run --rm {publish}oci:{where}:latest")


def _checked(references: tuple[str, ...]) -> list[str]:
    """References to images in registries, seen to be such before anything is built."""
    if not references:
        return []
    from builder.registry import check_reference

    return [check_reference(reference) for reference in references]


def _plan(request: Request, *, as_json: bool) -> None:
    """Say what a build would do."""
    from builder import build as stage
    from builder.progress import Display

    with Display(verbose=request.verbose) as display:
        app = session.load_app(request)
        locked = session.lock_app(app, request, display=display)
        with stage.plan(app.spec, locked.lock, locked.digest, app.settings, note=display.note) as plan:
            steps = stage.dry_run(plan, app.settings, cache=session.cache_folder(), display=display)
    if as_json:
        click.echo(json.dumps({"name": app.spec.name, "fetch": steps.fetch, "build": steps.build}))
        return
    for kind, names in (("fetch", steps.fetch), ("build", steps.build)):
        click.echo(f"{len(names)} to {kind}" + "".join(f"\n  {name}" for name in names))


def _no_target(*, dry_run: bool, out_link: Path | None) -> None:
    """Refuse what is for one app where all are to be built."""
    for option, given in (("--dry-run", dry_run), ("--out-link", out_link)):
        if given:
            raise click.UsageError(f"{option} is for one app: leave out --all, and name the app.")


@click.command()
@functools.partial(options.app_request, optional=True)
@options.cache_location
@options.builders_option
@click.option(
    "--all", "every", is_flag=True, help="Build every app of the folder TARGET, by default of this one."
)
@click.option("--out-link", type=click.Path(path_type=Path), help="Link to the image. Default: result-<app>.")
@click.option("--no-link", is_flag=True, help="Make no link; garbage collection may then take the image.")
@click.option(
    "--push",
    "references",
    multiple=True,
    metavar="REFERENCE",
    help="Copy the image to a registry: docker://host/repository:tag. May be repeated. With --all it has {name}.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be fetched and built, and stop.")
@options.json_option
def build(
    request: Request,
    every: bool,
    out_link: Path | None,
    no_link: bool,
    references: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Build TARGET's image, locking its requirements first where that is needed."""
    from builder.progress import Display

    started = time.monotonic()
    if every:
        from builder.cli.build_all import build_all

        _no_target(dry_run=dry_run, out_link=out_link)
        build_all(request, link=not no_link, references=references, as_json=as_json)
        return
    if not request.target:
        raise click.UsageError("Missing argument 'TARGET'. With --all every app of a folder is built.")
    wanted = _checked(references)
    if dry_run:
        _plan(replace(request, frozen=True), as_json=as_json)
        return
    with Display(verbose=request.verbose) as display:
        built = session.build_app(request, out_link=out_link, link=not no_link, display=display)
        if wanted:
            from builder import registry

            registry.push(built.image, wanted, display.stage)
    if as_json:
        click.echo(json.dumps(summary(built)))
    else:
        asked = f" {platform_option(request.architecture)}" if request.architecture else ""
        _show(built, request.target + asked, time.monotonic() - started)
