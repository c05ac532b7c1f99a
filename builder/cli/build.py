"""`builder build`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.cli import options

if TYPE_CHECKING:
    from builder.build import Result
    from builder.session import Locked


def summary(result: Result, locked: Locked) -> dict[str, Any]:
    """What `--json` prints; keys are added over time, never changed."""
    image = result.image
    return {
        "name": image.name,
        "digest": image.digest,
        "image_id": image.config_digest,
        "path": str(image.path),
        "out_link": str(result.out_link) if result.out_link else None,
        "size": image.size,
        "layers": image.layers,
        "lock": str(locked.path),
        "lock_digest": locked.digest,
        "built": result.built,
    }


def _show(result: Result, target: str, seconds: float) -> None:
    image = result.image
    state = f"built in {seconds:.1f} s" if result.built else "unchanged"
    where = result.out_link or image.path
    click.echo(f"{click.style(image.name, bold=True)}: {state}")
    click.echo(f"  digest  {image.digest}")
    click.echo(f"  size    {image.size / 1e6:.1f} MB in {image.layers} layers")
    click.echo(f"  image   {where}")
    click.echo(f"  run it  builder run {target}")
    click.echo(f"          podman run --rm -p 8080:8080 oci:{where}:latest")


@click.command()
@options.target_argument
@options.app_options
@options.frozen_option
@click.option("--out-link", type=click.Path(path_type=Path), help="Link to the image. Default: result-<app>.")
@click.option("--no-link", is_flag=True, help="Make no link; garbage collection may then take the image.")
@click.option("--dry-run", is_flag=True, help="Say what would be fetched and built, and stop.")
@options.json_option
def build(
    target: str,
    platform: str | None,
    python: str | None,
    interpreter: str | None,
    frozen: bool,
    out_link: Path | None,
    no_link: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Build TARGET's image, locking its requirements first where that is needed."""
    from builder import build as stage
    from builder.progress import Display
    from builder.session import cache_folder, load_app, lock_app

    started = time.monotonic()
    with Display() as display:
        app = load_app(target, interpreter=interpreter)
        locked = lock_app(
            app,
            architecture=options.architecture(platform),
            python=python,
            frozen=frozen or dry_run,
            display=display,
        )
        with stage.plan(app.spec, locked.lock, locked.digest, app.settings) as plan:
            if dry_run:
                steps = stage.dry_run(plan, app.settings, cache=cache_folder(), display=display)
            else:
                link = None if no_link else out_link or Path(f"result-{app.spec.name}")
                result = stage.build(plan, app.settings, cache=cache_folder(), out_link=link, display=display)
    if dry_run:
        if as_json:
            click.echo(json.dumps({"name": app.spec.name, "fetch": steps.fetch, "build": steps.build}))
        else:
            for kind, names in (("fetch", steps.fetch), ("build", steps.build)):
                click.echo(f"{len(names)} to {kind}" + "".join(f"\n  {name}" for name in names))
    elif as_json:
        click.echo(json.dumps(summary(result, locked)))
    else:
        _show(result, target, time.monotonic() - started)
